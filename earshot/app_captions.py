"""What the page of `earshot app` shows of a file: spectrogram, image, and a card of captions for each captioner."""

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, takewhile
from pathlib import Path

import jinja2
import numpy as np
import soundfile

from datamodules.endings import VIDEO
from datamodules.media import Audio, MediaError, read_audio, read_frames
from earshot import drawing
from earshot.captioner import Caption, Captioner
from earshot.data_uri import data_uri
from earshot.errors import InputError

LONGEST = 600.0  # seconds that are captioned
CANDIDATES = 3
GREY = "#6b7a90"  # readable on white and on black
CARDS = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    Path(__file__).with_name("app_captions.html").read_text(encoding="utf-8")
)


def captions_of(
    path: str | None, names: Sequence[str], seconds: float, captioner: Callable[[str], Captioner]
) -> Iterator[tuple[str | None, str]]:
    """The audio as a file that browsers play, and the page's text, again after each captioner.

    Args:
        path: of a media file; None where none was chosen.
        names: of captioners.
        seconds: longer files are captioned in parts of so many, or of a captioner's longest clip where that is less.
        captioner: gives a captioner by its name.
    """
    if path is None or not names:
        yield None, problem("Choose a sound and at least one captioner.")
        return
    try:
        audio = read_audio(Path(path), seconds=LONGEST)
        audio.require_usable()
    except (MediaError, OSError) as error:
        reason = error.reason if isinstance(error, MediaError) else "broken"
        yield None, problem(f"{Path(path).name} cannot be captioned: {reason}: {error}.")
        return
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        soundfile.write(file.name, np.clip(audio.waveform, -1, 1), audio.sampling_rate)
        top = {"spectrogram": spectrogram(audio), "image": image_of(Path(path)), "name": Path(path).name}
        cards: list[dict[str, object]] = []
        for number, name in enumerate(names):
            yield file.name, CARDS.render(**top, cards=cards, waiting=names[number:])
            cards.append(card(Path(path), audio, name, seconds, captioner))
        yield file.name, CARDS.render(**top, cards=cards)


def problem(sentence: str) -> str:
    """The page's text where there is nothing to caption."""
    return CARDS.render(error=sentence)


def card(
    path: Path, audio: Audio, name: str, seconds: float, captioner: Callable[[str], Captioner]
) -> dict[str, object]:
    """What the template shows of one captioner."""
    try:
        found = captioner(name)
        window = min(seconds, found.clip_format.max_seconds or seconds)
        number = CANDIDATES if found.ranks else 1
        captions = found.caption_listed({path.name: path}, window, number, explain=True)
        parts = list(takewhile(lambda caption: caption.start < LONGEST, captions))
        return {"name": name, "miniature": found.miniature, "rows": rows_of(parts), "cut": audio.seconds >= LONGEST}
    except InputError as error:
        return {"name": name, "error": str(error)}


def rows_of(captions: Sequence[Caption]) -> list[dict[str, object]]:
    """Parts that follow one another with the same caption, or the same error, in one row, with its candidates."""
    rows = []
    for (text, error), same in groupby(captions, lambda caption: (caption.caption, caption.error)):
        parts = list(same)
        rows.append(
            {
                "start": parts[0].start, "end": parts[-1].end, "caption": text, "error": error,
                "candidates": parts[0].candidates, "explanation": parts[0].explanation,
            }
        )  # fmt: skip
    return rows


def image_of(path: Path) -> str | None:
    """The first frame of a video, or the image of a scene, as a data: URI."""
    try:
        if path.suffix.lower() in VIDEO:
            frame = read_frames(path, 0, 1)[0].convert("RGB")
            frame.thumbnail((480, 480))
            buffer = io.BytesIO()
            frame.save(buffer, "JPEG")
            return data_uri("image/jpeg", buffer.getvalue())
        beside = path.with_suffix(".png")
        return data_uri("image/png", beside.read_bytes()) if beside.is_file() else None
    except (MediaError, OSError, KeyError):
        return None


def spectrogram(audio: Audio) -> str:
    """The audio as in the figures, with axes that are readable on white and on black, as a data: URI of a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 1.9), layout="constrained", dpi=160)
    axes = figure.subplots()
    drawing.spectrogram(axes, audio.waveform, audio.sampling_rate)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(GREY)
    axes.tick_params(colors=GREY)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    return data_uri("image/png", buffer.getvalue())
