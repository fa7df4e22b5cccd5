"""Instance replacement of the soft prompt: a caption learnt from the embedding of one like it (arXiv 2406.06295)."""

import torch
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.contracts import Embed
from lightning_modules.strategies.caption_memory import CaptionMemory

SAME = 1 - 1e-4  # a cosine above is that of one text with itself


class InstanceReplacement(CaptionMemory):
    """Replaces a text embedding, in training, by that of one of the captions most similar to it (Zhang et al., 2024).

    The decoder so learns that embeddings near to one another have one caption, as an audio's and its caption's have.
    The paper's numbers were not available to us in a source: the defaults are ours.

    Args:
        captions: split or table of the captions that may take a caption's place; None for those that are trained on.
        probability: of a caption to be replaced.
        num_neighbours: how many of the most similar other captions one is drawn from, all with the same chance.
        chunk_size: how many captions are on the device at once; None keeps all there.

    Raises:
        InputError: a probability that is none, or no neighbour.
    """

    def __init__(
        self,
        captions: str | None = None,
        probability: float = 0.5,
        num_neighbours: int = 5,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(chunk_size)
        if not 0 <= probability <= 1 or num_neighbours < 1:
            raise InputError(
                f"expected a probability from 0 to 1 and num_neighbours of at least 1, found {probability} and "
                f"{num_neighbours}; correct them"
            )
        self.captions = captions
        self.probability = probability
        self.num_neighbours = num_neighbours

    @property
    def splits(self) -> set[str]:
        """The split that neighbours are looked for in, where it is another than that of training."""
        return set() if self.captions is None else {self.captions}

    def prepare(self, text: Embed, audio: Embed) -> None:
        """Remember the captions' embeddings, each once.

        Raises:
            InputError: too few captions.
        """
        embeddings, name = text(self.captions).embeddings, self.captions or "the training captions"
        kept = distinct(embeddings)
        if len(kept) <= self.num_neighbours:
            raise InputError(
                f"expected more than {self.num_neighbours} different captions in {name}, found {len(kept)}; "
                "lower num_neighbours, or name another split"
            )
        self.remember(embeddings[kept])
        print(f"instance replacement: {len(kept)} different ones among {len(embeddings)} of {name}", flush=True)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, D): some replaced in training, all unchanged otherwise; also where `prepare` was not called,
        as in a test that draws what training saw."""
        if not self.training or not len(self.memory):
            return embeddings
        neighbours = self._neighbours(embeddings)  # (B, num_neighbours)
        chance = torch.rand(len(embeddings), 2, device=embeddings.device)
        drawn = (chance[:, :1] * self.num_neighbours).long().clamp(max=self.num_neighbours - 1)
        found = self.memory[neighbours.gather(1, drawn)[:, 0].to(self.memory.device)].to(embeddings)  # (B, D)
        return torch.where(chance[:, 1:] < self.probability, found, embeddings)

    def _neighbours(self, embeddings: Tensor) -> Tensor:
        """Rows of the memory that are nearest to each embedding and not of the same text, (B, num_neighbours)."""
        cosines = torch.empty(len(embeddings), 0, device=embeddings.device)
        rows = torch.empty(len(embeddings), 0, dtype=torch.long, device=embeddings.device)
        for _, similarity, start in self.chunks(embeddings):
            best = similarity.masked_fill(similarity > SAME, -torch.inf).topk(
                min(self.num_neighbours, similarity.shape[1])
            )
            cosines = torch.cat((cosines, best.values), 1)
            rows = torch.cat((rows, best.indices + start), 1)
        return rows.gather(1, cosines.topk(self.num_neighbours).indices)


def distinct(embeddings: Tensor) -> Tensor:
    """The first row (N',) of each embedding (N, D) that is there several times, to four decimals."""
    _, group = torch.unique((embeddings * 1e4).round(), dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(embeddings))
    return first.scatter_reduce_(0, group, torch.arange(len(embeddings)), "amin").sort().values
