"""DALI's alignment: an audio encoder learns to hand on tokens distributed like an image captioner's (section 3.2)."""

from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR
from torchmetrics import MeanMetric
from torchmetrics.utilities.distributed import gather_all_tensors

from datamodules.clips import CaptionRows, ClipBatch, ClipFormat
from lightning_modules.metrics.retrieval import retrieval_recall
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.frozen import Frozen
from lightning_modules.networks.llava.audiovisual_captioner import QUESTION, AudiovisualCaptioner
from lightning_modules.networks.llava.generation import Generation
from lightning_modules.networks.llava.image_encoder import ImageEncoder


class TokenAlignment(L.LightningModule):
    """Fit: audio tokens to the distribution of a random frame's image tokens. Test, predict: captions.

    The language model is loaded for test and predict alone. Everything in the audio encoder trains, its map to
    the width of the image tokens too; so does what the criterion has, in a parameter group of its own.

    Args:
        criterion: called with audio tokens (B, N, D) and image tokens (B, M, D); returns the loss averaged over
            the clips and a dictionary of what it wants logged. One that follows a schedule has `set_epoch`.
        audio_encoder: a pretrained audio encoder.
        llava: folder or hub id of the image captioner.
        prefix: folder of a tuned prefix; None captions without one.
        inputs: what test and predict caption from.
        question: asked about the sound or picture.
        audio_projector: folder of a distilled map of audio tokens to the language model; None takes the images'.
        generation: how captions are decoded.
        optimizer: the paper's by default.
        lr_scheduler: stepped every epoch; the paper's by default.
    """

    def __init__(
        self,
        criterion: nn.Module,
        audio_encoder: CavMaeEncoder,
        llava: str = "llava-hf/llava-1.5-7b-hf",
        prefix: str | None = None,
        inputs: Literal["audio", "image", "audio+image"] = "audio",
        question: str = QUESTION,
        audio_projector: str | None = None,
        generation: Generation = Generation(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = lambda p: Adam(p, lr=1e-4, betas=(0.95, 0.999), weight_decay=5e-7),
        lr_scheduler: LRSchedulerCallable = lambda o: MultiStepLR(o, milestones=[10, 15], gamma=0.5),
    ) -> None:
        super().__init__()
        self.criterion = criterion
        self.audio_encoder = audio_encoder.train()
        self.llava = llava
        self.prefix = prefix
        self.inputs = inputs
        self.question = question
        self.audio_projector = audio_projector
        self.generation = generation
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.image_encoder: Frozen | None = None
        self.captioner: Frozen | None = None
        self.val_loss = MeanMetric()
        self.val_means: list[Tensor] = []

    def clip_format(self, stage: str) -> ClipFormat:
        """What each clip is read for: both media to align, the `inputs` to caption."""
        wanted = "audio+image" if stage in ("fit", "validate") else self.inputs
        encoder = self.audio_encoder
        return ClipFormat(
            sampling_rate=encoder.sampling_rate if "audio" in wanted else None,
            max_seconds=encoder.max_seconds if "audio" in wanted else None,
            image_size=ImageEncoder.image_size_of(self.llava) if "image" in wanted else None,
        )

    def setup(self, stage: str) -> None:
        """Load the frozen networks that the stage uses, and no others."""
        aligning = stage in ("fit", "validate")
        if self.image_encoder is None and (aligning or "image" in self.inputs):
            self.image_encoder = Frozen(ImageEncoder.from_pretrained(self.llava))
        if self.captioner is None and not aligning:
            self.captioner = Frozen(AudiovisualCaptioner.from_pretrained(self.llava, self.prefix, self.audio_projector))

    def audio_tokens(self, batch: ClipBatch) -> Tensor:
        """(B, N, D), with the authors' augmentation of the filterbank while training."""
        assert batch.waveforms is not None and batch.num_samples is not None  # clip_format asked for them
        features = self.audio_encoder.features(batch.waveforms, batch.num_samples)  # (B, F, 128)
        if self.training:
            features = self.audio_encoder.augment(features)
        return self.audio_encoder(features)

    def image_tokens(self, batch: ClipBatch) -> Tensor:
        """(B, M, D), without gradient."""
        assert self.image_encoder is not None
        with torch.no_grad():
            return self.image_encoder(batch.images)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """The criterion between each clip's audio tokens and the image tokens of one of its frames."""
        if callable(set_epoch := getattr(self.criterion, "set_epoch", None)):
            set_epoch(self.current_epoch)
        loss, measures = self.criterion(self.audio_tokens(batch), self.image_tokens(batch))
        clips = len(batch.clip_ids)
        self.log("train/loss", loss, prog_bar=True, batch_size=clips)
        self.log_dict({f"train/{name}": value for name, value in measures.items()}, batch_size=clips)
        return loss

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """Collect the criterion's value and, of each clip, the mean tokens and the mean directions of its tokens."""
        audio, image = self.audio_tokens(batch), self.image_tokens(batch)
        loss, _ = self.criterion(audio, image)
        clips = len(batch.clip_ids)  # none in a filler batch
        if clips:
            self.val_loss.update(loss, weight=clips)
        means = [part.mean(1) for tokens in (audio, image) for part in (tokens, F.normalize(tokens, dim=-1))]
        self.val_means.append(torch.stack(means, 1)[:clips])

    def on_validation_epoch_end(self) -> None:
        """Log the criterion, and over the whole split retrieval of pictures by sounds and the modality gap.

        The gap is the distance between the centroids of all audio and all image tokens, each at unit length (Liang et
        al. 2022, Mind the Gap): 0 to 2.
        """
        means = torch.cat(self.val_means).float()  # (V, 4, D)
        self.val_means.clear()
        if self.trainer.world_size > 1:
            means = torch.cat(gather_all_tensors(means))
        audio, audio_directions, image, image_directions = means.unbind(1)
        scores = {f"val/retrieval_r{k}": retrieval_recall(audio, image, k) for k in (1, 10)}
        scores["val/modality_gap"] = (audio_directions.mean(0) - image_directions.mean(0)).norm()
        self.log_dict({"val/loss": self.val_loss.compute(), **scores}, prog_bar=True)
        self.val_loss.reset()

    def caption(self, batch: ClipBatch) -> CaptionRows:
        """Captions of a batch from the `inputs`, beside its ids, references and labels."""
        if not batch.valid:
            return batch.rows([])
        assert self.captioner is not None
        captions = self.captioner.network.generate(
            self.audio_tokens(batch) if "audio" in self.inputs else None,
            self.image_tokens(batch) if "image" in self.inputs else None,
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
        """One optimizer; the criterion's parameters, where it has any, are its second group.

        That group has no weight decay: where a criterion holds its parameters still, with gradients of zero, Adam would
        divide a decay by itself and take full steps.
        """
        groups: list[dict[str, Any]] = [
            {"params": list(self.audio_encoder.parameters())},
            {"params": list(self.criterion.parameters()), "weight_decay": 0.0},
        ]
        optimizer = self.optimizer([group for group in groups if group["params"]])
        return {"optimizer": optimizer, "lr_scheduler": self.lr_scheduler(optimizer)}

    def export(self, folder: Path) -> None:
        """Write the aligned encoder as a Hugging Face folder."""
        self.audio_encoder.save_pretrained(folder)

    def load_export(self, folder: Path) -> None:
        """Take the aligned encoder of a folder that `export` wrote."""
        self.audio_encoder = type(self.audio_encoder).from_pretrained(folder).to(self.device)
