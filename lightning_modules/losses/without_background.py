"""A criterion between what stands before the backgrounds of the two modalities, and the backgrounds' own distance."""

import torch
from torch import Tensor, nn

from lightning_modules.contracts import Criterion, Measures, ScheduledCriterion
from lightning_modules.losses.backgrounds import Background, ModalityMean


class WithoutBackground(nn.Module):
    """criterion(audio - its background, image - its background) + weight * |the backgrounds' difference|^2.

    Optimal transport with squared distances takes apart the same way: with a mean as the background and the weight 1,
    the loss is that of plain optimal transport (its plan does not change when one side is shifted). It differs where
    the masses depend on the costs, as in attentive, partial and unbalanced transport: what is cheap to match there is
    no longer what both modalities have everywhere. Not in DALI.

    Args:
        criterion: between what is left.
        background: of one modality's tokens; None is `ModalityMean`.
        weight: of the squared distance between the backgrounds, averaged over the clips. At 0 audio tokens may lie
            anywhere beside the image tokens, where LLaVA does not read them.
    """

    def __init__(self, criterion: Criterion, background: Background | None = None, weight: float = 1.0) -> None:
        super().__init__()
        self.criterion = criterion
        self.background = background or ModalityMean()
        self.weight = weight

    def set_epoch(self, epoch: int) -> None:
        """Called by the stage with the number of the epoch, from 0."""
        if isinstance(self.criterion, ScheduledCriterion):
            self.criterion.set_epoch(epoch)

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Measures]:
        """The sum; logs the criterion's measures and `background_distance`, in squared units of the tokens."""
        with torch.autocast(audio_tokens.device.type, enabled=False):
            audio, image, distance = self.apart(audio_tokens, image_tokens)
        loss, measures = self.criterion(audio, image)
        return loss + self.weight * distance, {**measures, "background_distance": distance.detach()}

    def apart(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both less their backgrounds, (B, N, D) and (B, M, D), and the backgrounds' mean squared distance."""
        both = [tokens.to(torch.promote_types(tokens.dtype, torch.float32)) for tokens in (audio_tokens, image_tokens)]
        audio, image = (self.background(tokens) for tokens in both)  # (B, 1, D) or (1, 1, D)
        return both[0] - audio, both[1] - image, (audio - image).square().sum(dim=-1).mean()
