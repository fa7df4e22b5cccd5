"""Maximum mean discrepancy between a clip's audio tokens and its image tokens.

Source: DALI, section 3.2, Eq. 3 and Appendix E.
"""

from torch import Tensor, nn

from lightning_modules.contracts import Measures
from lightning_modules.losses.kernels import kernel_divergence

NUM_KERNELS = 5


class MMD(nn.Module):
    """Squared MMD with a sum of five Gaussian kernels, averaged over the clips; the biased estimate.

    k(x, y) = sum over r = -2..2 of exp(-|x - y|^2 / (2^r sigma)), with sigma the mean squared distance between
    the pooled tokens of the clip, itself excluded, as a constant.
    """

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Measures]:
        """Mean k(audio, audio) + mean k(image, image) - 2 mean k(audio, image); logs sigma as `bandwidth`."""
        loss, sigma = kernel_divergence(audio_tokens, image_tokens, mean_kernel)
        return loss, {"bandwidth": sigma}


def mean_kernel(distances: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the pairs of the summed kernels, (B,), and its derivative by the squared distances, (B, N, M).

    One exponential gives all five kernels, each the square of the one before. The distances are used up.
    """
    kernel = distances.div_(-4 * sigma[:, None, None]).exp_()  # (B, N, M), the widest
    total, slope = kernel.mean(dim=(1, 2)), kernel.clone()
    for power in range(1, NUM_KERNELS):
        total += kernel.square_().mean(dim=(1, 2))
        slope.add_(kernel, alpha=2**power)
    return total, slope.div_(-4 * kernel[0].numel() * sigma[:, None, None])
