"""One HTML file about the clips of a test: what stands on it, and how it is rendered. Nothing in it needs a network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parents[1] / "templates"


@dataclass(frozen=True)
class Column:
    """A score of each clip.

    Attributes:
        key: its name in scores.json.
        title: above it.
        shown: whether the page shows it before it is asked for.
        low_is_good: the worst clips are those with the highest.
        system: number of the system that it is of, beside whose captions it stands; None where it has a column only.
    """

    key: str
    title: str
    shown: bool = True
    low_is_good: bool = False
    system: int | None = None


@dataclass(frozen=True)
class Media:
    """What is heard and seen of a clip.

    Attributes:
        audio: data URI of the sound; None where it is not embedded.
        seconds: its length.
        spectrogram: data URI of a PNG, time from left to right, low frequencies at the bottom.
        top_hz: the upper edge of the spectrogram.
        frame: data URI of an image; None where the clip has none.
    """

    audio: str | None = None
    seconds: float = 0.0
    spectrogram: str | None = None
    top_hz: float = 0.0
    frame: str | None = None


@dataclass
class ClipRow:
    """A clip on the page: the caption of each system, and a score in each column, None where there is none."""

    id: str
    captions: list[str]
    references: list[str]
    labels: list[str]
    scores: list[float | None]
    media: Media | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """A score drawn on a line from 0 to `end`, with its 95% interval and, where there is one, a paper's score."""

    value: float
    low: float
    high: float
    end: float
    paper: float | None = None

    def at(self, value: float) -> float:
        """Where a value stands, in per cent of the line."""
        return 100 * min(max(value / self.end, 0.0), 1.0) if self.end > 0 else 0.0


@dataclass(frozen=True)
class Table:
    """A table of the page's beginning; the first cell of each row names it."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | Interval]]

    @property
    def bars(self) -> set[int]:
        """Numbers of the columns that are drawn, for which a narrow screen has no room."""
        return {number for row in self.rows for number, cell in enumerate(row) if isinstance(cell, Interval)}


@dataclass
class Document:
    """The page.

    Attributes:
        title: heading.
        subtitle: the line below it.
        headline: up to four scores: title, value, interval.
        table: all scores.
        notes: paragraphs below the table: what was not computed, what to know of a comparison.
        systems: what captioned, in the order of a row's captions.
        columns: the scores of each clip.
        clips: the rows.
        random: numbers of rows drawn at random, which the page begins with.
        order: numbers of all rows, in the order in which they matter where there is no room for all.
        chosen: how many of these were to get sound and image.
        frame_note: what stands below each frame.
        embedded: why the page holds no sounds and images; nothing where it does.
        origin: name and text of what the scores come from.
        folded: title and text of what is folded away, such as the configuration.
    """

    title: str
    subtitle: str
    headline: Sequence[tuple[str, str, str]]
    table: Table
    notes: Sequence[str]
    systems: Sequence[str]
    columns: Sequence[Column]
    clips: Sequence[ClipRow]
    random: Sequence[int]
    order: list[int]
    chosen: int
    frame_note: str
    embedded: str
    origin: Sequence[tuple[str, str]]
    folded: Sequence[tuple[str, str]]


def render(document: Document) -> str:
    """The page as text; all that is not the templates' own is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    inlined = {
        name: Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # the project's own, without anything put in
        for name in ("page.css", "clips.js", "details.js", "page.js")
    }
    data = {
        "systems": list(document.systems),
        "columns": [asdict(column) for column in document.columns],
        "clips": [asdict(clip) for clip in document.clips],
        "random": list(document.random),
        "frame_note": document.frame_note,
    }
    return environment.get_template("page.html").render(page=document, data=data, inlined=inlined)
