"""Any Hugging Face classifier of sentences, with its tokenizer."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from earshot.errors import InputError
from lightning_modules.networks.pretrained import pretrained

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class SequenceClassifier(nn.Module):
    """Sentences to logits of classes that have names.

    Args:
        model: a transformers sequence classifier; its `id2label` names the classes.
        tokenizer: of the model; None until `use_tokenizer`.
        max_tokens: longer sentences are cut.
    """

    model: Any  # transformers' classes

    def __init__(self, model: nn.Module, tokenizer: Any = None, max_tokens: int = 64) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    @property
    def labels(self) -> list[str]:
        """Names of the classes, by index."""
        return [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]

    @property
    def prompt(self) -> str | None:
        """The prompt that its training sentences began with, if its configuration names one."""
        return getattr(self.model.config, "audibility_prompt", None)

    def label_index(self, label: str) -> int:
        """The index of a class.

        Raises:
            InputError: there is none of that name.
        """
        if label not in self.labels:
            raise InputError(
                f"expected a classifier with the label {label!r}, found {', '.join(self.labels)}; correct the label, "
                "or name another classifier"
            )
        return self.labels.index(label)

    def encode(self, texts: list[str]) -> dict[str, Tensor]:
        """Token ids and mask, (B, L) each, padded to the longest text."""
        encoded = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        return {name: encoded[name].to(self.model.device) for name in ("input_ids", "attention_mask")}

    def forward(self, texts: list[str]) -> Tensor:
        """B sentences to logits (B, classes)."""
        return self.model(**self.encode(texts)).logits

    def probability(self, texts: list[str], label: str) -> Tensor:
        """The probability of a class for each of B sentences, (B,) float32."""
        return self(texts).float().softmax(-1)[:, self.label_index(label)]

    def learn_tokenizer(self, texts: list[str]) -> str:
        """Train a byte-pair tokenizer on `texts`; returns its JSON, for `use_tokenizer`.

        It is not DistilBERT's WordPiece, whose trainer orders equally frequent pieces differently in each process.
        """
        learnt = Tokenizer(models.BPE(unk_token="[UNK]"))
        learnt.normalizer = normalizers.BertNormalizer(lowercase=True)
        learnt.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
        learnt.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(
            vocab_size=self.model.config.vocab_size, special_tokens=list(SPECIAL), show_progress=False
        )
        learnt.train_from_iterator(texts, trainer)
        ends = [(token, learnt.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        learnt.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
        return learnt.to_str()

    def use_tokenizer(self, tokenizer: str) -> None:
        """Use a tokenizer that `learn_tokenizer` made."""
        pad, unk, cls, sep, mask = SPECIAL
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(tokenizer), pad_token=pad, unk_token=unk, cls_token=cls, sep_token=sep,
            mask_token=mask, model_max_length=self.max_tokens,
        )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path = "distilbert-base-uncased",
        labels: list[str] | None = None,
        max_tokens: int = 64,
    ) -> "SequenceClassifier":
        """Load a folder or hub id; an encoder without a head gets a new one for `labels`.

        Args:
            pretrained_model_name_or_path: of a classifier, or of an encoder to be fine-tuned.
            labels: names of the classes by index; None keeps the folder's.
            max_tokens: as for the class.

        Raises:
            InputError: there is no such model.
        """
        with pretrained(pretrained_model_name_or_path, "a classifier of sentences") as name:
            names = {} if labels is None else names_of(labels)
            model = AutoModelForSequenceClassification.from_pretrained(name, **names)
            tokenizer = AutoTokenizer.from_pretrained(name)
        return cls(model, tokenizer, max_tokens)

    @classmethod
    def from_scratch(
        cls,
        labels: list[str],
        depth: int = 2,
        width: int = 128,
        num_heads: int = 4,
        vocab_size: int = 8192,
        dropout: float = 0.1,
        max_tokens: int = 64,
    ) -> "SequenceClassifier":
        """A DistilBERT with random weights; fit trains its tokenizer on the training sentences before it begins."""
        config = DistilBertConfig(
            vocab_size=vocab_size, max_position_embeddings=max(max_tokens, 128), n_layers=depth, dim=width,
            hidden_dim=4 * width, n_heads=num_heads, dropout=dropout, attention_dropout=dropout,
            seq_classif_dropout=0.2, **names_of(labels),
        )  # fmt: skip
        return cls(DistilBertForSequenceClassification(config), None, max_tokens)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a standard Hugging Face folder, tokenizer included."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def names_of(labels: list[str]) -> dict[str, Any]:
    """The classes as a configuration of transformers has them."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
