"""The training captions that an inference strategy searches in, as an export keeps them."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from earshot.errors import InputError

FILE = "memory.safetensors"


@dataclass
class Memory:
    """Captions and their embeddings.

    Attributes:
        embeddings: (N, D).
        texts: N captions; none where an export of an earlier version has none.
        name: of the split or table that they are; None where it is not noted.
    """

    embeddings: Tensor
    texts: list[str]
    name: str | None = None
    _directions: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def save(self, folder: Path) -> None:
        """Write one file, with the texts and the name in its header."""
        note = {"texts": json.dumps(self.texts)} | ({} if self.name is None else {"name": self.name})
        save_file({"embeddings": self.embeddings.contiguous()}, folder / FILE, note)

    @classmethod
    def load(cls, folder: Path, width: int | None = None) -> Self | None:
        """Read what `save` wrote; None where there is none.

        Args:
            folder: of an export.
            width: D that the embeddings must have; None takes any.

        Raises:
            InputError: they have another.
        """
        if not (folder / FILE).is_file():
            return None
        with safe_open(folder / FILE, "pt") as file:
            note = file.metadata() or {}
            found = cls(file.get_tensor("embeddings"), json.loads(note.get("texts", "[]")), note.get("name"))
        if width is not None and found.embeddings.shape[1:] != (width,):
            raise InputError(
                f"expected embeddings of width {width} in {folder / FILE}, found {list(found.embeddings.shape)}; give "
                "this command the CLAP of fit, or train anew"
            )
        return found

    @torch.no_grad()
    def nearest(self, audio: Tensor, number: int = 5) -> list[list[tuple[str, float]]]:
        """The captions most similar to each of B audio embeddings (B, D), each text once, with their cosines."""
        if not self.texts:
            return [[] for _ in audio]
        texts, text_of = self._distinct
        audio = F.normalize(audio.float(), dim=-1)
        with torch.autocast(audio.device.type, enabled=False):  # half precision makes ties of near captions
            cosines = audio @ self._on(audio).T  # (B, N)
        best = cosines.new_full((len(audio), len(texts)), -torch.inf)
        best.scatter_reduce_(1, text_of.to(audio.device).expand_as(cosines), cosines, "amax")  # (B, texts)
        values, found = best.topk(min(number, len(texts)))
        return [[(texts[i], value) for i, value in zip(*row)] for row in zip(found.tolist(), values.tolist())]

    @cached_property
    def _distinct(self) -> tuple[list[str], Tensor]:
        """Each text once, and the number of each row's text among them (N,)."""
        place = {text: number for number, text in enumerate(dict.fromkeys(self.texts))}
        return list(place), torch.tensor([place[text] for text in self.texts])

    def _on(self, audio: Tensor) -> Tensor:
        """The embeddings (N, D) at norm 1, on the device of `audio`; made once for all batches."""
        known = self._directions
        if known is None or (known.device, known.dtype) != (audio.device, audio.dtype):
            self._directions = known = F.normalize(self.embeddings.to(audio), dim=-1)
        return known
