"""The training captions that an inference strategy searches in, as an export keeps them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE = "memory.safetensors"


@dataclass
class Memory:
    """Captions and their embeddings.

    Attributes:
        embeddings: (N, D).
        texts: N captions; none where an export of an earlier version has none.
    """

    embeddings: Tensor
    texts: list[str]

    def save(self, folder: Path) -> None:
        """Write one file, with the texts in its header."""
        save_file({"embeddings": self.embeddings.contiguous()}, folder / FILE, {"texts": json.dumps(self.texts)})

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read what `save` wrote; None where there is none."""
        if not (folder / FILE).is_file():
            return None
        with safe_open(folder / FILE, "pt") as file:
            return cls(file.get_tensor("embeddings"), json.loads((file.metadata() or {}).get("texts", "[]")))

    @torch.no_grad()
    def nearest(self, audio: Tensor, number: int = 5) -> list[list[tuple[str, float]]]:
        """The captions most similar to each of B audio embeddings (B, D), each text once, with their cosines."""
        if not self.texts:
            return [[] for _ in audio]
        memory = F.normalize(self.embeddings.to(audio), dim=-1)
        cosines = F.normalize(audio, dim=-1) @ memory.T  # (B, N)
        found = []
        for values, rows in zip(*(each.tolist() for each in cosines.sort(dim=1, descending=True))):
            best: dict[str, float] = {}
            for value, row in zip(values, rows):
                best.setdefault(self.texts[row], value)
                if len(best) == number:
                    break
            found.append(list(best.items()))
        return found
