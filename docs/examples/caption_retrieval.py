"""A stage that captions: each clip gets the training caption whose CLAP embedding is nearest."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from datamodules.clips import CaptionRows, ClipBatch, ClipFormat
from datamodules.contracts import CaptionSource, datamodule_of
from earshot.errors import InputError
from lightning_modules.contracts import Matcher
from lightning_modules.networks.digests import module_digest
from lightning_modules.networks.frozen import Frozen


class CaptionRetrieval(L.LightningModule):
    """Test, predict: captions by retrieval. Nothing trains, so there is no fit.

    Args:
        clap: embeds audio and captions in one space.
        chunk_size: how many captions are embedded at once.
    """

    def __init__(self, clap: Matcher, chunk_size: int = 256) -> None:
        super().__init__()
        self.clap = Frozen(clap)  # in eval mode, without gradients, in no checkpoint
        self.chunk_size = chunk_size
        self.texts: list[str] = []
        self.embeddings = torch.empty(0)

    def clip_format(self, stage: str) -> ClipFormat:
        """What the datamodule reads of every clip: audio as CLAP takes it, and no image."""
        encoder = self.clap.network
        return ClipFormat(sampling_rate=encoder.sampling_rate, max_seconds=encoder.max_seconds)

    def more_splits(self, stage: str) -> set[str]:
        """Splits that are read beside the one under test: the training captions."""
        train = self.data.train
        return set() if train is None else {train}

    @property
    def data(self) -> CaptionSource:
        """The datamodule."""
        return datamodule_of(self.trainer, CaptionSource)

    def setup(self, stage: str) -> None:
        """Read the training captions."""
        if self.data.train is None:
            raise InputError("expected training captions to retrieve from, found none; set data.init_args.train")
        self.texts = list(dict.fromkeys(self.data.captions_of(self.data.train).texts))

    @torch.no_grad()
    def caption(self, batch: ClipBatch) -> CaptionRows:
        """Captions of a batch; of a filler batch, which keeps the ranks in step, none."""
        if not batch.valid:
            return batch.rows([])
        if not len(self.embeddings):
            chunks = range(0, len(self.texts), self.chunk_size)
            parts = [self.clap.network.embed_text(self.texts[i : i + self.chunk_size]) for i in chunks]
            self.embeddings = torch.cat(parts)  # (captions, D)
        assert batch.waveforms is not None and batch.num_samples is not None  # clip_format asked for them
        audio: Tensor = self.clap.network.embed_audio(batch.waveforms, batch.num_samples)  # (B, D)
        return batch.rows([self.texts[index] for index in (audio @ self.embeddings.T).argmax(dim=1).tolist()])

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions with their references, which `evaluation` scores."""
        return self.caption(batch)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions."""
        return self.caption(batch)

    def captions_made_by(self) -> dict[str, Any]:
        """Everything that decides a caption; interrupted tables of captions are continued only if it is the same."""
        train = self.data.train
        return {
            "clap": module_digest(self.clap.network),
            "captions": train and self.data.captions_of(train).digest,
        }
