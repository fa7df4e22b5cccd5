"""WSAC: a decoder that learns to invert CLAP's text embeddings, and then captions audio by its embeddings."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MeanMetric

from datamodules.clips import (
    CaptionBatch,
    CaptionRows,
    ClipBatch,
    ClipFormat,
    EmbeddedCaptionRows,
    Explanation,
    explained,
)
from datamodules.contracts import CaptionSource, datamodule_of, training_texts
from earshot.digests import trained_on
from earshot.errors import InputError
from lightning_modules.contracts import EmbeddingModel, InferenceStrategy, TrainingStrategy
from lightning_modules.decoding.contracts import HardPrompt, Refine
from lightning_modules.embeddings.embedded_splits import EmbeddedSplits
from lightning_modules.embeddings.memory import Memory
from lightning_modules.embeddings.searched import Searched
from lightning_modules.embeddings.store import EmbeddingStore
from lightning_modules.embeddings.trained_with import TrainedWith
from lightning_modules.losses.token_mean import rank_share
from lightning_modules.networks.digests import module_digest
from lightning_modules.networks.frozen import Frozen, refuse_true_half
from lightning_modules.networks.known_words import require_known_words
from lightning_modules.networks.prefix_captions import PrefixCaptions, Ranked
from lightning_modules.networks.prefix_decoder import PrefixDecoder
from lightning_modules.networks.step_draws import Part, changed, part_of_step
from lightning_modules.schedules.by_epoch import by_epoch
from lightning_modules.schedules.warmup_step import WarmupStep
from lightning_modules.strategies.chain import StrategyChain


class ClapPrefixDecoder(L.LightningModule):
    """Fit: reconstruct captions from their text embeddings, without audio. Test, predict: caption audio embeddings.

    An audio embedding that `inference_strategy` moved among the text embeddings also goes through
    `training_strategies`, as the text embeddings did in training; only noise is left out.

    Args:
        clap: the frozen encoder of audio and text.
        training_strategies: applied in turn to text embeddings (B, D).
        inference_strategy: applied to audio embeddings (B, D); it may search in the training captions, or learn
            something of whole splits first. None decodes the audio embedding itself.
        supervised: train on the audio embeddings of the captions' clips: the upper bound, which needs pairs.
        caption_from: "reference" captions each clip from the text embedding of its first reference, which shows how
            well the decoder works where there is no modality gap.
        width: of the decoder's hidden state.
        depth: of the decoder, in layers.
        num_heads: attention heads of the decoder.
        prefix_length: how many tokens the decoder's prefix has.
        dropout: in the decoder; the paper does not give it, this is GPT-2's.
        mapping_layers: of the network that makes the prefix; the paper 2, the authors' code 1.
        decoder_checkpoint: of a decoder that the authors' code trained, in place of an export (`--export.load false`).
        max_caption_tokens: longer training captions are cut to so many tokens, the first and the last included.
        max_new_tokens: longest caption that is decoded.
        cache: folder of all embeddings, each computed once, under a hash of what was embedded and of the model.
        optimizer: the paper's by default.
        lr_scheduler: stepped every epoch; the paper's by default.
        hard_prompt: finds words for an embedding that the decoder reads before the caption; None reads none.
        refine: chooses among several candidates in test and predict, by `clap` or a CLAP of its own; None is greedy.

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
        mapping_layers: int = 2,
        decoder_checkpoint: str | None = None,
        max_caption_tokens: int = 22,
        max_new_tokens: int = 30,
        cache: str = "data/embeddings",
        optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=2e-5),
        lr_scheduler: LRSchedulerCallable = WarmupStep,
        hard_prompt: HardPrompt | None = None,
        refine: Refine | None = None,
    ) -> None:
        super().__init__()
        if supervised and (training_strategies or inference_strategy is not None or caption_from == "reference"):
            raise InputError("expected supervised, or strategies or references, found both; leave one out")
        self.clap, self.training_strategies = Frozen(clap), StrategyChain(training_strategies or [])
        self._inference = None if inference_strategy is None else Frozen(inference_strategy)  # in no checkpoint
        self.supervised, self.caption_from, self.hard_prompt = supervised, caption_from, hard_prompt
        self._prompts = partial(hard_prompt.tokens, clap) if hard_prompt else None  # of embeddings as CLAP has them
        self.max_caption_tokens, self.max_new_tokens = max_caption_tokens, max_new_tokens
        self.cache, self.decoder_checkpoint = Path(cache), decoder_checkpoint
        self.optimizer, self.lr_scheduler, self.tokenizer, self.refine = optimizer, lr_scheduler, clap.tokenizer, refine
        self.decoder = PrefixDecoder.for_tokenizer(
            self.tokenizer, clap.embedding_dim, max_caption_tokens, max_new_tokens, width=width, depth=depth,
            num_heads=num_heads, prefix_length=prefix_length, dropout=dropout, mapping_layers=mapping_layers,
            prompt_tokens=hard_prompt.max_tokens if hard_prompt else 0,
        )  # fmt: skip
        self.searched, self.embedded = Searched(inference_strategy), EmbeddedSplits(clap, self._prompts, self.tokens)
        self.val_loss = MeanMetric(nan_strategy=float("nan"))  # a NaN is not left out

    def clip_format(self, stage: str) -> ClipFormat:
        """Audio as CLAP takes it, in test and predict; fit and validate read none."""
        own = ClipFormat(sampling_rate=self.clap.network.sampling_rate, max_seconds=self.clap.network.max_seconds)
        return own.with_audio_for(self.refine.clap if self.refine else None)

    def more_splits(self, stage: str) -> set[str]:
        """Splits that are read beside the command's own: the strategies' in fit, the memory's in test and predict."""
        if stage == "fit":
            return self.training_strategies.splits | self.searched.learns_from
        return self.searched.splits(self._data) if stage in ("test", "predict") else set()

    def setup(self, stage: str) -> None:
        """Embed the captions that the stage trains on, or find their embeddings in the cache.

        Raises:
            InputError: the tokenizer does not know the training captions.
        """
        refuse_true_half(self._trainer, "a decoder of CLAP's embeddings")
        if stage == "fit":
            real = "--config configs/paper/clap_prefix.yaml for the real CLAP"
            require_known_words(self.tokenizer, training_texts(self.trainer), real, self.print, self.max_caption_tokens)
        for name in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ()):
            self.embedded.read(name, getattr(self._data, name), self._store, self.supervised)
        if stage == "fit":
            self.training_strategies.prepare(self._store.captions, self._store.audio)
            self.searched.learn(lambda: self._store)
        elif self.decoder_checkpoint is not None:
            self.decoder.load_authors(self.decoder_checkpoint)

    def on_test_start(self) -> None:
        """Give the inference strategy what it needs and the export does not have."""
        self.searched.read(self._data, lambda: self._store)

    on_predict_start = on_test_start

    @property
    def _store(self) -> EmbeddingStore:
        clap = self.clap.to(self.trainer.strategy.root_device).network
        ranks = self.trainer.global_rank, self.trainer.world_size
        return EmbeddingStore(clap, self.embedded.digests, self._data, self.cache, *ranks)

    @property
    def _data(self) -> CaptionSource:
        return datamodule_of(self.trainer, CaptionSource)

    @torch.no_grad()
    def text_embeddings(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """B texts to their embeddings (B, D), and to these as the decoder gets them in training."""
        plain = self.clap.network.embed_text(texts)
        return plain, self.training_strategies.as_in_training(plain)

    def tokens(self, captions: list[str]) -> Tensor:
        """Captions as tokens (B, max_caption_tokens), padded; a caption that is cut keeps its end token."""
        cut = {"padding": "max_length", "truncation": True, "max_length": self.max_caption_tokens}
        return self.tokenizer(captions, return_tensors="pt", **cut)["input_ids"]

    def _given(self, name: str, batch: CaptionBatch, part: Part | None = None) -> PrefixCaptions:
        plain, prompts = self.embedded.rows(name, batch.rows, self.device)
        moved = changed(self.training_strategies, plain, part)
        return PrefixCaptions(self.decoder, self.tokenizer, moved, self.max_new_tokens, prompts=prompts)

    def _loss(self, name: str, batch: CaptionBatch, part: Part | None = None) -> tuple[Tensor, Tensor]:
        given, tokens = self._given(name, batch, part), self.embedded.tokens_of(name, batch.rows, self.device)
        return self.decoder(given.embeddings, tokens, given.prompts), (tokens != self.tokenizer.pad_token_id).sum()

    def validation_captions(self, batch: CaptionBatch, number: int) -> list[tuple[str, str]]:
        """See `datamodules.contracts.ValidationCaptioner`; from the captions' own embeddings."""
        few = CaptionBatch(batch.rows[:number], batch.captions[:number])
        return list(zip(self._given("val", few).captions(), few.captions))

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        """The captions' negative log-likelihood given their embeddings (Eq. 1)."""
        loss, num_tokens = self._loss("train", batch, part_of_step(self._trainer, batch_idx))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.captions))
        return rank_share(loss, num_tokens)

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        """The same on held-out captions, a mean over all tokens of all ranks; the best weights are chosen by it."""
        if batch.valid:
            self.val_loss.update(*self._loss("val", batch))
        self.log("val/loss", self.val_loss, prog_bar=True, batch_size=len(batch.captions))

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions, with references where the clips have them, and the embeddings that they are decoded from."""
        if not batch.valid:
            return batch.rows([])
        ready = self._ready(batch, audio := self.embed(batch))
        captions = [best[0][0] for best in self._ranked(batch, audio, ready)]
        return EmbeddedCaptionRows(**batch.rows(captions), audio=audio.cpu(), decoded=ready.embeddings.cpu())

    predict_step = test_step

    @torch.no_grad()
    def embed(self, batch: ClipBatch) -> Tensor:
        """CLAP's embeddings of the audio (B, D)."""
        assert batch.waveforms is not None and batch.num_samples is not None  # clip_format asked for them
        with torch.autocast(self.device.type, enabled=False):  # as the captions that it is compared with
            return self.clap.network.embed_audio(batch.waveforms, batch.num_samples)

    def _ready(self, batch: ClipBatch, audio: Tensor) -> PrefixCaptions:
        """What is decoded: audio embeddings (B, D), moved among the captions', or the first references'."""
        plain, found = audio, self.searched.strategy
        moved = self.training_strategies(found(audio)) if found else audio
        if self.caption_from == "reference":
            with torch.autocast(self.device.type, enabled=False):  # as the captions that were learnt
                plain = self.clap.network.embed_text(batch.first_references())
            moved = self.training_strategies(plain)
        prompts = self._prompts(plain) if self._prompts else None
        return PrefixCaptions(self.decoder, self.tokenizer, moved, self.max_new_tokens, batch.clip_ids, prompts)

    def candidates(self, batch: ClipBatch, number: int) -> Ranked:
        """See `datamodules.contracts.RankingStage`."""
        audio = self.embed(batch)
        return [best[:number] for best in self._ranked(batch, audio, self._ready(batch, audio), number)]

    def _ranked(self, batch: ClipBatch, audio: Tensor, ready: PrefixCaptions, number: int = 1) -> Ranked:
        """Captions, the best first: `number` of a beam search, or all candidates of `refine`."""
        return self.refine(ready, batch, (self.clap.network.embed_text, audio)) if self.refine else ready.beams(number)

    def explain(self, batch: ClipBatch, captions: list[str]) -> list[Explanation]:
        """The training captions nearest to the audio, the prompt's words and `refine`'s candidates, where any are."""
        audio = self.embed(batch)
        found = {"Nearest training captions (cosine similarity with the audio)": self.searched.nearest(audio)}
        if self.hard_prompt:
            found[self.hard_prompt.what] = self.hard_prompt.keywords_of(self.clap.network.embed_text, audio)
        if self.refine:
            found[self.refine.what] = self._ranked(batch, audio, self._ready(batch, audio))
        return explained(found)

    def captions_made_by(self) -> dict[str, Any]:
        """See `datamodules.contracts.CaptioningStage`."""
        found, split = self.searched.strategy, self.searched.split(self._data)
        return {
            "clap": self.embedded.digests,
            "decoder": module_digest(self.decoder),
            "training_strategies": module_digest(self.training_strategies),
            "inference_strategy": found and module_digest(found),
            "memory": split and self._data.captions_of(split).digest,
            "caption_from": self.caption_from,
            "max_new_tokens": self.max_new_tokens,
            "trained_on": trained_on(self.clap.network),
            **({"hard_prompt": module_digest(self.hard_prompt)} if self.hard_prompt else {}),
            **(self.refine.made_by(self.clap.network) if self.refine else {}),
        }

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer, for the decoder alone."""
        return by_epoch(self.optimizer(self.decoder.parameters()), self.lr_scheduler)

    def export(self, folder: Path) -> None:
        """Write the decoder as a Hugging Face folder, what it was trained with, what strategies know or search in."""
        self.decoder.save_pretrained(folder)
        if not self.supervised:
            Memory(self.embedded.parts["train"][0], training_texts(self.trainer)).save(folder)
        self._trained_with.write(folder)
        self.training_strategies.save(folder)
        self.searched.save(folder)

    def load_export(self, folder: Path) -> None:
        """Take the decoder of a folder that `export` wrote, if it was trained as this run is set.

        Raises:
            InputError: it was trained with another CLAP, other strategies or other embeddings; or no such folder.
        """
        self._trained_with.require_export(folder)
        self.decoder = PrefixDecoder.from_pretrained(folder, strict=True).to(self.device).eval()
        self.decoder.require_room(self.max_new_tokens)
        self.training_strategies.load(folder)
        self.training_strategies.to(self.device)
        self.searched.load(folder, self.clap.network.embedding_dim, alone=self._trainer is None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it is trained with beside the weights."""
        self._trained_with.note(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the weights of another training, or of another stage."""
        self._trained_with.require_checkpoint(checkpoint, type(self))

    @property
    def _trained_with(self) -> TrainedWith:
        of_clap = {"clap": self.embedded.noted, "hard_prompt": self.hard_prompt and module_digest(self.hard_prompt)}
        return TrainedWith({**self.training_strategies.settings, "supervised": self.supervised, **of_clap})
