"""DALI's alignment: an audio encoder learns tokens that are distributed like an image encoder's (section 3.2)."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR
from torchmetrics import MeanMetric, MetricCollection

from datamodules.clips import (
    AlignedTokens,
    CaptionRows,
    ClipBatch,
    ClipFormat,
    Coupling,
    Explanation,
    TransportPlan,
    explained,
)
from earshot.errors import InputError
from lightning_modules.contracts import Criterion, HasTokenGrid, ScheduledCriterion, TransportCriterion
from lightning_modules.decoding.contracts import Refine
from lightning_modules.losses.earth_mover import EarthMover
from lightning_modules.losses.transport import transport_cost, uniform_weights
from lightning_modules.metrics.token_spaces import ModalityGap, RetrievalRecall
from lightning_modules.networks.frozen import Frozen, cast_weights, frozen_dtype
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.step_draws import Part, part_of_step
from lightning_modules.schedules.by_epoch import by_epoch


class TokenAlignment(L.LightningModule):
    """Fit: audio tokens to the distribution of a random frame's image tokens. Test, predict: captions.

    The captioner's audio encoder trains as a whole, its linear map to the width of the image tokens included. The
    criterion's parameters, where it has any, train in a parameter group of their own. The language model is loaded for
    test and predict alone.

    Args:
        criterion: called with audio tokens (B, N, D) and image tokens (B, M, D); test and predict work without one.
        captioner: its audio encoder is aligned with its image encoder.
        optimizer: that of the authors' code by default; the paper gives none.
        lr_scheduler: stepped every epoch; likewise.
        refine: chooses the caption among several candidates in test and predict, by a CLAP of its own; None captions
            as the captioner decodes.

    Raises:
        InputError: the captioner has no audio encoder, or refine no CLAP.
    """

    def __init__(
        self,
        criterion: Criterion | None,
        captioner: LlavaCaptioner,
        optimizer: OptimizerCallable = lambda p: Adam(p, lr=1e-4, betas=(0.95, 0.999), weight_decay=5e-7),
        lr_scheduler: LRSchedulerCallable = lambda o: MultiStepLR(o, milestones=[10, 15], gamma=0.5),
        refine: Refine | None = None,
    ) -> None:
        super().__init__()
        if captioner.audio_encoder is None:
            raise InputError("expected a captioner with an audio encoder to align, found none; set its audio_encoder")
        self.captioner = Frozen(captioner)
        self.refine = refine.require_clap() if refine else None
        self.candidates = partial(captioner.candidates, refine)  # this and the next: see datamodules.contracts
        self.embed = captioner.audio_tokens
        self.audio_encoder = captioner.audio_encoder.requires_grad_().train()
        self.criterion = criterion
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.val_loss = MeanMetric(nan_strategy=float("nan"))  # a NaN is not left out
        retrieval = {f"retrieval_r{k}": RetrievalRecall(k) for k in (1, 10)}
        self.val_scores = MetricCollection({**retrieval, "modality_gap": ModalityGap()}, prefix="val/")

    def clip_format(self, stage: str) -> ClipFormat:
        """Alignment reads both media, captioning what the captioner captions from."""
        aligns = stage in ("fit", "validate", "explain")
        found = ClipFormat(**self.captioner.network.wants("audio+image" if aligns else None))
        chosen_by = self.refine.clap if self.refine and stage not in ("fit", "validate") else None
        return found.with_audio_for(chosen_by)

    def setup(self, stage: str) -> None:
        """Load the networks that the stage uses, and no others; all but an encoder that trains are frozen."""
        aligns = stage in ("fit", "validate")
        if aligns and self.criterion is None:
            raise InputError("expected a criterion to align with, found none; set model.criterion")
        # where it captions, it is as frozen as the others, in their precision
        self.audio_encoder.requires_grad_(aligns)
        self.captioner.network.load(
            "audio+image" if aligns else None, language_model=not aligns, dtype=frozen_dtype(self._trainer)
        )

    def distance(
        self, batch: ClipBatch, part: Part | None = None
    ) -> tuple[Tensor, dict[str, Any], tuple[Tensor, Tensor]]:
        """The criterion's value and measures for a batch, and the tokens (B, N, D) and (B, M, D)."""
        assert self.criterion is not None
        tokens = self.captioner.network.audio_tokens(batch, part), self.captioner.network.image_tokens(batch)
        return *self.criterion(*tokens), tokens

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """The criterion between each clip's audio tokens and the image tokens of one of its frames."""
        if isinstance(self.criterion, ScheduledCriterion):
            self.criterion.set_epoch(self.current_epoch)
        loss, measures, _ = self.distance(batch, part_of_step(self._trainer, batch_idx))
        clips = len(batch.clip_ids)
        self.log("train/loss", loss, prog_bar=True, batch_size=clips)
        self.log_dict({f"train/{name}": value for name, value in measures.items()}, batch_size=clips)
        return loss

    @torch.no_grad()
    def coupling(self, audio_tokens: Tensor, image_tokens: Tensor) -> Coupling | None:
        """See `datamodules.contracts.AligningStage`."""
        if not isinstance(self.criterion, TransportCriterion):
            return None
        grid = self.audio_encoder.token_grid()[:2] if isinstance(self.audio_encoder, HasTokenGrid) else None
        return Coupling(*self.criterion.couple(audio_tokens, image_tokens), grid)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> AlignedTokens:
        """The criterion, retrieval of images by audio, and the modality gap, each over all clips of all ranks."""
        loss, _, (audio_tokens, image_tokens) = self.distance(batch)
        clips = len(batch.clip_ids)  # none in a filler batch, whose tokens are of one silent clip
        if clips:
            self.val_loss.update(loss, weight=clips)
        self.val_scores.update(audio_tokens[:clips], image_tokens[:clips])
        self.log("val/loss", self.val_loss, prog_bar=True, batch_size=clips)
        self.log_dict(self.val_scores, prog_bar=True, batch_size=clips)
        return AlignedTokens(audio_tokens=audio_tokens[:clips], image_tokens=image_tokens[:clips])

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions, with references where the clips have them."""
        return batch.rows(self.captioner.network.caption(batch, choose=self.refine))

    predict_step = test_step

    @torch.no_grad()
    def explain(self, batch: ClipBatch, captions: list[str]) -> list[Explanation]:
        """The plan of `_plans`, and the candidates where there is a refine."""
        plans = self._plans(batch)
        if self.refine is None:
            return plans
        reasons = explained({self.refine.what: self.refine(self.captioner.network.ready(batch), batch)})
        return [Explanation(**plan, **chosen) for plan, chosen in zip(plans, reasons)]

    def _plans(self, batch: ClipBatch) -> list[Explanation]:
        """The optimal plan between each clip's audio tokens and those of its middle frame, all with the same weight.

        It does not depend on the criterion, whose own weights are not exported. Nothing is explained of an encoder
        whose tokens are no patches of a spectrogram, nor of clips whose audio or image the batch has not.
        """
        network = self.captioner.network
        has_both = batch.waveforms is not None and batch.images is not None
        if not (has_both and isinstance(network.audio_encoder, HasTokenGrid)):
            return [{} for _ in batch.clip_ids]
        network.load("audio+image", language_model=False, dtype=frozen_dtype(self._trainer))
        self.captioner.to(self.device)
        audio_tokens, image_tokens = network.audio_tokens(batch), network.image_tokens(batch)
        weights = uniform_weights(audio_tokens), uniform_weights(image_tokens)
        _, transport = transport_cost(audio_tokens, image_tokens, *weights, EarthMover())
        rows, columns, seconds, hz = network.audio_encoder.token_grid()
        side = math.isqrt(image_tokens.shape[1])
        if side**2 != image_tokens.shape[1] or rows * columns != audio_tokens.shape[1]:
            return [{} for _ in batch.clip_ids]
        found: list[list[tuple[int, int, float]]] = [[] for _ in batch.clip_ids]
        for (clip, audio, image), mass in zip(transport.plan.indices().T.tolist(), transport.plan.values().tolist()):
            if clip < len(found):
                found[clip].append((audio, image, round(mass, 7)))
        return [
            Explanation(
                transport=TransportPlan(
                    audio_grid=(rows, columns), seconds=seconds, hz=hz, image_grid=(side, side),
                    padded=network.pad_images, masses=masses,
                )
            )
            for masses in found
        ]  # fmt: skip

    def captions_made_by(self) -> dict[str, Any]:
        """See `datamodules.contracts.CaptioningStage`."""
        return self.captioner.network.made_by() | (self.refine.made_by() if self.refine else {})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer; the criterion's parameters, where it has any, are its second group.

        That group has no weight decay: where a criterion holds its parameters still, with gradients of zero, Adam would
        divide a decay by itself and take full steps.
        """
        groups: list[dict[str, Any]] = [
            {"params": list(self.audio_encoder.parameters())},
            {"params": list(self.criterion.parameters()) if self.criterion else [], "weight_decay": 0.0},
        ]
        return by_epoch(self.optimizer([group for group in groups if group["params"]]), self.lr_scheduler)

    def export(self, folder: Path) -> None:
        """Write the aligned encoder as a Hugging Face folder."""
        self.audio_encoder.save_pretrained(folder)

    def load_export(self, folder: Path) -> None:
        """Take the aligned encoder of a folder that `export` wrote."""
        trains = next(self.audio_encoder.parameters()).requires_grad
        found = type(self.audio_encoder).from_pretrained(folder).to(self.device).requires_grad_(trains)
        cast_weights(found, frozen_dtype(self._trainer))
        self.audio_encoder = self.captioner.network.audio_encoder = found
        if self._trainer and self._trainer.validating and self.criterion and [*self.criterion.parameters()]:
            self.print("val/loss is with the criterion untrained: exports have no weights of it; give --ckpt_path best")
