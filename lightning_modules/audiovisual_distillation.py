"""DALI's audiovisual distillation: captions of sound and picture teach what hears the sound alone (Eq. 2)."""

import copy
from pathlib import Path
from typing import Literal

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import MeanMetric
from transformers import get_cosine_schedule_with_warmup

from datamodules.clips import CaptionRows, ClipBatch, ClipFormat
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.frozen import Frozen
from lightning_modules.networks.llava.audio_projector import load_audio_projector, save_audio_projector
from lightning_modules.networks.llava.audiovisual_captioner import QUESTION, AudiovisualCaptioner
from lightning_modules.networks.llava.generation import Generation
from lightning_modules.networks.llava.image_encoder import ImageEncoder


class AudiovisualDistillation(L.LightningModule):
    """Fit: the map of audio tokens to the language model, on pseudo-captions, from sound alone. Test: captions.

    That map, the audio projector, begins as a copy of the one that image tokens go through, which stays as it is:
    captions of pictures do not change by a bit. Nothing else trains, and the vision tower is not loaded in fit.

    Args:
        audio_encoder: an aligned encoder; it stays as it is.
        llava: folder or hub id of the image captioner.
        prefix: folder of a tuned prefix; None does without one.
        inputs: what test and predict caption from; fit takes the sound.
        question: asked about the sound or picture.
        generation: how captions are decoded.
        optimizer: of the paper's rate by default.
        warmup: share of the steps in which the rate rises; then it falls as a cosine to 0. The authors' value.
    """

    def __init__(
        self,
        audio_encoder: CavMaeEncoder,
        llava: str = "llava-hf/llava-1.5-7b-hf",
        prefix: str | None = None,
        inputs: Literal["audio", "image", "audio+image"] = "audio",
        question: str = QUESTION,
        generation: Generation = Generation(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = lambda p: AdamW(p, lr=2e-4, weight_decay=0.0),
        warmup: float = 0.03,
    ) -> None:
        super().__init__()
        self.audio_encoder = Frozen(audio_encoder)
        self.llava = llava
        self.prefix = prefix
        self.inputs = inputs
        self.question = question
        self.generation = generation
        self.optimizer = optimizer
        self.warmup = warmup
        self.captioner: Frozen | None = None
        self.image_encoder: Frozen | None = None
        self.audio_projector: nn.Module | None = None
        self.val_loss = MeanMetric()

    def clip_format(self, stage: str) -> ClipFormat:
        """What each clip is read for: its sound to distil, the `inputs` to caption."""
        wanted = "audio" if stage in ("fit", "validate") else self.inputs
        encoder = self.audio_encoder.network
        return ClipFormat(
            sampling_rate=encoder.sampling_rate if "audio" in wanted else None,
            max_seconds=encoder.max_seconds if "audio" in wanted else None,
            image_size=ImageEncoder.image_size_of(self.llava) if "image" in wanted else None,
        )

    def setup(self, stage: str) -> None:
        """Load the captioner and copy its projector; the vision tower only to caption pictures."""
        if self.captioner is None:
            captioner = AudiovisualCaptioner.from_pretrained(self.llava, self.prefix)
            self.audio_projector = copy.deepcopy(captioner.llava.model.multi_modal_projector).float().requires_grad_()
            self.captioner = Frozen(captioner)
            captioner.audio_projector = self.audio_projector  # after the freezing: it is this stage's, and trains
        if self.image_encoder is None and stage not in ("fit", "validate") and "image" in self.inputs:
            self.image_encoder = Frozen(ImageEncoder.from_pretrained(self.llava))

    @torch.no_grad()
    def audio_tokens(self, batch: ClipBatch) -> Tensor:
        """(B, N, D)."""
        return self.audio_encoder(self.audio_encoder.network.features(batch.waveforms, batch.num_samples))

    def loss(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood of a token of the batch's captions, the first of each clip; their number."""
        assert self.captioner is not None
        captions = [references[0] for references in batch.captions]
        return self.captioner.network.loss(self.audio_tokens(batch), None, captions, self.question)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """The loss."""
        loss, _ = self.loss(batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.clip_ids))
        return loss

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """The loss of clips with their first caption."""
        if batch.valid:
            loss, tokens = self.loss(batch)
            self.val_loss.update(loss, weight=tokens)

    def on_validation_epoch_end(self) -> None:
        """Log the loss of all tokens of all ranks."""
        self.log("val/loss", self.val_loss.compute(), prog_bar=True)
        self.val_loss.reset()

    def caption(self, batch: ClipBatch) -> CaptionRows:
        """Captions of a batch from the `inputs`, beside its ids, references and labels."""
        if not batch.valid:
            return batch.rows([])
        assert self.captioner is not None
        captions = self.captioner.network.generate(
            self.audio_tokens(batch) if "audio" in self.inputs else None,
            self.image_encoder(batch.images) if self.image_encoder is not None else None,
            self.question,
            self.generation,
            batch.clip_ids,
        )
        return batch.rows(captions)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions with their references, for the evaluation callback."""
        return self.caption(batch)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions, for the callback that writes them."""
        return self.caption(batch)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The audio projector alone; the rate is set anew at every step."""
        assert self.audio_projector is not None
        optimizer = self.optimizer(self.audio_projector.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = get_cosine_schedule_with_warmup(optimizer, int(self.warmup * steps), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def export(self, folder: Path) -> None:
        """Write the audio projector."""
        assert self.audio_projector is not None and self.captioner is not None
        save_audio_projector(self.audio_projector, self.captioner.network.llava.config, folder)

    def load_export(self, folder: Path) -> None:
        """Take the audio projector that `export` wrote."""
        assert self.audio_projector is not None and self.captioner is not None
        found = load_audio_projector(folder, self.captioner.network.llava.config)
        self.audio_projector.load_state_dict(found.state_dict())
