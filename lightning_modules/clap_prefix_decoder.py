"""WSAC: a decoder of CLAP embeddings that learns from captions alone, and then captions sounds by theirs."""

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Adam
from torchmetrics import MeanMetric
from tqdm import tqdm

from datamodules.clips import CaptionBatch, CaptionRows, Captions, ClipBatch, ClipFormat, EmbeddedCaptionRows
from earshot.errors import InputError
from lightning_modules.embeddings.cache import shared_cache
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.networks.frozen import Frozen
from lightning_modules.networks.prefix_decoder import PrefixDecoder
from lightning_modules.schedules.warmup_step import WarmupStep
from lightning_modules.strategies.modality_gap import Embedded

TEXTS_AT_ONCE = 256
TRAINED_WITH = "trained_with.json"


class ClapPrefixDecoder(L.LightningModule):
    """Fit: reconstruct captions from their text embeddings, no sound read. Test, predict: caption sounds by theirs.

    Every embedding is computed once and cached under a hash of what was embedded and of the model. An embedding of a
    sound that `inference_strategy` has moved among the texts then goes through `training_strategies` too, as the
    texts did in training; noise is only there in training.

    Args:
        clap: the frozen encoder.
        training_strategies: called in turn on text embeddings (B, D) (`networks.modality_gap`).
        inference_strategy: called on audio embeddings (B, D), with the training captions as its memory
            (`decoding.text_memory`); None decodes the audio embedding itself.
        supervised: train on the embeddings of the captions' sounds: the upper bound, which needs pairs.
        caption_from: "reference" captions each clip from the text embedding of its first reference: how well the
            decoder works where there is no gap.
        width: of the decoder's hidden state; the next four are its, too.
        depth: layers.
        num_heads: attention heads.
        prefix_length: tokens that an embedding becomes.
        dropout: in the Transformer; the paper does not say, this is GPT-2's.
        max_caption_tokens: of a caption in training, its first and last token included; longer ones are cut.
        max_new_tokens: longest caption decoded.
        cache: folder of the embeddings.
        optimizer: the paper's by default.
        lr_scheduler: stepped every epoch; the paper's by default.

    Raises:
        InputError: arguments that do not go together.
    """

    def __init__(
        self,
        clap: ClapEncoder,
        training_strategies: list[nn.Module] | None = None,
        inference_strategy: nn.Module | None = None,
        supervised: bool = False,
        caption_from: Literal["sound", "reference"] = "sound",
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
                "expected training strategies or supervised, found both; the strategies bring texts to sounds, and "
                "supervised trains on sounds"
            )
        if supervised and (inference_strategy is not None or caption_from == "reference"):
            raise InputError(
                "expected sounds for a supervised decoder, found a strategy that decodes texts; leave one of them out"
            )
        if max_caption_tokens < 3 or max_new_tokens < 1:
            raise InputError(
                f"expected max_caption_tokens of at least 3 (a word, its beginning and end) and max_new_tokens of at "
                f"least 1, found {max_caption_tokens} and {max_new_tokens}; correct them"
            )
        self.clap = Frozen(clap)
        self.training_strategies: Any = nn.ModuleList(training_strategies or [])
        self.inference_strategy: Any = inference_strategy
        self.supervised = supervised
        self.caption_from = caption_from
        self.max_caption_tokens = max_caption_tokens
        self.max_new_tokens = max_new_tokens
        self.cache = Path(cache)
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        words = clap.tokenizer
        self.decoder = PrefixDecoder(
            clap.embedding_dim, len(words), words.cls_token_id, words.sep_token_id, words.pad_token_id, width, depth,
            num_heads, prefix_length, max(max_new_tokens, max_caption_tokens), dropout,
        )  # fmt: skip
        self.sources: dict[str, tuple[Tensor, Tensor]] = {}  # embeddings, and the row in them of each caption
        self.val_loss = MeanMetric()

    def clip_format(self, stage: str) -> ClipFormat:
        """Sounds as CLAP hears them, to test and predict; fit and validate read none."""
        encoder = self.clap.network
        return ClipFormat(sampling_rate=encoder.sampling_rate, max_seconds=encoder.max_seconds)

    def more_splits(self, stage: str) -> set[str]:
        """Splits that are read beside the command's own: strategies' in fit, the memory's in test and predict."""
        if stage == "fit":
            names = ("caption_splits", "sound_splits")
            return {s for strategy in self.training_strategies for name in names for s in getattr(strategy, name, ())}
        if stage in ("test", "predict") and self.inference_strategy is not None:
            return {self._data.train} - {None}
        return set()

    def setup(self, stage: str) -> None:
        """Embed what the stage trains on or remembers, or find it in the cache."""
        self.clap.to(self.trainer.strategy.root_device)
        data = self._data
        for name in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ()):
            split = getattr(data, name)
            if split is not None:
                self.sources[name] = self._source(split)
        if stage == "fit":
            for strategy in self.training_strategies:
                if hasattr(strategy, "prepare"):
                    strategy.prepare(self.embedded_captions, self.embedded_sounds)
        if stage in ("test", "predict") and self.inference_strategy is not None:
            if data.train is None:
                raise InputError("expected training captions to search in, found none; set data.init_args.train")
            self.inference_strategy.remember(self.embedded_captions(data.train).embeddings)

    @property
    def _data(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def _source(self, split: str) -> tuple[Tensor, Tensor]:
        captions: Captions = self._data.captions_of(split)
        if not self.supervised:
            return self.embedded_captions(split).embeddings, torch.arange(len(captions.texts))
        sounds = self.embedded_sounds(split)
        rows = {clip_id: row for row, clip_id in enumerate(sounds.clip_ids)}
        return sounds.embeddings, torch.tensor([rows[clip_id] for clip_id in captions.clip_ids])

    def embedded_captions(self, split: str) -> Embedded:
        """The text embeddings (N, D) of all captions of a split or table, memory-mapped."""
        captions: Captions = self._data.captions_of(split)
        texts = captions.texts
        order = torch.tensor(sorted(range(len(texts)), key=lambda row: len(texts[row])))  # less padding

        def pieces() -> Iterator[tuple[Tensor, Tensor]]:
            print(f"embedding {len(texts)} captions of {split}", flush=True)
            for rows in tqdm(order.split(TEXTS_AT_ONCE), desc="embedding", unit="batch", disable=None):
                yield rows, self.clap.network.embed_text([texts[row] for row in rows])

        return Embedded(self._cached("text", captions.digest, len(texts), pieces), captions.clip_ids)

    def embedded_sounds(self, split: str) -> Embedded:
        """The audio embeddings (N, D) of all clips of a packed split, memory-mapped."""
        captions: Captions = self._data.captions_of(split)
        clip_ids = list(dict.fromkeys(captions.clip_ids))
        row_of = {clip_id: row for row, clip_id in enumerate(clip_ids)}

        def pieces() -> Iterator[tuple[Tensor, Tensor]]:
            print(f"opening {len(clip_ids)} sounds of {split}", flush=True)
            for batch in tqdm(self._data.sounds(split), desc="embedding", unit="batch", disable=None):
                rows = torch.tensor([row_of[clip_id] for clip_id in batch.clip_ids if clip_id in row_of])
                kept = torch.tensor([clip_id in row_of for clip_id in batch.clip_ids])
                yield rows, self.embed_sounds(batch)[kept.to(self.device)]

        digest = captions.digest + self._data.sounds_digest(split)
        return Embedded(self._cached("audio", digest, len(clip_ids), pieces), clip_ids)

    @torch.no_grad()
    def _cached(self, part: str, digest: str, count: int, pieces: Any) -> Tensor:
        clap = self.clap.network
        key = hashlib.sha256(f"{digest} {self._clap_digests[part]}".encode()).hexdigest()[:24]
        path, shape = self.cache / f"{part}-{key}.f32", (count, clap.embedding_dim)
        return shared_cache(path, shape, pieces, self.trainer.is_global_zero, self.trainer.strategy.broadcast)

    @torch.no_grad()
    def embed_sounds(self, batch: ClipBatch) -> Tensor:
        """(B, D)."""
        device = self.clap.network.text_proj[0].weight.device
        assert batch.waveforms is not None and batch.num_samples is not None  # clip_format asked for them
        return self.clap.network.embed_audio(batch.waveforms.to(device), batch.num_samples.to(device))

    def as_trained(self, text_embeddings: Tensor) -> Tensor:
        """Text embeddings (B, D) as the decoder gets them in training."""
        for strategy in self.training_strategies:
            text_embeddings = strategy(text_embeddings)
        return text_embeddings

    @torch.no_grad()
    def text_embeddings(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Sentences as (B, D), and as the decoder got such in training."""
        plain = self.clap.network.embed_text(texts)
        self.training_strategies.train()
        trained = self.as_trained(plain)
        self.training_strategies.train(self.training)
        return plain, trained

    def tokens(self, captions: list[str]) -> Tensor:
        """Captions as tokens (B, L), padded; a caption that is cut keeps its end token."""
        encoded = self.clap.network.tokenizer(
            captions, padding=True, truncation=True, max_length=self.max_caption_tokens, return_tensors="pt"
        )
        return encoded["input_ids"].to(self.device)

    def _loss(self, name: str, batch: CaptionBatch) -> tuple[Tensor, Tensor]:
        embeddings, row_of = self.sources[name]
        wanted = self.as_trained(embeddings[row_of[batch.rows.cpu()]].to(self.device))
        tokens = self.tokens(batch.captions)
        return self.decoder(wanted, tokens), tokens

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        """The captions' negative log-likelihood given their embeddings (Eq. 1)."""
        loss, _ = self._loss("train", batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.captions))
        return loss

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        """The same on held-out captions, a mean over all tokens."""
        if batch.captions:
            loss, tokens = self._loss("val", batch)
            self.val_loss.update(loss, weight=(tokens != self.clap.network.tokenizer.pad_token_id).sum())

    def on_validation_epoch_end(self) -> None:
        """Log the caption loss, by which the best weights are chosen."""
        self.log("val/loss", self.val_loss.compute(), prog_bar=True)
        self.val_loss.reset()

    def caption(self, batch: ClipBatch) -> CaptionRows:
        """Captions of a batch, beside its ids, references, labels and embeddings."""
        if not batch.valid:
            return batch.rows([])
        audio = self.embed_sounds(batch)
        decoded = audio
        if self.caption_from == "reference":
            if mute := [clip_id for clip_id, references in zip(batch.clip_ids, batch.captions) if not references]:
                raise InputError(
                    f"expected a reference of every clip to decode in its place, found none of clip {mute[0]!r}; pack "
                    "the clips with captions, or leave strategy/reference.yaml out"
                )
            first = [references[0] for references in batch.captions]
            decoded = self.as_trained(self.clap.network.embed_text(first))
        elif self.inference_strategy is not None:
            decoded = self.as_trained(self.inference_strategy(audio))
        tokens = self.decoder.generate(decoded, self.max_new_tokens)
        words = self.clap.network.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        rows = batch.rows([text.strip() for text in words])
        return EmbeddedCaptionRows(**rows, audio=audio.cpu(), decoded=decoded.cpu())

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions with their references, for the evaluation callback."""
        return self.caption(batch)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions, for the callback that writes them."""
        return self.caption(batch)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Of the decoder alone."""
        optimizer = self.optimizer(self.decoder.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.lr_scheduler(optimizer)}

    def export(self, folder: Path) -> None:
        """Write the decoder as a Hugging Face folder, what it was trained with, and what each strategy knows."""
        self.decoder.save_pretrained(folder)
        (folder / TRAINED_WITH).write_text(json.dumps(self._trained_with(), indent=2) + "\n")
        for strategy, name in zip(self.training_strategies, self._strategies()):
            state = {key: value.contiguous() for key, value in strategy.state_dict().items()}
            save_file(state, folder / f"{name}.safetensors")

    def load_export(self, folder: Path) -> None:
        """Take the decoder of a folder that `export` wrote, if it was trained as this run is set.

        Raises:
            InputError: with another CLAP, other strategies, or on texts in place of sounds; or no such folder.
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
        for strategy, name in zip(self.training_strategies, self._strategies()):
            strategy.load_state_dict(load_file(folder / f"{name}.safetensors"))
            strategy.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it is trained with beside the weights."""
        checkpoint["trained_with"] = self._trained_with()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the weights of another training."""
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
            "strategies": self._strategies(),
            "supervised": self.supervised,
            "clap": {part: digest[:16] for part, digest in self._clap_digests.items()},
        }

    @cached_property
    def _clap_digests(self) -> dict[str, str]:
        """Of the towers, which stay as they are: every checkpoint names them, and hashing them takes seconds."""
        return {part: self.clap.network.fingerprint(part) for part in ("text", "audio")}

    def _strategies(self) -> list[str]:
        names = (type(strategy).__name__ for strategy in self.training_strategies)
        return ["".join(f"_{c.lower()}" if c.isupper() else c for c in name)[1:] for name in names]
