"""Sentences with their classes, for classifiers of sentences: text files or a table, split without overlap."""

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn

from datamodules.caption_loader import CaptionLoader
from datamodules.clip_datamodule import ClipDataModule
from datamodules.clips import SentenceBatch
from earshot.errors import InputError

NAMED = 5  # sentences that stand in both classes, told by name


class SentenceLoader(CaptionLoader):
    """A `CaptionLoader` of sentences with their classes, (N,) int64."""

    def __init__(self, sentences: list[str], classes: np.ndarray, batch_size: int, **arguments: Any) -> None:
        super().__init__(sentences, batch_size, **arguments)
        self.classes = classes

    def _batch(self, rows: np.ndarray) -> SentenceBatch:  # type: ignore[override]
        return SentenceBatch([self.captions[row] for row in rows], torch.from_numpy(self.classes[rows]))


class SentenceDataModule(ClipDataModule):
    """Streams `SentenceBatch`es. Of each class, seeded, a part is kept for test and one for validation.

    A sentence that stands twice counts once; one that stands in two classes is named and dropped from both. Sentences
    that differ in case, spaces or the final stop are one.

    Args:
        root: folder that the paths are in.
        files: for each label, in the order of their indices, a text file with one sentence a line.
        table: instead, a CSV with the columns `sentence` (or `text`, `caption`) and `label`.
        labels: of the table, in the order of their indices.
        test_share: of each class that is kept for test.
        val_share: likewise for validation.
        batch_size: sentences of a training batch on each device.
        eval_batch_size: of any other batch.
        split_seed: of the split. It is not that of a training, so that no other seed tests on what was trained on.
        seed: of the order; None takes that of seed_everything.
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
    ) -> None:
        super().__init__(root, batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=0, seed=seed)
        if (files is None) == (table is None):
            raise InputError("expected data.files or data.table, found both or neither; give one of them")
        if table is not None and not labels:
            raise InputError("expected data.labels beside data.table, found none; list the labels in their order")
        if min(test_share, val_share) <= 0 or test_share + val_share >= 1:
            raise InputError(
                f"expected test_share and val_share above 0 and together below 1, found {test_share} and {val_share}; "
                "correct them"
            )
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

    def setup(self, stage: str) -> None:
        """Read, drop what stands twice, and split."""
        if self.parts:
            return
        if self.files is not None:
            read = {label: read_lines(Path(self.root) / name) for label, name in self.files.items()}
        else:
            assert self.table_name is not None
            read = read_table(Path(self.root) / self.table_name, self.labels)
        tell = print if self._trainer.is_global_zero else (lambda *_: None)
        self.parts = split(distinct(read, tell), self.shares, self.split_seed)
        for part, (texts, classes) in self.parts.items():
            counts = np.bincount(classes, minlength=len(self.labels))
            tell(f"{part}: N = {len(texts)} sentences, " + ", ".join(f"{n} {x}" for x, n in zip(self.labels, counts)))

    def _loader(self, part: str, batch_size: int, **arguments: Any) -> SentenceLoader:
        texts, classes = self.parts[part]
        rank, world = self._trainer.global_rank, self._trainer.world_size
        return SentenceLoader(texts, classes, batch_size, rank=rank, world=world, **arguments)

    def train_dataloader(self) -> SentenceLoader:  # type: ignore[override]
        """From the batch that the trainer has come to."""
        return self._loader("train", self.batch_size, seed=self.seed, position=self._position)

    def val_dataloader(self) -> SentenceLoader:  # type: ignore[override]
        """Each sentence once."""
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> SentenceLoader:  # type: ignore[override]
        """Each sentence once."""
        return self._loader("test", self.eval_batch_size)

    def state_dict(self) -> dict[str, Any]:
        """What decides the order of the sentences."""
        if not self.parts or self._trainer.state.fn != TrainerFn.FITTING:
            return {}
        return {
            "train_sentences": len(self.sentences("train")),
            "digest of train_sentences": hashlib.sha256("\0".join(self.sentences("train")).encode()).hexdigest()[:12],
            "split_seed": self.split_seed,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "devices": self._trainer.world_size,
        }


def read_lines(path: Path) -> list[str]:
    """The sentences of a text file, blank lines left out.

    Raises:
        InputError: no such file, not UTF-8, or no sentence in it.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"expected a text file of sentences at {path}, found: {error}; correct the path") from None
    if not any(lines):
        raise InputError(f"expected one sentence a line in {path}, found none; fill it or name another file")
    return [line for line in lines if line]


def read_table(path: Path, labels: list[str]) -> dict[str, list[str]]:
    """The sentences of a CSV, by label.

    Raises:
        InputError: no such file, a column missing, a label that is not among `labels`, or one without a sentence.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"expected a CSV of sentences at {path}, found: {error}; correct data.table") from None
    columns = list(rows[0]) if rows else []
    text = next((column for column in ("sentence", "text", "caption") if column in columns), None)
    if text is None or "label" not in columns:
        found = ", ".join(map(str, columns)) or "no rows"
        raise InputError(f"expected the columns sentence and label in {path}, found {found}; rename them")
    read: dict[str, list[str]] = {label: [] for label in labels}
    for number, row in enumerate(rows, 2):
        if row["label"] not in read:
            raise InputError(
                f"expected one of the labels {', '.join(labels)} in {path}, found {row['label']!r} in row {number}; "
                "correct it, or data.labels"
            )
        if row[text] and row[text].strip():
            read[row["label"]].append(row[text].strip())
    for label, sentences in read.items():
        if not sentences:
            raise InputError(
                f"expected sentences of each of {', '.join(labels)} in {path}, found none {label}; add some"
            )
    return read


def same(sentence: str) -> str:
    """What two sentences have in common that count as one."""
    return " ".join(sentence.casefold().split()).rstrip(" .!")


def distinct(read: dict[str, list[str]], tell: Callable[[str], Any] = print) -> dict[str, list[str]]:
    """Each sentence once; those of two classes in neither. Says how many were left out, and the latter by name."""
    kept = {label: {same(sentence): sentence for sentence in reversed(sentences)} for label, sentences in read.items()}
    seen: dict[str, str] = {}
    both = {key for label, found in kept.items() for key in found if seen.setdefault(key, label) != label}
    left = {label: [found[key] for key in reversed(found) if key not in both] for label, found in kept.items()}
    repeated = sum(map(len, read.values())) - sum(map(len, kept.values()))
    if repeated:
        tell(f"left out {repeated} sentences that stand there already")
    if both:
        shown = "; ".join(repr(sentence) for sentence in sorted(both)[:NAMED])
        more = f" and {len(both) - NAMED} more" if len(both) > NAMED else ""
        tell(f"left out {len(both)} that stand in more than one class: {shown}{more}")
    return left


def split(
    sentences: dict[str, list[str]], shares: dict[str, float], seed: int
) -> dict[str, tuple[list[str], np.ndarray]]:
    """Split each class alike, seeded: for "train", "val" and "test" the sentences and their classes, (N,) int64.

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
