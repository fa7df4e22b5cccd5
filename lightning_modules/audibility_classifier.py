"""The audibility classifier h_a: is what a sentence describes audible? (Audibility guidance, section 3, Eq. 2)."""

from pathlib import Path
from typing import Any

import lightning as L
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import StepLR
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score

from datamodules.clips import SentenceBatch
from datamodules.contracts import SentenceSource, datamodule_of, training_texts
from earshot.errors import InputError
from lightning_modules.decoding.prompt import PROMPT, prompted
from lightning_modules.networks.known_words import require_known_words
from lightning_modules.networks.sequence_classifier import SequenceClassifier
from lightning_modules.schedules.by_epoch import by_epoch

Classified = dict[str, Tensor]  # `labels` and `predicted`, (B,) int64 each


class AudibilityClassifier(L.LightningModule):
    """Fine-tunes a sentence classifier with cross-entropy.

    It has no predict: transformers' text-classification pipeline reads the exported folder. The scores are those of all
    sentences together; the authors average AUROC over batches, which is nan as soon as a batch has one class only.

    Args:
        classifier: `from_pretrained` of any encoder, with the `labels` of the data, or `from_scratch`.
        positive: the label whose probability is scored: index 1 in the paper, 0 in the authors' code.
        prompt: put before every sentence, as before every candidate in guided decoding.
        optimizer: the paper's by default.
        lr_scheduler: stepped every epoch; the paper's by default.
    """

    def __init__(
        self,
        classifier: SequenceClassifier,
        positive: str = "audible",
        prompt: str = PROMPT,
        optimizer: OptimizerCallable = lambda p: AdamW(p, lr=3e-4),
        lr_scheduler: LRSchedulerCallable = lambda o: StepLR(o, step_size=10, gamma=0.1),
    ) -> None:
        super().__init__()
        self.positive_label = positive
        self.prompt = prompt
        self._take(classifier.train())
        self.learnt_tokenizer = ""  # as JSON; empty where the classifier came with a tokenizer
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        scores = MetricCollection({"accuracy": BinaryAccuracy(), "f1": BinaryF1Score(), "auroc": BinaryAUROC()})
        self.val_scores, self.test_scores = scores.clone(prefix="val/"), scores.clone(prefix="test/")
        self.val_loss, self.test_loss = (MeanMetric(nan_strategy=float("nan")) for _ in range(2))  # a NaN counts

    def _take(self, classifier: SequenceClassifier) -> None:
        self.classifier = classifier
        self.positive = classifier.label_index(self.positive_label)

    def setup(self, stage: str) -> None:
        """Check the names of the classes; a classifier from scratch gets a tokenizer from the training sentences."""
        data = datamodule_of(self.trainer, SentenceSource)
        if (found := list(data.labels)) != self.classifier.labels:
            raise InputError(
                f"expected sentences of the classes {', '.join(self.classifier.labels)}, found {', '.join(found)}; "
                "name the same classes, in the same order, in the data and the classifier"
            )
        if self.classifier.tokenizer is None and stage == "fit":
            learnt = ""
            if self.trainer.is_global_zero:
                texts = [prompted(text, self.prompt) for text in data.sentences("train")]
                learnt = self.classifier.learn_tokenizer(texts)
            self.learnt_tokenizer = self.trainer.strategy.broadcast(learnt)
            self.classifier.use_tokenizer(self.learnt_tokenizer)
        if stage == "fit":
            require_known_words(
                self.classifier.tokenizer, training_texts(self.trainer),
                "--config configs/paper/audibility_classifier.yaml for DistilBERT", self.print,
                self.classifier.max_tokens,
            )  # fmt: skip

    def forward(self, texts: list[str]) -> Tensor:
        """Logits (B, classes) of B sentences without the prompt."""
        return self.classifier([prompted(text, self.prompt) for text in texts])

    def training_step(self, batch: SentenceBatch, batch_idx: int) -> Tensor:
        """Cross-entropy."""
        loss = F.cross_entropy(self(batch.texts), batch.labels)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.texts))
        return loss

    def _evaluate(self, batch: SentenceBatch, name: str, loss: MeanMetric, scores: MetricCollection) -> Classified:
        """Update and log the metrics of all sentences and ranks together; what the confusion matrix counts."""
        predicted = batch.labels
        if batch.valid:
            logits = self(batch.texts)
            loss.update(F.cross_entropy(logits, batch.labels), weight=len(batch.texts))
            probability = logits.float().softmax(-1)[:, self.positive]
            scores.update(probability, batch.labels == self.positive)
            predicted = logits.argmax(-1)
        self.log(f"{name}/loss", loss, prog_bar=True, batch_size=len(batch.texts))
        self.log_dict(scores, prog_bar=True, batch_size=len(batch.texts))
        return {"labels": batch.labels, "predicted": predicted}

    def validation_step(self, batch: SentenceBatch, batch_idx: int) -> None:
        """Loss, accuracy, F1 and AUROC."""
        self._evaluate(batch, "val", self.val_loss, self.val_scores)

    def test_step(self, batch: SentenceBatch, batch_idx: int) -> Classified:
        """Loss, accuracy, F1 and AUROC; labels and predictions for the confusion matrix."""
        return self._evaluate(batch, "test", self.test_loss, self.test_scores)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer for the whole classifier."""
        return by_epoch(self.optimizer(self.classifier.parameters()), self.lr_scheduler)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the learnt tokenizer beside the weights."""
        checkpoint["tokenizer"] = self.learnt_tokenizer

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Use the learnt tokenizer; a checkpoint of another stage has none, and its weights are refused after this."""
        self.learnt_tokenizer = checkpoint.get("tokenizer", "")
        if self.learnt_tokenizer:
            self.classifier.use_tokenizer(self.learnt_tokenizer)

    def export(self, folder: Path) -> None:
        """Write a Hugging Face folder with `id2label`, and the prompt in its configuration."""
        self.classifier.model.config.audibility_prompt = self.prompt
        self.classifier.save_pretrained(folder)

    def load_export(self, folder: Path) -> None:
        """Take the classifier of such a folder.

        Raises:
            InputError: it has other labels, or learnt from sentences with another prompt.
        """
        found = SequenceClassifier.from_pretrained(folder, max_tokens=self.classifier.max_tokens)
        if found.labels != self.classifier.labels:
            raise InputError(
                f"expected a classifier of {', '.join(self.classifier.labels)}, in this order, in {folder}, found "
                f"{', '.join(found.labels)}; give the data and the classifier the order of fit"
            )
        if found.prompt not in (None, self.prompt):
            raise InputError(
                f"expected a classifier of sentences that begin with {self.prompt!r} in {folder}, found one of "
                f"{found.prompt!r}; give test the prompt of fit"
            )
        self._take(found.to(self.device).eval())
