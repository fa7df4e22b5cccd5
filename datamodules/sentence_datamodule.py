"""Sentences with their classes, from text files or a table, split without overlap: what sentence classifiers read."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from datamodules.batch_order import BatchOrder
from datamodules.caption_table import TEXTS, read_rows, the_column
from datamodules.clips import SentenceBatch
from datamodules.settings import (
    GLOBAL_BATCH,
    divide_global_batch,
    global_batch,
    go_on_with,
    require_at_least,
    seed_or_default,
    trainer_of,
)
from datamodules.text_loader import TextLoader
from earshot.errors import InputError

NAMED = 5  # at most this many sentences of several classes are named


class SentenceDataModule(L.LightningDataModule):
    """Streams `SentenceBatch`es; of each class, the seed draws a part for test and a part for validation.

    A repeated sentence counts once; a sentence of two classes is printed and dropped from both. Sentences that differ
    only in case, spaces or the final full stop count as the same.

    Args:
        root: folder of the files.
        files: for each label, in the order of the class indices, a text file with one sentence a line.
        table: instead of files, a CSV with the columns `sentence` (or `text`, `caption`) and `label` (or `class`)
            (`datamodules.caption_table`).
        labels: of the table, in the order of the class indices.
        test_share: share of each class that is kept for test.
        val_share: share of each class that is kept for validation.
        batch_size: sentences of a training batch on each device; beside global_batch_size the most.
        eval_batch_size: sentences of any other batch.
        split_seed: of the split into parts. Training runs of other seeds keep the same test sentences.
        seed: of the order in training; None takes that of seed_everything.
        global_batch_size: sentences of an optimizer step, over all devices (`datamodules.settings`); None takes
            batch_size on each.
    """

    def __init__(
        self,
        root: str = ".",
        files: dict[str, str] | None = None,
        table: str | None = None,
        labels: list[str] | None = None,
        test_share: float = 0.15,
        val_share: float = 0.1,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        split_seed: int = 42,
        seed: int | None = None,
        global_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        require_at_least(1, batch_size=batch_size, eval_batch_size=eval_batch_size)
        if (files is None) == (table is None):
            raise InputError("expected data.files or data.table, found both or neither; give one of them")
        if table is not None and not labels:
            raise InputError("expected data.labels beside data.table, found none; list the labels in their order")
        if min(test_share, val_share) <= 0 or test_share + val_share >= 1:
            raise InputError(
                f"expected test_share and val_share above 0 and together below 1, found {test_share} and {val_share}; "
                "correct them"
            )
        self.root = root
        self.batch_size = batch_size
        self.global_batch_size = global_batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed_or_default(seed)
        self.files = files
        self.table_name = table
        self.labels = list(files) if files is not None else list(labels or ())
        if len(self.labels) < 2:
            raise InputError(f"expected two classes or more, found {', '.join(self.labels)} alone; name the other")
        self.split_seed = split_seed
        self.shares = {"test": test_share, "val": val_share}
        self.parts: dict[str, tuple[list[str], np.ndarray]] = {}

    def sentences(self, part: str) -> list[str]:
        """All sentences of "train", "val" or "test"."""
        return self.parts[part][0]

    def training_texts(self) -> list[str]:
        """All training sentences."""
        return self.sentences("train")

    def media_read(self) -> dict[str, list[str]]:
        """See `datamodules.contracts.ReadingNoted`."""
        names = [str(self.table_name)] if self.files is None else list(self.files.values())
        return {name: ["sentences"] for name in names}

    def setup(self, stage: str) -> None:
        """Read, drop repeated sentences, and split."""
        if stage == "fit":
            divide_global_batch(self)
        if self.parts:
            return
        if self.files is not None:
            read = {label: read_lines(Path(self.root) / name) for label, name in self.files.items()}
        else:
            assert self.table_name is not None
            read = read_table(Path(self.root) / self.table_name, self.labels)
        tell = print if trainer_of(self).is_global_zero else (lambda *_: None)
        self.parts = split(distinct(read, tell), self.shares, self.split_seed)
        for part, (texts, classes) in self.parts.items():
            counts = np.bincount(classes, minlength=len(self.labels))
            tell(f"{part}: N = {len(texts)} sentences, " + ", ".join(f"{n} {x}" for x, n in zip(self.labels, counts)))

    def _loader(self, part: str, batch_size: int, shuffle: bool = False) -> TextLoader[SentenceBatch]:
        texts, classes = self.parts[part]

        def batch(rows: np.ndarray) -> SentenceBatch:
            return SentenceBatch([texts[row] for row in rows], torch.from_numpy(classes[rows]))

        return TextLoader(len(texts), batch, batch_size, BatchOrder.of(trainer_of(self), self.seed), shuffle)

    def train_dataloader(self) -> TextLoader[SentenceBatch]:
        """From the batch that the trainer has come to."""
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> TextLoader[SentenceBatch]:
        """Each sentence once."""
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> TextLoader[SentenceBatch]:
        """Each sentence once."""
        return self._loader("test", self.eval_batch_size)

    def state_dict(self) -> dict[str, Any]:
        """What decides the order of the sentences."""
        if not self.parts:
            return {}
        sentences = self.sentences("train")
        return {
            "train_sentences": len(sentences),
            "digest of train_sentences": hashlib.sha256("\0".join(sentences).encode()).hexdigest()[:12],
            "split_seed": self.split_seed,
            "seed": self.seed,
            GLOBAL_BATCH: global_batch(self),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that fit goes on with the sentences and settings it began with."""
        go_on_with(self, state_dict)


