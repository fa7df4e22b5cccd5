"""The captions that a caption is trained with in the prompt: similar ones, and never itself (DRCap)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from earshot.errors import InputError
from lightning_modules.embeddings.memory import Memory

CHUNK = 256  # captions that are compared with the whole datastore at once


@dataclass(frozen=True)
class SimilarityBand:
    """How similar retrieved captions may be in training: near enough to help, and not so near that they are the answer.

    Without the upper bound a model learns to copy what it reads. The defaults are those of the code of DRCap's authors
    (`sim_min`, `sim_max` of data_preprocess.py), where both bounds are outside the band.

    Attributes:
        lowest: cosine similarity of two captions' CLAP embeddings.
        highest: likewise.
        seed: of the draw among the captions in the band, which is made once, before training, as theirs is.
    """

    lowest: float = 0.75
    highest: float = 0.85
    seed: int = 0

    def __post_init__(self) -> None:
        if not -1 <= self.lowest < self.highest <= 1:
            raise InputError(
                f"expected a band from lowest to highest between -1 and 1, found {self.lowest} to {self.highest}; "
                "correct model.band"
            )

    @torch.no_grad()
    def draw(
        self, captions: Memory, stored: Memory, number: int, device: torch.device | str = "cpu"
    ) -> list[list[str]]:
        """For each of N captions at most `number` other texts in the band, drawn among those that are there.

        Every text of the datastore counts once, however often it is in there. All pairs are compared, on `device`.
        """
        first = {text: row for row, text in reversed(list(enumerate(stored.texts)))}
        texts, rows = list(first), list(first.values())
        place = {text: column for column, text in enumerate(texts)}
        own = torch.tensor([place.get(text, -1) for text in captions.texts])  # (N,), -1 where it is not stored
        memory = F.normalize(stored.embeddings[rows].float().to(device), dim=-1)  # (M, D)
        generator, drawn = torch.Generator().manual_seed(self.seed), []  # on the CPU, for the same draw on any device
        for chunk, columns in zip(captions.embeddings.split(CHUNK), own.split(CHUNK)):
            cosines = F.normalize(chunk.float().to(device), dim=-1) @ memory.T  # (C, M)
            outside = (cosines <= self.lowest) | (cosines >= self.highest)
            itself = columns.ge(0).nonzero()[:, 0].to(device)  # by its text: its cosine is only about 1
            outside[itself, columns[columns >= 0].to(device)] = True
            lots = torch.rand(cosines.shape, generator=generator).to(device).masked_fill(outside, -1.0)
            values, found = lots.topk(min(number, len(texts)), dim=1)  # (C, number)
            for lot, row in zip(values.tolist(), found.tolist()):
                drawn.append([texts[index] for value, index in zip(lot, row) if value >= 0])
        return drawn
