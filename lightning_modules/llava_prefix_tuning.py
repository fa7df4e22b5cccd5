"""DALI's prefix tuning: soft tokens that make an image captioner describe sounds (section 3.1, Eq. 1)."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torchmetrics import MeanMetric
from transformers import get_cosine_schedule_with_warmup

from datamodules.clips import CaptionRows, ClipBatch, ClipFormat, Explanation, explained
from datamodules.contracts import FewShotSource, training_texts
from earshot.errors import InputError
from lightning_modules.decoding.contracts import Refine
from lightning_modules.losses.token_mean import rank_share
from lightning_modules.networks.digests import weights_digest
from lightning_modules.networks.frozen import Frozen, frozen_dtype
from lightning_modules.networks.known_words import require_known_words
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.llava.soft_prefix import load_prefix, save_prefix, soft_tokens, trainable_prefix
from lightning_modules.schedules.warmup_then import warmup_then


class LlavaPrefixTuning(L.LightningModule):
    """Fit: soft tokens, after the image in the prompt, on captions of the sounds. Test, predict: captions.

    Nothing else trains. The loss is that of the captions' tokens alone. The export is a peft adapter.

    Args:
        captioner: without a prefix; fit takes its images, test and predict its `inputs`.
        num_tokens: soft tokens.
        initial_deviation: of the normal noise that the soft tokens begin as; None begins with the embeddings of random
            words. The paper does not say; the authors' code: 1e-4.
        optimizer: of the paper's rate by default.
        warmup: share of the steps in which the rate rises; then it falls as a cosine to 0. The authors' value.
        refine: chooses the caption among several candidates in test and predict, by a CLAP of its own; None captions
            as the captioner decodes.

    Raises:
        InputError: the captioner has a prefix already, or refine no CLAP.
    """

    def __init__(
        self,
        captioner: LlavaCaptioner,
        num_tokens: int = 16,
        initial_deviation: float | None = None,
        optimizer: OptimizerCallable = lambda p: AdamW(p, lr=2e-4, weight_decay=0.0),
        warmup: float = 0.03,
        refine: Refine | None = None,
    ) -> None:
        super().__init__()
        if captioner.prefix is not None:
            raise InputError(
                f"expected a captioner without a prefix, found {captioner.prefix!r}; set model.captioner.prefix to null"
            )
        self.captioner = Frozen(captioner)
        self.refine = refine.require_clap() if refine else None
        self.candidates = partial(captioner.candidates, refine)  # datamodules.contracts.RankingStage
        if refine is not None:
            self.explain = self._candidates_of  # datamodules.contracts.ExplainingStage
        self.num_tokens = num_tokens
        self.initial_deviation = initial_deviation
        self.optimizer = optimizer
        self.warmup = warmup
        self.prefix: nn.Parameter | None = None
        self.known: dict[str, Tensor] | None = None  # image tokens (M, D) of a few clips of fit
        self.val_loss = MeanMetric(nan_strategy=float("nan"))  # a NaN is not left out

    def clip_format(self, stage: str) -> ClipFormat:
        """Tuning reads images, captioning what the captioner captions from."""
        if stage in ("fit", "validate"):
            return ClipFormat(**self.captioner.network.wants("image"))
        return ClipFormat(**self.captioner.network.wants()).with_audio_for(self.refine.clap if self.refine else None)

    def setup(self, stage: str) -> None:
        """Load LLaVA and give it the soft tokens."""
        captioner = self.captioner.network
        captioner.load("image" if stage in ("fit", "validate") else None, dtype=frozen_dtype(self._trainer))
        if self.prefix is None:
            model = captioner.loaded
            words = model.processor.tokenizer
            self.adapted = (trainable_prefix(model.llava, words, self.num_tokens, self.initial_deviation),)
            model.prefix_ids = self.adapted[0].peft_config["default"].token_indices
            self.prefix = soft_tokens(self.adapted[0])  # the adapter's own parameter, so that it trains there

    def on_fit_start(self) -> None:
        """Check that LLaVA's tokenizer knows the captions, and share LLaVA among the devices if asked to."""
        require_known_words(
            self.captioner.network.loaded.processor.tokenizer, training_texts(self.trainer),
            "--config configs/paper/llava_prefix_tuning.yaml for the real LLaVA", self.print,
        )  # fmt: skip
        self.captioner.network.shard(validates=self.trainer.enable_validation)
        data = vars(self.trainer).get("datamodule")
        self.known = {} if isinstance(data, FewShotSource) and data.few_clips is not None else None

    def image_tokens(self, batch: ClipBatch) -> Tensor:
        """(B, M, D), computed once for each of a few clips of fit, whose images stay the same; those of a whole split
        show another frame in each epoch."""
        if not self.training or self.known is None:
            return self.captioner.network.image_tokens(batch)
        if not all(clip_id in self.known for clip_id in batch.clip_ids):
            self.known.update(zip(batch.clip_ids, self.captioner.network.image_tokens(batch)))
        return torch.stack([self.known[clip_id] for clip_id in batch.clip_ids])

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """The captions' loss, given the image."""
        loss, tokens = self.captioner.network.loss(batch, image_tokens=self.image_tokens(batch))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.clip_ids))
        return rank_share(loss, tokens)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """The captions' loss, given the image: a mean over all tokens of all ranks."""
        if batch.valid:
            self.val_loss.update(*self.captioner.network.loss(batch, image_tokens=self.image_tokens(batch)))
        self.log("val/loss", self.val_loss, prog_bar=True, batch_size=len(batch.clip_ids))

    def validation_captions(self, batch: ClipBatch, number: int) -> list[tuple[str, str]]:
        """See `datamodules.contracts.ValidationCaptioner`; from what the stage trains on."""
        few = batch.first(number)
        return list(zip(self.captioner.network.caption(few, "image"), few.first_references()))

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions, with references where the clips have them."""
        return batch.rows(self.captioner.network.caption(batch, choose=self.refine))

    predict_step = test_step

    def _candidates_of(self, batch: ClipBatch, captions: list[str]) -> list[Explanation]:
        assert self.refine is not None
        return explained({self.refine.what: self.refine(self.captioner.network.ready(batch), batch)})

    def captions_made_by(self) -> dict[str, Any]:
        """See `datamodules.contracts.CaptioningStage`."""
        tuned = None if self.prefix is None else weights_digest({"prefix": self.prefix})
        chosen = self.refine.made_by() if self.refine else {}
        return self.captioner.network.made_by() | {"prefix": tuned, "num_tokens": self.num_tokens} | chosen

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The soft tokens alone; the rate is set anew at every step."""
        optimizer, steps = self.optimizer([self.prefix]), self.trainer.estimated_stepping_batches
        return warmup_then(get_cosine_schedule_with_warmup, optimizer, steps, self.warmup)

    def export(self, folder: Path) -> None:
        """Write the soft tokens as a peft adapter."""
        save_prefix(self.adapted[0], folder)

    def load_export(self, folder: Path) -> None:
        """Take the soft tokens of a peft adapter."""
        load_prefix(self.adapted[0], folder)
