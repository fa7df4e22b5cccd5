"""The embeddings of whole splits, computed once and cached under a hash of the data and of the model."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed

from datamodules.contracts import CaptionSource
from earshot.errors import InputError
from earshot.terminal import counted
from lightning_modules.contracts import Embedded, EmbeddingModel
from lightning_modules.embeddings.cache import cached, new_cache
from lightning_modules.embeddings.memory import Memory

TEXTS_AT_ONCE = 256
T = TypeVar("T")
Pieces = Iterator[tuple[Tensor, Tensor]]  # row numbers (C,) and their embeddings (C, D)


@dataclass
class EmbeddingStore:
    """Text and audio embeddings of a datamodule's splits, memory-mapped.

    Every rank embeds its share of a split, batch by batch, and the first writes them all; no rank waits longer than for
    a batch.

    Args:
        model: computes them, on the device that it is on.
        digests: of the model's parts, "text" and "audio" (`EmbeddingModel.fingerprint`).
        data: has the captions and the clips.
        folder: of the cache.
        rank: of this process; all ranks call each method.
        world_size: number of processes.

    Raises:
        InputError: by every method, on all ranks, where the cache cannot be written, a node does not see it, or a clip
            cannot be read.
    """

    model: EmbeddingModel
    digests: dict[str, str]
    data: CaptionSource
    folder: Path
    rank: int = 0
    world_size: int = 1

    def captions(self, split: str | None, num_clips: int | None = None) -> Embedded:
        """The text embeddings (N, D) of all captions of a split or table, or of those of `num_clips` clips."""
        split = self._named(split)
        captions = self.data.captions_of(split).drawn(num_clips)
        texts = captions.texts
        order = torch.tensor(sorted(range(len(texts)), key=lambda row: len(texts[row])))  # less padding

        def pieces() -> Pieces:
            batches = order.split(TEXTS_AT_ONCE)[self.rank :: self.world_size]
            for rows in self._shown(batches, f"embedding {len(texts)} captions of {split}"):
                yield rows, self.model.embed_text([texts[row] for row in rows])

        return Embedded(self._cached("text", captions.digest, len(texts), pieces), captions.clip_ids)

    def audio(self, split: str | None, num_clips: int | None = None) -> Embedded:
        """The audio embeddings (N, D) of all captioned clips of a packed split, or of `num_clips` of them."""
        split = self._named(split)
        captions = self.data.captions_of(split).drawn(num_clips)
        clip_ids = list(dict.fromkeys(captions.clip_ids))
        row_of = {clip_id: row for row, clip_id in enumerate(clip_ids)}
        device = next(self.model.parameters()).device

        def pieces() -> Pieces:
            clips = self.data.clips_of(split, None if num_clips is None else set(clip_ids))
            for batch in self._shown(clips, f"embedding the audio of {len(clip_ids)} clips of {split}"):
                if not batch.valid or row_of.keys().isdisjoint(batch.clip_ids):
                    continue
                rows = torch.tensor([row_of[clip_id] for clip_id in batch.clip_ids if clip_id in row_of])
                kept = torch.tensor([clip_id in row_of for clip_id in batch.clip_ids])
                assert batch.waveforms is not None and batch.num_samples is not None  # clip_format asked for them
                embedded = self.model.embed_audio(batch.waveforms.to(device), batch.num_samples.to(device))
                yield rows, embedded[kept.to(device)]

        digest = captions.digest + self.data.audio_digest(split)
        return Embedded(self._cached("audio", digest, len(clip_ids), pieces), clip_ids)

    def memory(self, split: str) -> Memory:
        """All captions of a split or table with their embeddings."""
        return Memory(self.captions(split).embeddings, self.data.captions_of(split).texts, split)

    def of_captions(self, split: str, audio: bool) -> tuple[Tensor, Tensor]:
        """Embeddings, and the row in them of each caption of a split: its own, or with `audio` that of its clip."""
        if not audio:
            embeddings = self.captions(split).embeddings
            return embeddings, torch.arange(len(embeddings))
        embeddings, clip_ids = self.audio(split)
        rows = {clip_id: row for row, clip_id in enumerate(clip_ids)}
        return embeddings, torch.tensor([rows[clip_id] for clip_id in self.data.captions_of(split).clip_ids])

    def _named(self, split: str | None) -> str:
        """The split's name; None is the one that is trained on."""
        found = split or self.data.train
        assert found is not None  # only fit prepares strategies that ask so
        return found

    @torch.no_grad()
    def _cached(self, part: str, digest: str, count: int, pieces: Callable[[], Pieces]) -> Tensor:
        key = hashlib.sha256(f"{digest} {self.digests[part]}".encode()).hexdigest()[:24]
        path, shape = self.folder / f"{part}-{key}.f32", (count, self.model.embedding_dim)
        if not all(self._of_all(lambda: cached(path, shape) is not None)):
            self._write(path, shape, pieces())

        def seen() -> None:
            if cached(path, shape) is None:
                raise InputError(
                    f"expected embeddings in {path}, found none on this node; put `cache` where all nodes see it"
                )

        self._of_all(seen)
        found = cached(path, shape)
        assert found is not None  # it was just seen
        return found

    def _write(self, path: Path, shape: tuple[int, int], own: Pieces) -> None:
        tables: list[Tensor] = []  # one, on the first rank

        def piece() -> tuple[Tensor, Tensor] | None:
            rows, embeddings = next(own, (None, None))
            return None if rows is None or embeddings is None else (rows, embeddings.float().cpu())

        with ExitStack() as stack:
            self._of_all(lambda: None if self.rank else tables.append(stack.enter_context(new_cache(path, shape))))
            while any(given := self._of_all(piece)):  # until no rank has one
                for table in tables:
                    for rows, embeddings in filter(None, given):
                        table[rows] = embeddings
            self._of_all(lambda: stack.pop_all().close())

    def _of_all(self, do: Callable[[], T]) -> list[T]:
        """What `do` returns on each rank. An error on one is raised on all, which would wait for it otherwise."""
        try:
            found: T | InputError = do()
        except InputError as error:
            found = error
        ranks = [found] * self.world_size
        if self.world_size > 1:
            distributed.all_gather_object(ranks, found)
        for one in ranks:
            if isinstance(one, InputError):
                raise one
        return [one for one in ranks if not isinstance(one, InputError)]

    def _shown(self, batches: Iterable[T], what: str) -> Iterable[T]:
        """The batches, with a progress bar of the first rank's."""
        if self.rank:
            return batches
        print(what, flush=True)
        return counted(batches, "embedding", "batches")
