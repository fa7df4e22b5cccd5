"""A metric: how varied the captions of a whole test split are."""

from typing import Any

import lightning as L
from torch import distributed


class Distinct(L.Callback):
    """Logs test/distinct_<n>, the share of n-grams in all captions that occur for the first time.

    Source: Li et al., 2016, A Diversity-Promoting Objective Function for Neural Conversation Models.

    Args:
        n: length of the n-grams.
    """

    def __init__(self, n: int = 2) -> None:
        self.n = n
        self.captions: dict[str, str] = {}

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin without captions."""
        self.captions = {}

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Keep what `test_step` returned, a `CaptionRows`; a clip that comes twice counts once."""
        self.captions |= dict(zip(outputs["clip_ids"], outputs["captions"]))

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compute it over the clips of all ranks, and log it beside the other scores."""
        captions = self.captions
        if distributed.is_initialized():
            ranks: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(ranks, captions)
            captions = {clip_id: caption for rank in ranks for clip_id, caption in rank.items()}
        pl_module.log(f"test/distinct_{self.n}", distinct(list(captions.values()), self.n))


def distinct(captions: list[str], n: int) -> float:
    """The share of distinct n-grams among all n-grams; 0 where there is none."""
    texts = [tuple(caption.lower().split()) for caption in captions]
    ngrams = [text[start : start + n] for text in texts for start in range(len(text) - n + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0
