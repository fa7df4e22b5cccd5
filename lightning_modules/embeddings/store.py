"""The embeddings of whole splits, computed once and cached under a hash of the data and of the model."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from datamodules.contracts import CaptionSource
from earshot.errors import InputError
from lightning_modules.contracts import Embedded, EmbeddingModel
from lightning_modules.embeddings.cache import cached, write_cache

TEXTS_AT_ONCE = 256
Pieces = Callable[[], Iterable[tuple[Tensor, Tensor]]]


@dataclass
class EmbeddingStore:
    """Text and audio embeddings of a datamodule's splits, memory-mapped.

    Args:
        model: computes them, on the device that it is on.
        digests: of the model's parts, "text" and "audio" (`EmbeddingModel.fingerprint`).
        data: has the captions and the clips.
        folder: of the cache.
        writes: whether this is the rank that fills the cache, the first.
        broadcast: called on all ranks, returns to all what the first rank gave it.

    Raises:
        InputError: by every method, where the cache cannot be written, or a node does not see it.
    """

    model: EmbeddingModel
    digests: dict[str, str]
    data: CaptionSource
    folder: Path
    writes: bool
    broadcast: Callable[[str | None], str | None]

    def captions(self, split: str, num_clips: int | None = None) -> Embedded:
        """The text embeddings (N, D) of all captions of a split or table, or of those of `num_clips` clips."""
        captions = self.data.captions_of(split).drawn(num_clips)
        texts = captions.texts
        order = torch.tensor(sorted(range(len(texts)), key=lambda row: len(texts[row])))  # less padding

        def pieces() -> Iterator[tuple[Tensor, Tensor]]:
            print(f"embedding {len(texts)} captions of {split}", flush=True)
            for rows in tqdm(order.split(TEXTS_AT_ONCE), desc="embedding", unit="batch", disable=None):
                yield rows, self.model.embed_text([texts[row] for row in rows])

        return Embedded(self._cached("text", captions.digest, len(texts), pieces), captions.clip_ids)

    def audio(self, split: str, num_clips: int | None = None) -> Embedded:
        """The audio embeddings (N, D) of all captioned clips of a packed split, or of `num_clips` of them."""
        captions = self.data.captions_of(split).drawn(num_clips)
        clip_ids = list(dict.fromkeys(captions.clip_ids))
        row_of = {clip_id: row for row, clip_id in enumerate(clip_ids)}
        device = next(self.model.parameters()).device

        def pieces() -> Iterator[tuple[Tensor, Tensor]]:
            print(f"embedding the audio of {len(clip_ids)} clips of {split}", flush=True)
            clips = self.data.clips_of(split, None if num_clips is None else set(clip_ids))
            for batch in tqdm(clips, desc="embedding", unit="batch", disable=None):
                rows = torch.tensor([row_of[clip_id] for clip_id in batch.clip_ids if clip_id in row_of])
                kept = torch.tensor([clip_id in row_of for clip_id in batch.clip_ids])
                assert batch.waveforms is not None and batch.num_samples is not None  # clip_format asked for them
                embedded = self.model.embed_audio(batch.waveforms.to(device), batch.num_samples.to(device))
                yield rows, embedded[kept.to(device)]

        digest = captions.digest + self.data.audio_digest(split)
        return Embedded(self._cached("audio", digest, len(clip_ids), pieces), clip_ids)

    def of_captions(self, split: str, audio: bool) -> tuple[Tensor, Tensor]:
        """Embeddings, and the row in them of each caption of a split: its own, or with `audio` that of its clip."""
        if not audio:
            embeddings = self.captions(split).embeddings
            return embeddings, torch.arange(len(embeddings))
        embeddings, clip_ids = self.audio(split)
        rows = {clip_id: row for row, clip_id in enumerate(clip_ids)}
        return embeddings, torch.tensor([rows[clip_id] for clip_id in self.data.captions_of(split).clip_ids])

    @torch.no_grad()
    def _cached(self, part: str, digest: str, count: int, pieces: Pieces) -> Tensor:
        key = hashlib.sha256(f"{digest} {self.digests[part]}".encode()).hexdigest()[:24]
        path, shape = self.folder / f"{part}-{key}.f32", (count, self.model.embedding_dim)
        wrong = None
        if self.writes and cached(path, shape) is None:
            try:
                write_cache(path, shape, pieces())
            except InputError as error:
                wrong = str(error)
        if wrong := self.broadcast(wrong):
            raise InputError(wrong)  # on all ranks, which would wait for the first otherwise
        if (found := cached(path, shape)) is None:
            raise InputError(
                f"expected embeddings in {path}, found none on this node; put `cache` where all nodes see it"
            )
        return found
