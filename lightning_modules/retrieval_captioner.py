"""DRCap: a language model that captions one CLAP embedding, with similar captions in its prompt (arXiv 2410.09472)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import AdamW
from torchmetrics import MeanMetric
from transformers import get_linear_schedule_with_warmup

from datamodules.clips import CaptionBatch, CaptionRows, ClipBatch, ClipFormat, Explanation, explained
from datamodules.contracts import CaptionSource, datamodule_of, training_texts
from earshot.digests import trained_on
from earshot.errors import InputError
from lightning_modules.contracts import EmbeddingModel, InferenceStrategy
from lightning_modules.decoding.contracts import Refine
from lightning_modules.embeddings.embedded_splits import EmbeddedSplits
from lightning_modules.embeddings.memory import FILE, Memory
from lightning_modules.embeddings.searched import Searched
from lightning_modules.embeddings.similar_captions import SimilarityBand
from lightning_modules.embeddings.store import EmbeddingStore
from lightning_modules.embeddings.trained_with import TrainedWith
from lightning_modules.losses.token_mean import rank_share
from lightning_modules.networks.digests import module_digest
from lightning_modules.networks.frozen import Frozen, frozen_dtype, refuse_true_half
from lightning_modules.networks.known_words import require_known_words
from lightning_modules.networks.prompted_captions import PromptedCaptions
from lightning_modules.networks.prompted_lm import PromptedLm
from lightning_modules.schedules.warmup_then import warmup_then

DATASTORE = "datastore"  # folder in an export, where it is not the training captions


class RetrievalCaptioner(L.LightningModule):
    """Fit: write captions from their text embeddings and similar captions, without audio. Test, predict: of audio.

    In training the similar captions are drawn from a band of text-to-text similarity. At test they are those nearest
    to the audio, and `inference_strategy` moves the audio embedding among the training captions' embeddings. Both read
    the captions of `data.train`, or of the export where there is none: another table there, and the captioner is of
    another domain without training.

    The paper's text was not available in a source: all defaults are those of its authors' code (SLAM-LLM,
    examples/drcap_zeroshot_aac).

    Args:
        clap: the frozen encoder of audio and text.
        language_model: writes the captions; LoRA and a mapping are all that trains.
        inference_strategy: applied to audio embeddings (B, D), with the training captions as its memory; the authors
            project. None captions the audio embedding itself.
        num_similar: captions in the prompt; 0 for none.
        band: of similarity, in training.
        datastore: a split or table whose captions are retrieved; None takes those of `data.train`, as above.
        num_beams: of the beam search.
        max_new_tokens: longest caption.
        cache: folder of all embeddings, each computed once, under a hash of what was embedded and of the model.
        optimizer: the authors' by default.
        warmup: share of the steps in which the rate rises; then it falls in a line to 0. The authors: 1,000 of 40,000.
        refine: chooses among several candidates in test and predict, by `clap` or a CLAP of its own.

    Raises:
        InputError: a number below 1, or below 0 of similar captions.
    """

    def __init__(
        self,
        clap: EmbeddingModel,
        language_model: PromptedLm,
        inference_strategy: InferenceStrategy | None = None,
        num_similar: int = 3,
        band: SimilarityBand = SimilarityBand(),  # noqa: B008 (frozen)
        datastore: str | None = None,
        num_beams: int = 4,
        max_new_tokens: int = 200,
        cache: str = "data/embeddings",
        optimizer: OptimizerCallable = lambda p: AdamW(p, lr=1e-5, weight_decay=0.0),
        warmup: float = 0.025,
        refine: Refine | None = None,
    ) -> None:
        super().__init__()
        if num_similar < 0 or min(num_beams, max_new_tokens) < 1:
            raise InputError(
                f"expected num_similar of at least 0, num_beams and max_new_tokens of at least 1, found {num_similar}, "
                f"{num_beams} and {max_new_tokens}; correct them"
            )
        self.clap, self.language_model = Frozen(clap), language_model
        self._inference = None if inference_strategy is None else Frozen(inference_strategy)  # in no checkpoint
        self.num_similar, self.band, self.datastore = num_similar, band, datastore
        self.num_beams, self.max_new_tokens = num_beams, max_new_tokens
        self.cache, self.optimizer, self.warmup = Path(cache), optimizer, warmup
        self.embedded, self.searched, self.refine = EmbeddedSplits(clap), Searched(inference_strategy), refine
        self.similar: dict[str, list[list[str]]] = {}  # of each caption of a split those in its prompt
        self.stored: Memory | None = None  # what captions are retrieved from
        self.val_loss = MeanMetric(nan_strategy=float("nan"))  # a NaN is not left out

    def clip_format(self, stage: str) -> ClipFormat:
        """Audio as CLAP takes it, in test and predict; fit and validate read none."""
        own = ClipFormat(sampling_rate=self.clap.network.sampling_rate, max_seconds=self.clap.network.max_seconds)
        return own.with_audio_for(self.refine.clap if self.refine else None)

    def more_splits(self, stage: str) -> set[str]:
        """Splits that are read beside the command's own: the training captions, the datastore, a strategy's."""
        captions = {split for split in (self._data.train, self.datastore) if split and self._data.train}
        return captions | self.searched.splits(self._data)

    def setup(self, stage: str) -> None:
        """Load the language model; embed what it is trained on, and find similar captions.

        Raises:
            InputError: the tokenizer does not know the training captions, or validate has no datastore.
        """
        refuse_true_half(self._trainer, "DRCap")
        self.language_model.load(self.clap.network.embedding_dim, frozen_dtype(self._trainer))
        if stage == "fit":
            require_known_words(
                self.language_model.tokenizer, training_texts(self.trainer),
                "--config configs/paper/drcap.yaml for the real language model", self.print,
            )  # fmt: skip
            self.searched.learn(lambda: self._store)
        for name in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ()):
            if (split := {"train": self._data.train, "val": self._data.val}[name]) is not None:
                self.embedded.read(name, split, self._store, audio=False)
                self.stored = self.stored or self._datastore()  # by all ranks: export is the first's alone
                device = self.trainer.strategy.root_device
                self.similar[name] = self.band.draw(self._store.memory(split), self.stored, self.num_similar, device)

    def on_test_start(self) -> None:
        """Search in the captions of `data.train` and of the datastore, or else in those of the export."""
        self.searched.read(self._data, lambda: self._store)
        if self._data.train is not None or self.stored is None:
            self.stored = self._datastore()

    on_predict_start = on_test_start

    def _datastore(self) -> Memory:
        """The captions that are retrieved, with their embeddings."""
        if (split := self.datastore or self._data.train) is None:
            raise InputError("expected captions to retrieve from, found none; set data.init_args.train")
        return self._store.memory(split)

    @property
    def _store(self) -> EmbeddingStore:
        clap = self.clap.to(self.trainer.strategy.root_device).network
        ranks = self.trainer.global_rank, self.trainer.world_size
        return EmbeddingStore(clap, self.embedded.digests, self._data, self.cache, *ranks)

    @property
    def _data(self) -> CaptionSource:
        return datamodule_of(self.trainer, CaptionSource)

    def _given(self, name: str, batch: CaptionBatch, number: int | None = None) -> tuple[Tensor, list[list[str]]]:
        """The embeddings (B, D) of a batch's captions, or of its first, and their similar captions."""
        rows = batch.rows[:number]
        similar = [self.similar[name][row] for row in rows.tolist()]
        return self.embedded.rows(name, rows, self.device)[0], similar

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        """The captions' negative log-likelihood given their embeddings and similar captions."""
        loss, num_tokens = self.language_model(*self._given("train", batch), batch.captions)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.captions))
        return rank_share(loss, num_tokens)

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        """The same on held-out captions, a mean over all tokens of all ranks; the best weights are chosen by it."""
        if batch.valid:
            self.val_loss.update(*self.language_model(*self._given("val", batch), batch.captions))
        self.log("val/loss", self.val_loss, prog_bar=True, batch_size=len(batch.captions))

    def validation_captions(self, batch: CaptionBatch, number: int) -> list[tuple[str, str]]:
        """See `datamodules.contracts.ValidationCaptioner`; from the captions' own embeddings."""
        captions = self._ready(*self._given("val", batch, number)).captions()
        return list(zip(captions, batch.captions))

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions, with references where the clips have them."""
        return batch.rows([best[0][0] for best in self._ranked(batch)] if batch.valid else [])

    predict_step = test_step

    @torch.no_grad()
    def embed(self, batch: ClipBatch) -> Tensor:
        """CLAP's embeddings of the audio (B, D)."""
        assert batch.waveforms is not None and batch.num_samples is not None  # clip_format asked for them
        with torch.autocast(self.device.type, enabled=False):  # as the captions that it is compared with
            return self.clap.network.embed_audio(batch.waveforms, batch.num_samples)

    def candidates(self, batch: ClipBatch, number: int) -> list[list[tuple[str, float]]]:
        """See `datamodules.contracts.RankingStage`."""
        return [best[:number] for best in self._ranked(batch, number)]

    def _ranked(self, batch: ClipBatch, number: int = 1) -> list[list[tuple[str, float]]]:
        """Captions of each clip, the best first: `number` of a beam search, or all candidates of `refine`."""
        audio = self.embed(batch)
        similar = [[text for text, _ in found] for found in self._nearest(audio)]
        moved = self.searched.strategy(audio) if self.searched.strategy else audio
        ready = self._ready(moved, similar, batch.clip_ids)
        return self.refine(ready, batch, (self.clap.network.embed_text, audio)) if self.refine else ready.beams(number)

    def _ready(self, embeddings: Tensor, similar: list[list[str]], clip_ids: Sequence[str] = ()) -> PromptedCaptions:
        """Embeddings (B, D), as the language model takes them, ready to be captioned."""
        return PromptedCaptions(self.language_model, embeddings, similar, self.max_new_tokens, self.num_beams, clip_ids)

    def _nearest(self, audio: Tensor) -> list[list[tuple[str, float]]]:
        """The captions that go into the prompts of B audio embeddings (B, D), the nearest first."""
        assert self.stored is not None
        return self.stored.nearest(audio, self.num_similar) if self.num_similar else [[] for _ in audio]

    def explain(self, batch: ClipBatch, captions: list[str]) -> list[Explanation]:
        """The captions in the prompt, and `refine`'s candidates."""
        if not batch.valid:
            return []
        found = {"Captions in the prompt (cosine similarity with the audio)": self._nearest(self.embed(batch))}
        return explained(found | ({self.refine.what: self._ranked(batch)} if self.refine else {}))

    def captions_made_by(self) -> dict[str, Any]:
        """See `datamodules.contracts.CaptioningStage`."""
        strategy, splits = self.searched.strategy, (self._data.train, self.datastore or self._data.train)
        return {
            "clap": self.embedded.digests,
            "language_model": [module_digest(self.language_model), self.language_model.made_by()],
            "inference_strategy": strategy and module_digest(strategy),
            "memory": [split and self._data.captions_of(split).digest for split in splits] if splits[0] else None,
            "num_similar": self.num_similar,
            "num_beams": self.num_beams,
            "max_new_tokens": self.max_new_tokens,
            "trained_on": trained_on(self.clap.network),
            **(self.refine.made_by(self.clap.network) if self.refine else {}),
        }

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """LoRA and the mapping; the rate is set anew at every step."""
        optimizer = self.optimizer(self.language_model.parameters())
        return warmup_then(
            get_linear_schedule_with_warmup, optimizer, self.trainer.estimated_stepping_batches, self.warmup
        )

    def export(self, folder: Path) -> None:
        """Write a peft adapter, the mapping, what they were trained with, and the captions to search in."""
        self.language_model.save_pretrained(folder)
        Memory(self.embedded.parts["train"][0], training_texts(self.trainer)).save(folder)
        if self.datastore is not None:
            assert self.stored is not None  # since setup
            (folder / DATASTORE).mkdir()
            self.stored.save(folder / DATASTORE)
        self._trained_with.write(folder)
        self.searched.save(folder)

    def load_export(self, folder: Path) -> None:
        """Take what `export` wrote, if it was trained as this run is set.

        Raises:
            InputError: it was trained with another CLAP, language model or prompt; no such folder; or a datastore is
                wanted that it does not keep, or keeps another of, without `data.train`; or it keeps no captions, and
                there are no data.
        """
        self._trained_with.require_export(folder)
        width = self.clap.network.embedding_dim
        kept = Memory.load(folder / DATASTORE, width)
        without_data = self._trainer is None or self._data.train is None
        noted = kept and kept.name  # exports of earlier versions have no such note
        if self.datastore is not None and without_data and (kept is None or noted not in (None, self.datastore)):
            raise InputError(
                f"expected the captions of {self.datastore} in {folder}, found those "
                f"{f'of {noted}' if noted else 'that it was trained on alone'}; set data.train, which names them in "
                "test, model.datastore in fit, so that the export keeps them, or null"
            )
        self.language_model.load_pretrained(folder)
        self.language_model.to(self.device).eval()
        self.searched.load(folder, width, alone=self._trainer is None)
        own = None if noted and self.datastore is None else kept
        self.stored = own or self.searched.memory or Memory.load(folder, width)
        if self.stored is None and self.num_similar and self._trainer is None:  # which has no data to take them from
            raise InputError(
                f"expected captions to retrieve from in {folder}/, found no {FILE}; train it anew, or name another "
                "export"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it is trained with beside the weights."""
        self._trained_with.note(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the weights of another training, or of another stage."""
        self._trained_with.require_checkpoint(checkpoint, type(self))

    @property
    def _trained_with(self) -> TrainedWith:
        return TrainedWith({"language_model": self.language_model.made_by(), "clap": self.embedded.noted})
