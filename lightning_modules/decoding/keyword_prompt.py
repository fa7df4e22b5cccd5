"""Keywords that a matcher finds for an embedding, in a text that a language model reads before it writes."""

import csv
from dataclasses import InitVar, dataclass
from pathlib import Path
from textwrap import shorten

from torch import Tensor, nn
from transformers import AutoConfig

from earshot.errors import InputError
from lightning_modules.decoding.contracts import TextFunction

CLASSES = "display_name"  # AudioSet's column of the names of classes


@dataclass(eq=False)  # torch hashes modules by identity
class KeywordPrompt(nn.Module):
    """Names the keywords of a list that are nearest to an embedding; the defaults are ZerAuCap's.

    Args:
        bank: text file of keywords, one a line, or AudioSet's table of classes (column display_name), or
            `hf://owner/name`, the names of the classes of a classifier on the Hugging Face Hub; commas also separate
            keywords.
        num_keywords: how many keywords go into the prompt, the best by cosine similarity.
        beginning: the prompt's text before the keywords.
        between: the prompt's text between two keywords.
        ending: the prompt's text after the keywords.

    Raises:
        InputError: no keywords.
    """

    bank: InitVar[str]
    num_keywords: int = 2
    beginning: str = "Objects: "
    between: str = ", and a "
    ending: str = ". This is a sound of "

    def __post_init__(self, bank: str) -> None:
        super().__init__()
        self.keywords = read_bank(bank)

    def keywords_of(self, match: TextFunction, audio: Tensor) -> list[list[tuple[str, float]]]:
        """See `contracts.NamesKeywords`."""
        return self._nearest(match, audio, self.num_keywords)

    def _nearest(self, match: TextFunction, audio: Tensor, number: int) -> list[list[tuple[str, float]]]:
        similarity = audio @ match(self.keywords).T  # (B, keywords)
        best = similarity.topk(min(number, len(self.keywords)))
        rows = zip(best.indices.tolist(), best.values.tolist())
        return [[(self.keywords[place], value) for place, value in zip(*row)] for row in rows]

    def prompts(self, match: TextFunction, audio: Tensor, number: int | None = None) -> list[str]:
        """A prompt of `num_keywords` keywords, or of another `number`, for each of B embeddings (B, D)."""
        found = self._nearest(match, audio, number or self.num_keywords)
        return [self.beginning + self.between.join(word for word, _ in row) + self.ending for row in found]


def read_bank(bank: str) -> list[str]:
    """The keywords of a file, or of a classifier's classes, each once.

    Raises:
        InputError: no such file or classifier, or no keyword in it; or a table that cannot be read.
    """
    try:
        if bank.startswith("hf://"):
            lines = list(AutoConfig.from_pretrained(bank.removeprefix("hf://")).id2label.values())
        else:
            lines = class_names(Path(bank).read_text(encoding="utf-8-sig").splitlines(), bank)
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected keywords in {bank}, as UTF-8 text, found: {shorten(str(error), 200)}; correct the bank, or get "
            "AudioSet's class_labels_indices.csv from research.google.com/audioset"
        ) from None
    keywords = list(dict.fromkeys(word.strip() for line in lines for word in line.split(",") if word.strip()))
    if not keywords:
        raise InputError(f"expected keywords in {bank}, found none; write one a line")
    return keywords


def class_names(lines: list[str], bank: str) -> list[str]:
    """The column display_name of a table with commas, semicolons or tabs; the lines as they are where it is none.

    Raises:
        InputError: the first line names the column in a way that is not clear, or a row has other cells than it.
    """
    first = next(filter(str.strip, lines), "")
    if CLASSES not in first:
        return lines
    headers = {mark: [cell.strip() for cell in next(csv.reader([first], delimiter=mark))] for mark in ",;\t"}
    mark = next((mark for mark, header in headers.items() if header.count(CLASSES) == 1), None)
    if mark is None:
        raise InputError(
            f"expected a column {CLASSES} or keywords in {bank}, found the first line {shorten(first, 60)!r}; separate "
            f"its columns by commas, semicolons or tabs, or put a line without {CLASSES} first"
        )
    columns = headers[mark]
    try:
        rows = [cells for cells in csv.reader(lines, delimiter=mark, strict=True) if any(map(str.strip, cells))]
    except csv.Error as error:
        raise InputError(
            f"expected a table of classes in {bank}, found: {error}; close its quotes, and write those inside a cell "
            "twice"
        ) from None
    if wrong := next((cells for cells in rows if len(cells) != len(columns)), None):
        raise InputError(
            f"expected {len(columns)} cells in each row of {bank}, found {len(wrong)} in {shorten(str(wrong), 80)}; "
            "put names that hold the separator in quotes, and give every row a name"
        )
    return [cells[columns.index(CLASSES)] for cells in rows[1:]]
