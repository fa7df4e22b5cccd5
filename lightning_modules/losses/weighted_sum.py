"""Several criteria at once."""

from typing import cast

from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.contracts import Criterion, Measures, ScheduledCriterion


class WeightedSum(nn.Module):
    """The sum of criteria, each times its weight. Not in DALI, which takes one at a time.

    Args:
        criteria: by names of the user's own, under which each is logged.
        weights: by the same names; losses have different units (squared ones of the tokens, nats, none).
    """

    def __init__(self, criteria: dict[str, Criterion], weights: dict[str, float]) -> None:
        super().__init__()
        if not criteria or criteria.keys() != weights.keys():
            raise InputError(
                f"expected one weight for each criterion, found the criteria {sorted(criteria)} and the weights "
                f"{sorted(weights)}; give both the same names"
            )
        self.criteria = nn.ModuleDict(cast(dict[str, nn.Module], criteria))
        self.weights = weights

    def set_epoch(self, epoch: int) -> None:
        """Called by the stage with the number of the epoch, from 0."""
        for criterion in self.criteria.values():
            if isinstance(criterion, ScheduledCriterion):
                criterion.set_epoch(epoch)

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Measures]:
        """The sum; logs each criterion's loss, before its weight, as `<name>/loss`, and its measures beside it."""
        found = {name: criterion(audio_tokens, image_tokens) for name, criterion in self.criteria.items()}
        total = sum(self.weights[name] * loss for name, (loss, _) in found.items())
        measures = {f"{name}/loss": loss.detach() for name, (loss, _) in found.items()}
        for name, (_, own) in found.items():
            measures |= {f"{name}/{key}": value for key, value in own.items()}
        return total, measures
