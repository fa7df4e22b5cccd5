"""The contrastive baseline of DALI: which audio belongs to which image (section 3.2)."""

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F

from lightning_modules.contracts import Measures


class Contrastive(nn.Module):
    """Symmetric InfoNCE between the mean tokens of the clips of all ranks, of unit length.

    Args:
        temperature: the authors'; the paper does not say.
        gather: whether the negatives in training come from all ranks; the authors' code False.
    """

    def __init__(self, temperature: float = 0.05, gather: bool = True) -> None:
        super().__init__()
        self.temperature = temperature
        self.gather = gather

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Measures]:
        """The mean of the cross-entropies from audio to image and from image to audio.

        In training the negatives come from all ranks, with gradient, so that DDP's mean of the gradients is that
        of one process with the whole batch; every rank must have as many clips. In validation they come from the
        batch. Logs `contrastive_accuracy`, the share of clips whose audio is nearest to their own image, or the
        reverse; chance is `1 / clips`.
        """
        with torch.autocast(audio_tokens.device.type, enabled=False):
            audio, image = unit_means(audio_tokens), unit_means(image_tokens)  # (B, D)
            all_audio, all_image, first = audio, image, 0
            if self.training and self.gather and distributed.is_initialized():
                all_audio, all_image = (torch.cat(all_gather(means)) for means in (audio, image))
                first = distributed.get_rank() * len(audio)
            logits = torch.stack([audio @ all_image.T, image @ all_audio.T]) / self.temperature  # (2, B, all clips)
            own = torch.arange(first, first + len(audio), device=audio.device).expand(2, -1)
            loss = F.cross_entropy(logits.flatten(0, 1), own.flatten())
            return loss, {"contrastive_accuracy": (logits.argmax(dim=2) == own).float().mean()}


def unit_means(tokens: Tensor) -> Tensor:
    """(B, N, D) to the mean token of each clip at unit length, (B, D), in float32 or float64."""
    return F.normalize(tokens.to(torch.promote_types(tokens.dtype, torch.float32)).mean(dim=1), dim=-1)
