"""Cauchy-Schwarz divergence between a clip's audio tokens and its image tokens.

Source: LAMB (arXiv 2601.04658), there between audio and text; the kernel estimate. Not in DALI.
"""

import math

from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.contracts import Measures
from lightning_modules.losses.kernels import kernel_divergence


class CauchySchwarz(nn.Module):
    """-2 log mean k(audio, image) + log mean k(audio, audio) + log mean k(image, image), averaged over the clips.

    k(x, y) = exp(-|x - y|^2 / (bandwidth sigma)), sigma the mean squared distance between the clip's pooled tokens, as
    a constant. Zero for equal distributions.

    Args:
        bandwidth: of the Gaussian kernel, in units of sigma.

    Raises:
        InputError: a bandwidth that is not above 0.
    """

    def __init__(self, bandwidth: float = 1.0) -> None:
        super().__init__()
        if not bandwidth > 0:
            raise InputError(f"expected a bandwidth above 0, found {bandwidth}; set the criterion's bandwidth")
        self.bandwidth = bandwidth

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Measures]:
        """The divergence; logs `bandwidth`, in squared units of the tokens."""
        loss, sigma = kernel_divergence(
            audio_tokens, image_tokens, lambda distances, sigma: log_mean_kernel(distances, self.bandwidth * sigma)
        )
        return loss, {"bandwidth": self.bandwidth * sigma}


def log_mean_kernel(distances: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the mean kernel over the pairs, (B,), and its derivative by the squared distances, (B, N, M).

    The kernels themselves may underflow. The distances are used up.
    """
    exponents = distances.div_(-width[:, None, None])
    total = exponents.flatten(1).logsumexp(dim=1)  # (B,)
    slope = exponents.sub_(total[:, None, None]).exp_().div_(-width[:, None, None])
    return total - math.log(slope[0].numel()), slope
