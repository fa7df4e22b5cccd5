"""DALI's prefix tuning: soft tokens that have an image captioner say what is heard (section 3.1, Eq. 1)."""

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
from earshot.errors import InputError
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.frozen import Frozen
from lightning_modules.networks.llava.audiovisual_captioner import QUESTION, AudiovisualCaptioner
from lightning_modules.networks.llava.generation import Generation
from lightning_modules.networks.llava.image_encoder import ImageEncoder
from lightning_modules.networks.llava.soft_prefix import load_prefix, save_prefix, soft_tokens, trainable_prefix


class LlavaPrefixTuning(L.LightningModule):
    """Fit: soft tokens, after the picture in the prompt, on captions of what is heard. Test, predict: captions.

    Nothing else trains. The loss is that of the captions' tokens alone. The export is a peft adapter.

    Args:
        llava: folder or hub id of the image captioner.
        num_tokens: soft tokens.
        inputs: what test and predict caption from; fit takes the picture.
        audio_encoder: an aligned encoder, for `inputs` with audio.
        question: asked after the soft tokens.
        generation: how captions are decoded.
        optimizer: of the paper's rate by default.
        warmup: share of the steps in which the rate rises; then it falls as a cosine to 0. The authors' value.
    """

    def __init__(
        self,
        llava: str = "llava-hf/llava-1.5-7b-hf",
        num_tokens: int = 16,
        inputs: Literal["audio", "image", "audio+image"] = "image",
        audio_encoder: CavMaeEncoder | None = None,
        question: str = QUESTION,
        generation: Generation = Generation(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = lambda p: AdamW(p, lr=2e-4, weight_decay=0.0),
        warmup: float = 0.03,
    ) -> None:
        super().__init__()
        if "audio" in inputs and audio_encoder is None:
            raise InputError(
                f"expected an audio_encoder for inputs {inputs}, found none; set model.audio_encoder to an aligned one"
            )
        self.llava = llava
        self.num_tokens = num_tokens
        self.inputs = inputs
        self.audio_encoder = None if audio_encoder is None else Frozen(audio_encoder)
        self.question = question
        self.generation = generation
        self.optimizer = optimizer
        self.warmup = warmup
        self.captioner: Frozen | None = None
        self.image_encoder: Frozen | None = None
        self.prefix: nn.Parameter | None = None
        self.known: dict[str, Tensor] = {}  # image tokens (M, D) of the few clips of fit
        self.val_loss = MeanMetric()

    def clip_format(self, stage: str) -> ClipFormat:
        """What each clip is read for: its picture to tune, the `inputs` to caption."""
        wanted = "image" if stage in ("fit", "validate") else self.inputs
        encoder = self.audio_encoder.network if self.audio_encoder is not None and "audio" in wanted else None
        return ClipFormat(
            sampling_rate=encoder.sampling_rate if encoder else None,
            max_seconds=encoder.max_seconds if encoder else None,
            image_size=ImageEncoder.image_size_of(self.llava) if "image" in wanted else None,
        )

    def setup(self, stage: str) -> None:
        """Load LLaVA and give it the soft tokens."""
        if self.captioner is None:
            self.captioner = Frozen(AudiovisualCaptioner.from_pretrained(self.llava))
            captioner = self.captioner.network
            self.adapted = (trainable_prefix(captioner.llava, captioner.processor.tokenizer, self.num_tokens),)
            captioner.prefix_ids = self.adapted[0].peft_config["default"].token_indices
            self.prefix = soft_tokens(self.adapted[0])  # the adapter's own parameter, so that it trains there
        if self.image_encoder is None and (stage in ("fit", "validate") or "image" in self.inputs):
            self.image_encoder = Frozen(ImageEncoder.from_pretrained(self.llava))

    @torch.no_grad()
    def image_tokens(self, batch: ClipBatch) -> Tensor:
        """(B, M, D)."""
        assert self.image_encoder is not None
        if not self.training:
            return self.image_encoder(batch.images)
        if not all(clip_id in self.known for clip_id in batch.clip_ids):  # the pictures stay the same all along
            self.known.update(zip(batch.clip_ids, self.image_encoder(batch.images)))
        return torch.stack([self.known[clip_id] for clip_id in batch.clip_ids])

    def loss(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood of a token of the batch's captions, the first of each clip; their number."""
        assert self.captioner is not None
        captions = [references[0] for references in batch.captions]
        return self.captioner.network.loss(None, self.image_tokens(batch), captions, self.question)

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
        audio = None
        if "audio" in self.inputs:
            assert self.audio_encoder is not None and batch.waveforms is not None
            audio = self.audio_encoder(self.audio_encoder.network.features(batch.waveforms, batch.num_samples))
        image = self.image_tokens(batch) if "image" in self.inputs else None
        captions = self.captioner.network.generate(audio, image, self.question, self.generation, batch.clip_ids)
        return batch.rows(captions)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions with their references, for the evaluation callback."""
        return self.caption(batch)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions, for the callback that writes them."""
        return self.caption(batch)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The soft tokens alone; the rate is set anew at every step."""
        optimizer = self.optimizer([self.prefix])
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = get_cosine_schedule_with_warmup(optimizer, int(self.warmup * steps), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def export(self, folder: Path) -> None:
        """Write the soft tokens as a peft adapter."""
        save_prefix(self.adapted[0], folder)

    def load_export(self, folder: Path) -> None:
        """Take the soft tokens of a peft adapter."""
        load_prefix(self.adapted[0], folder)
