"""WSAC: a decoder that learns to invert CLAP's text embeddings, and then captions audio by its embeddings."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Adam
from torchmetrics import MeanMetric

from datamodules.clips import CaptionBatch, CaptionRows, ClipBatch, ClipFormat, EmbeddedCaptionRows
from datamodules.contracts import CaptionSource, datamodule_of, training_texts
from earshot.errors import InputError
from lightning_modules.contracts import EmbeddingModel, InferenceStrategy, TrainingStrategy
from lightning_modules.embeddings.store import EmbeddingStore
from lightning_modules.networks.digests import module_digest
from lightning_modules.networks.frozen import Frozen
from lightning_modules.networks.known_words import require_known_words
from lightning_modules.networks.prefix_decoder import PrefixDecoder
from lightning_modules.schedules.warmup_step import WarmupStep
from lightning_modules.strategies.chain import StrategyChain

TRAINED_WITH = "trained_with.json"


class ClapPrefixDecoder(L.LightningModule):
    """Fit: reconstruct captions from their text embeddings, without audio. Test, predict: caption audio embeddings.

    Every embedding is computed once and cached under a hash of what was embedded and of the model. An audio embedding
    that `inference_strategy` moved among the text embeddings also goes through `training_strategies`, as the text
    embeddings did in training; only noise is left out.

    Args:
        clap: the frozen encoder of audio and text.
        training_strategies: applied in turn to text embeddings (B, D).
        inference_strategy: applied to audio embeddings (B, D), with the training captions as its memory; None decodes
            the audio embedding itself.
        supervised: train on the audio embeddings of the captions' clips: the upper bound, which needs pairs.
        caption_from: "reference" captions each clip from the text embedding of its first reference, which shows how
            well the decoder works where there is no modality gap.
        width: of the decoder's hidden state.
        depth: of the decoder, in layers.
        num_heads: attention heads of the decoder.
        prefix_length: how many tokens the decoder's prefix has.
        dropout: in the decoder; the paper does not give it, this is GPT-2's.
        max_caption_tokens: longer training captions are cut to so many tokens, the first and the last included.
        max_new_tokens: longest caption that is decoded.
        cache: folder of the cached embeddings.
        optimizer: the paper's by default.
        lr_scheduler: stepped every epoch; the paper's by default.

    Raises:
        InputError: arguments that do not go together.
    """

    def __init__(
        self,
        clap: EmbeddingModel,
        training_strategies: list[TrainingStrategy] | None = None,
        inference_strategy: InferenceStrategy | None = None,
        supervised: bool = False,
        caption_from: Literal["audio", "reference"] = "audio",
        width: int = 768,
        depth: int = 4,
        num_heads: int = 4,
        prefix_length: int = 1,
        dropout: float = 0.1,
        max_caption_tokens: int = 22,
        max_new_tokens: int = 30,
        cache: str = "data/embeddings",
        optimizer: OptimizerCallable = lambda p: Adam(p, lr=2e-5),
        lr_scheduler: LRSchedulerCallable = WarmupStep,
    ) -> None:
        super().__init__()
        if supervised and training_strategies:
            raise InputError(
                "expected training_strategies or supervised, found both; leave one out: the strategies change text "
                "embeddings, and supervised trains on audio embeddings"
            )
        if supervised and (inference_strategy is not None or caption_from == "reference"):
            raise InputError(
                "expected a supervised decoder to caption audio embeddings, found an inference strategy or references; "
                "leave one out"
            )
        if max_caption_tokens < 3 or max_new_tokens < 1:
            raise InputError(
                f"expected max_caption_tokens of at least 3 (a word, its beginning and end) and max_new_tokens of at "
                f"least 1, found {max_caption_tokens} and {max_new_tokens}; correct them"
            )
        self.clap = Frozen(clap)
        self.training_strategies = StrategyChain(training_strategies or [])
        self.inference_strategy = inference_strategy
        self.supervised = supervised
        self.caption_from = caption_from
        self.max_caption_tokens = max_caption_tokens
        self.max_new_tokens = max_new_tokens
        self.cache = Path(cache)
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.tokenizer = clap.tokenizer
        self.decoder = PrefixDecoder(
            clap.embedding_dim, len(self.tokenizer), self.tokenizer.cls_token_id, self.tokenizer.sep_token_id,
            self.tokenizer.pad_token_id, width, depth, num_heads, prefix_length,
            max(max_new_tokens, max_caption_tokens), dropout,
        )  # fmt: skip
        self.sources: dict[str, tuple[Tensor, Tensor]] = {}  # embeddings, and the row in them of each caption
        self.val_loss = MeanMetric()

    def clip_format(self, stage: str) -> ClipFormat:
        """Audio as CLAP takes it, in test and predict; fit and validate read none."""
        encoder = self.clap.network
        return ClipFormat(sampling_rate=encoder.sampling_rate, max_seconds=encoder.max_seconds)

    def more_splits(self, stage: str) -> set[str]:
        """Splits that are read beside the command's own: the strategies' in fit, the memory's in test and predict."""
        if stage == "fit":
            return self.training_strategies.splits
        if stage in ("test", "predict") and self.inference_strategy is not None and self._data.train is not None:
            return {self._data.train}
        return set()

    def setup(self, stage: str) -> None:
        """Embed the captions that the stage trains on or searches in, or find their embeddings in the cache.

        Raises:
            InputError: the tokenizer does not know the training captions, or there are none to search in.
        """
        if stage == "fit":
            require_known_words(
                self.tokenizer, training_texts(self.trainer),
                "--config configs/paper/clap_prefix.yaml for the real CLAP", self.print, self.max_caption_tokens,
            )  # fmt: skip
        self.clap.to(self.trainer.strategy.root_device)
        data, strategy = self._data, self.trainer.strategy
        store = EmbeddingStore(
            self.clap.network, self._clap_digests, data, self.cache, self.trainer.is_global_zero, strategy.broadcast
        )
        splits = {"fit": {"train": data.train, "val": data.val}, "validate": {"val": data.val}}.get(stage, {})
        for name, split in splits.items():
            if split is not None:
                self.sources[name] = store.of_captions(split, audio=self.supervised)
        if stage == "fit":
            self.training_strategies.prepare(store.captions, store.audio)
        if stage in ("test", "predict") and self.inference_strategy is not None:
            if data.train is None:
                raise InputError("expected training captions to search in, found none; set data.init_args.train")
            self.inference_strategy.remember(store.captions(data.train).embeddings)

    @property
    def _data(self) -> CaptionSource:
        return datamodule_of(self.trainer, CaptionSource)

    @torch.no_grad()
    def text_embeddings(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """B texts to their embeddings (B, D), and to these as the decoder gets them in training."""
        plain = self.clap.network.embed_text(texts)
        trained = self.training_strategies.train()(plain)
        self.training_strategies.train(self.training)
        return plain, trained

    def tokens(self, captions: list[str]) -> Tensor:
        """Captions as tokens (B, L), padded; a caption that is cut keeps its end token."""
        encoded = self.tokenizer(
            captions, padding=True, truncation=True, max_length=self.max_caption_tokens, return_tensors="pt"
        )
        return encoded["input_ids"].to(self.device)

    def _loss(self, name: str, batch: CaptionBatch) -> tuple[Tensor, Tensor]:
        embeddings, row_of = self.sources[name]
        wanted = self.training_strategies(embeddings[row_of[batch.rows.cpu()]].to(self.device))
        tokens = self.tokens(batch.captions)
        return self.decoder(wanted, tokens), tokens

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        """The captions' negative log-likelihood given their embeddings (Eq. 1)."""
        loss, _ = self._loss("train", batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.captions))
        return loss

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        """The same on held-out captions, a mean over all tokens of all ranks; the best weights are chosen by it."""
        if batch.valid:
            loss, tokens = self._loss("val", batch)
            self.val_loss.update(loss, weight=(tokens != self.tokenizer.pad_token_id).sum())
        self.log("val/loss", self.val_loss, prog_bar=True, batch_size=len(batch.captions))

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions, with references where the clips have them, and the embeddings that they are decoded from."""
        if not batch.valid:
            return batch.rows([])
        assert batch.waveforms is not None and batch.num_samples is not None  # clip_format asked for them
        with torch.no_grad():
            audio = self.clap.network.embed_audio(batch.waveforms, batch.num_samples)
        decoded = audio
        if self.caption_from == "reference":
            if mute := [clip_id for clip_id, references in zip(batch.clip_ids, batch.captions) if not references]:
                raise InputError(
                    f"expected a reference of every clip to decode in its place, found none of clip {mute[0]!r}; pack "
                    "the clips with captions, or leave strategy/reference.yaml out"
                )
            first = [references[0] for references in batch.captions]
            decoded = self.training_strategies(self.clap.network.embed_text(first))
        elif self.inference_strategy is not None:
            decoded = self.training_strategies(self.inference_strategy(audio))
        tokens = self.decoder.generate(decoded, self.max_new_tokens)
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        rows = batch.rows([text.strip() for text in texts])
        return EmbeddedCaptionRows(**rows, audio=audio.cpu(), decoded=decoded.cpu())

    predict_step = test_step

    def captions_made_by(self) -> dict[str, Any]:
        """See `datamodules.contracts.CaptioningStage`."""
        found = self.inference_strategy
        return {
            "clap": self._clap_digests,
            "decoder": module_digest(self.decoder),
            "training_strategies": module_digest(self.training_strategies),
            "inference_strategy": found and module_digest(found),
            "memory": self._data.captions_of(self._data.train).digest if found and self._data.train else None,
            "caption_from": self.caption_from,
            "max_new_tokens": self.max_new_tokens,
        }

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer, for the decoder alone."""
        optimizer = self.optimizer(self.decoder.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.lr_scheduler(optimizer)}

    def export(self, folder: Path) -> None:
        """Write the decoder as a Hugging Face folder, what it was trained with, and what each strategy knows."""
        self.decoder.save_pretrained(folder)
        (folder / TRAINED_WITH).write_text(json.dumps(self._trained_with(), indent=2) + "\n")
        self.training_strategies.save(folder)

    def load_export(self, folder: Path) -> None:
        """Take the decoder of a folder that `export` wrote, if it was trained as this run is set.

        Raises:
            InputError: it was trained with another CLAP, other strategies or other embeddings; or no such folder.
        """
        try:
            found = json.loads((folder / TRAINED_WITH).read_text())
        except (OSError, ValueError) as error:
            raise InputError(
                f"expected a decoder of CLAP's embeddings in {folder}, found no {TRAINED_WITH} ({error}); train it "
                "anew, or name another folder with --export.source"
            ) from None
        self._require(found, f"a decoder in {folder}")
        self.decoder = PrefixDecoder.from_pretrained(folder).to(self.device).eval()
        if self.max_new_tokens > self.decoder.max_tokens:
            raise InputError(
                f"expected max_new_tokens of at most {self.decoder.max_tokens}, as in fit, found "
                f"{self.max_new_tokens}; lower it, or train with more"
            )
        self.training_strategies.load(folder)
        self.training_strategies.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it is trained with beside the weights."""
        checkpoint["trained_with"] = self._trained_with()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the weights of another training, or of another stage."""
        if "trained_with" not in checkpoint:
            raise InputError(
                f"expected a checkpoint of {type(self).__name__}, found that of another stage; name one in "
                "runs/<run_name>/fit-<n>/checkpoints/ of this stage"
            )
        self._require(checkpoint["trained_with"], "a checkpoint")

    def _require(self, found: dict[str, Any], of: str) -> None:
        wanted = self._trained_with()
        if differing := [name for name in wanted if found.get(name) != wanted[name]]:
            raise InputError(
                f"expected {of} trained with {'; '.join(f'{name} {wanted[name]}' for name in differing)}, found "
                f"{'; '.join(f'{name} {found.get(name)}' for name in differing)}; give this command the overlays and "
                "the CLAP of fit, or name another export or checkpoint"
            )

    def _trained_with(self) -> dict[str, Any]:
        return {
            "strategies": self.training_strategies.names,
            "supervised": self.supervised,
            "clap": {part: digest[:16] for part, digest in self._clap_digests.items()},
        }

    @cached_property
    def _clap_digests(self) -> dict[str, str]:
        """Of the towers, which stay as they are: every checkpoint names them, and hashing them takes seconds."""
        return {part: self.clap.network.fingerprint(part) for part in ("text", "audio")}