def read_lines(path: Path) -> list[str]:
    """The sentences of a text file, blank lines left out.

    Raises:
        InputError: no such file, not UTF-8, or no sentence in it.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"expected a text file of sentences at {path}, found: {error}; correct the path, or get the authors' "
            "audible.txt and notAudible.txt from github.com/arielshaulov/zero-shot-audio-captioning"
        ) from None
    if not any(lines):
        raise InputError(f"expected one sentence a line in {path}, found none; fill it or name another file")
    return [line for line in lines if line]


def read_table(path: Path, labels: list[str]) -> dict[str, list[str]]:
    """The sentences of a CSV, by label.

    Raises:
        InputError: by `read_rows`, a column that is missing or not clear, a label that is not among `labels`, or one
            without a sentence.
    """
    rows = read_rows(path, "sentences", "correct data.table")
    columns = list(rows[0])
    text = the_column(columns, ("sentence", *TEXTS), path, "sentences")
    label = the_column(columns, ("label", "class", "category"), path, "labels")
    if text is None or label is None:
        found = ", ".join(columns)
        raise InputError(f"expected the columns sentence and label in {path}, found {found}; rename them")
    read: dict[str, list[str]] = {label: [] for label in labels}
    for number, row in enumerate(rows, 2):
        if row[label] not in read:
            raise InputError(
                f"expected one of the labels {', '.join(labels)} in {path}, found {row[label]!r} in row {number}; "
                "correct it, or data.labels"
            )
        if sentence := row[text].strip():
            read[row[label]].append(sentence)
    for label, sentences in read.items():
        if not sentences:
            raise InputError(
                f"expected sentences of each of {', '.join(labels)} in {path}, found none {label}; add some"
            )
    return read


def same(sentence: str) -> str:
    """A form that sentences share which count as the same."""
    return " ".join(sentence.casefold().split()).rstrip(" .!")


def distinct(read: dict[str, list[str]], tell: Callable[[str], Any] = print) -> dict[str, list[str]]:
    """Each sentence once, and those of several classes in none; `tell` is called with what was left out."""
    kept = {label: {same(sentence): sentence for sentence in reversed(sentences)} for label, sentences in read.items()}
    seen: dict[str, str] = {}
    both = {key for label, found in kept.items() for key in found if seen.setdefault(key, label) != label}
    left = {label: [found[key] for key in reversed(found) if key not in both] for label, found in kept.items()}
    repeated = sum(map(len, read.values())) - sum(map(len, kept.values()))
    if repeated:
        tell(f"left out {repeated} repeated sentences")
    if both:
        shown = "; ".join(repr(sentence) for sentence in sorted(both)[:NAMED])
        more = f" and {len(both) - NAMED} more" if len(both) > NAMED else ""
        tell(f"left out {len(both)} sentences of more than one class: {shown}{more}")
    return left


def split(
    sentences: dict[str, list[str]], shares: dict[str, float], seed: int
) -> dict[str, tuple[list[str], np.ndarray]]:
    """Split each class by the same shares: the sentences of "train", "val" and "test" and their classes, (N,) int64.

    Raises:
        InputError: a class too small for the shares.
    """
    parts: dict[str, tuple[list[str], list[int]]] = {part: ([], []) for part in ("train", *shares)}
    for index, (label, texts) in enumerate(sentences.items()):
        order = np.random.default_rng((seed, index)).permutation(len(texts))
        start = 0
        for part, share in (*shares.items(), ("train", 1.0)):
            end = min(len(texts), start + round(share * len(texts)))
            if end == start:
                raise InputError(f"expected more sentences that are {label}, found {len(texts)}; add some")
            parts[part][0].extend(texts[i] for i in order[start:end])
            parts[part][1].extend([index] * (end - start))
            start = end
    return {part: (texts, np.array(classes)) for part, (texts, classes) in parts.items()}
