"""What a step of DALI's alignment is spent on: a callback of the trainer."""

import statistics
from collections import defaultdict
from collections.abc import Callable
from typing import Any, ClassVar

import lightning as L

from benchmarks.step_meter import now
from lightning_modules.token_alignment import TokenAlignment

PARTS = ("loader", "audio encoder", "vision tower", "criterion", "solver", "backward", "optimizer")


class AlignmentParts(L.Callback):
    """Seconds of each part, a list with a number for every step but the first.

    The loader's are those that a step waits for its batch. The audio encoder's are those of its forward, filterbank
    included. The criterion's are without its solver's. Backward is the audio encoder's and the criterion's.
    """

    found: ClassVar[dict[str, list[float]]] = {}

    @classmethod
    def shares(cls) -> dict[str, float]:
        """Of each part in the sum of their medians."""
        medians = {part: statistics.median(cls.found[part]) for part in PARTS}
        return {part: value / sum(medians.values()) for part, value in medians.items()}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure what the stage calls in a step."""
        assert isinstance(pl_module, TokenAlignment)
        captioner, criterion, self.device = pl_module.captioner.network, pl_module.criterion, pl_module.device
        self.seconds: dict[str, float] = defaultdict(float)
        self.found.clear()
        self.found.update({part: [] for part in PARTS})
        self.first = True
        places: list[tuple[str, Any, str]] = [
            ("audio encoder", captioner, "audio_tokens"),
            ("vision tower", captioner, "image_tokens"),
            ("solver", criterion, "solver"),
            ("criterion", criterion, "forward"),
        ]
        for part, owner, name in places:
            setattr(owner, name, self.timed(part, getattr(owner, name)))
        self.last = now(self.device)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose seconds are added to the part's."""

        def run(*args: Any, **kwargs: Any) -> Any:
            began = now(self.device)
            result = function(*args, **kwargs)
            self.seconds[part] += now(self.device) - began
            return result

        return run

    def lap(self, part: str) -> None:
        """Give the part the seconds since the last lap."""
        self.last, began = now(self.device), self.last
        self.seconds[part] += self.last - began

    def on_train_batch_start(self, *args: Any) -> None:
        """The batch is there."""
        self.lap("loader")

    def on_before_backward(self, *args: Any) -> None:
        """The loss is there."""
        self.last = now(self.device)

    def on_after_backward(self, *args: Any) -> None:
        """The gradients are there."""
        self.lap("backward")

    def on_train_batch_end(self, *args: Any) -> None:
        """The optimizer is done."""
        self.lap("optimizer")
        self.seconds["criterion"] -= self.seconds["solver"]
        if not self.first:
            for part in PARTS:
                self.found[part].append(self.seconds[part])
        self.first = False
        self.seconds.clear()
        self.last = now(self.device)
