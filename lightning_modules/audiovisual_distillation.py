"""DALI's audiovisual distillation: captions of audio and image teach captioning from audio alone (Eq. 2)."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import MeanMetric
from transformers import get_cosine_schedule_with_warmup

from datamodules.clips import CaptionRows, ClipBatch, ClipFormat, Explanation, explained
from datamodules.contracts import training_texts
from earshot.errors import InputError
from lightning_modules.decoding.contracts import Refine
from lightning_modules.losses.token_mean import rank_share
from lightning_modules.networks.digests import weights_digest
from lightning_modules.networks.frozen import Frozen, frozen_dtype
from lightning_modules.networks.known_words import require_known_words
from lightning_modules.networks.llava.audio_projector import load_audio_projector, save_audio_projector
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.step_draws import part_of_step
from lightning_modules.schedules.warmup_then import warmup_then


class AudiovisualDistillation(L.LightningModule):
    """Fit: the audio projector, on pseudo-captions, from audio alone. Test, predict: captions.

    The audio projector maps audio tokens to the language model. It begins as a copy of the image tokens' projector,
    which stays as it is: captions of images do not change by a bit. Nothing else trains, and fit does not load the
    vision tower.

    Args:
        captioner: with an aligned audio encoder and without an audio projector.
        optimizer: of the paper's rate by default.
        warmup: share of the steps in which the rate rises; then it falls as a cosine to 0. The authors' value.
        refine: chooses the caption among several candidates in test and predict, by a CLAP of its own; None captions
            as the captioner decodes.

    Raises:
        InputError: the captioner has an audio projector already, or no audio encoder; or refine no CLAP.
    """

    def __init__(
        self,
        captioner: LlavaCaptioner,
        optimizer: OptimizerCallable = lambda p: AdamW(p, lr=2e-4, weight_decay=0.0),
        warmup: float = 0.03,
        refine: Refine | None = None,
    ) -> None:
        super().__init__()
        if captioner.audio_projector is not None or captioner.audio_encoder is None:
            raise InputError(
                "expected a captioner with an audio encoder and without an audio projector, found "
                f"{captioner.audio_projector or 'no audio encoder'}; correct model.captioner"
            )
        self.captioner = Frozen(captioner)
        self.refine = refine.require_clap() if refine else None
        self.candidates = partial(captioner.candidates, refine)  # this and the next: see datamodules.contracts
        self.embed = captioner.audio_tokens
        if refine is not None:
            self.explain = self._candidates_of
        self.optimizer = optimizer
        self.warmup = warmup
        self.audio_projector: nn.Module | None = None
        self.val_loss = MeanMetric(nan_strategy=float("nan"))  # a NaN is not left out

    def clip_format(self, stage: str) -> ClipFormat:
        """Distillation reads audio, captioning what the captioner captions from."""
        if stage in ("fit", "validate"):
            return ClipFormat(**self.captioner.network.wants("audio"))
        return ClipFormat(**self.captioner.network.wants()).with_audio_for(self.refine.clap if self.refine else None)

    def setup(self, stage: str) -> None:
        """Load the captioner and copy its projector; the vision tower only to caption images."""
        captioner = self.captioner.network
        captioner.load("audio" if stage in ("fit", "validate") else None, dtype=frozen_dtype(self._trainer))
        if self.audio_projector is None:
            image_projector = captioner.loaded.llava.model.multi_modal_projector
            self.audio_projector = copy.deepcopy(image_projector).float().requires_grad_()
            captioner.loaded.audio_projector = self.audio_projector

    def on_fit_start(self) -> None:
        """Check that LLaVA's tokenizer knows the captions, and share LLaVA among the devices if asked to."""
        require_known_words(
            self.captioner.network.loaded.processor.tokenizer, training_texts(self.trainer),
            "--config configs/paper/audiovisual_distillation.yaml for the real LLaVA", self.print,
        )  # fmt: skip
        self.captioner.network.shard(validates=self.trainer.enable_validation)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """The captions' loss, given the audio."""
        captioner, part = self.captioner.network, part_of_step(self._trainer, batch_idx)
        loss, tokens = captioner.loss(batch, audio_tokens=captioner.audio_tokens(batch, part))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.clip_ids))
        return rank_share(loss, tokens)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """The captions' loss, given the audio: a mean over all tokens of all ranks."""
        captioner = self.captioner.network
        if batch.valid:
            self.val_loss.update(*captioner.loss(batch, audio_tokens=captioner.audio_tokens(batch)))
        self.log("val/loss", self.val_loss, prog_bar=True, batch_size=len(batch.clip_ids))

    def validation_captions(self, batch: ClipBatch, number: int) -> list[tuple[str, str]]:
        """See `datamodules.contracts.ValidationCaptioner`; from what the stage trains on."""
        few = batch.first(number)
        return list(zip(self.captioner.network.caption(few, "audio"), few.first_references()))

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions, with references where the clips have them."""
        return batch.rows(self.captioner.network.caption(batch, choose=self.refine))

    predict_step = test_step

    def _candidates_of(self, batch: ClipBatch, captions: list[str]) -> list[Explanation]:
        assert self.refine is not None
        return explained({self.refine.what: self.refine(self.captioner.network.ready(batch), batch)})

    def captions_made_by(self) -> dict[str, Any]:
        """See `datamodules.contracts.CaptioningStage`."""
        tuned = self.audio_projector and weights_digest(self.audio_projector.state_dict())
        chosen = self.refine.made_by() if self.refine else {}
        return self.captioner.network.made_by() | {"audio_projector": tuned} | chosen

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The audio projector alone; the rate is set anew at every step."""
        assert self.audio_projector is not None
        optimizer = self.optimizer(self.audio_projector.parameters())
        return warmup_then(
            get_cosine_schedule_with_warmup, optimizer, self.trainer.estimated_stepping_batches, self.warmup
        )

    def export(self, folder: Path) -> None:
        """Write the audio projector."""
        assert self.audio_projector is not None
        save_audio_projector(self.audio_projector, self.captioner.network.loaded.llava.config, folder)

    def load_export(self, folder: Path) -> None:
        """Take the audio projector that `export` wrote."""
        assert self.audio_projector is not None
        found = load_audio_projector(folder, self.captioner.network.loaded.llava.config)
        self.audio_projector.load_state_dict(found.state_dict())
