"""The page stays below its limit whatever the clips hold, and says what it left out."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from scored_run import HOSTILE, data_of, run_folder

from evaluation.captions_file import read_captions
from reports.__main__ import main
from reports.clip_pages import budget
from reports.clip_pages.media import RATE, as_media
from reports.clip_pages.of_run import document_of


def limited(folder: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> tuple[dict, str]:
    """The data and the text of a page that may have so many bytes, and not one more."""
    monkeypatch.setattr(budget, "LIMIT", limit)
    main(["html", str(folder)])
    page = folder / "report.html"
    assert page.stat().st_size <= limit
    return data_of(page), page.read_text()


def test_sounds_end_where_the_limit_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_folder(tmp_path, HOSTILE, kind="WAV")
    whole, text = limited(folder, 25_000_000, monkeypatch)
    assert all(clip["media"] for clip in whole["clips"]) and "and left out:" not in text
    full = (folder / "report.html").stat().st_size
    one = len(json.dumps(whole["clips"][0]["media"]))
    data, text = limited(folder, full - 2 * one, monkeypatch)
    left = sum(clip["media"] is None for clip in data["clips"])
    assert 2 <= left <= 3 and f"Those of {left} more were chosen and left out" in text
    assert f"Sound and frame of {len(HOSTILE) - left} of {len(HOSTILE)} clips are in this file" in text


def test_plans_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_folder(tmp_path, HOSTILE)
    main(["html", str(folder)])
    small = (folder / "report.html").stat().st_size
    ids = read_captions(folder)["clip_ids"]
    (folder / "explanations.json").write_text(json.dumps({each: {"nearest": [["x" * 9000, 0.5]]} for each in ids}))
    data, text = limited(folder, small + 4 * 9100 + 2500, monkeypatch)
    assert sum(bool(clip["details"]) for clip in data["clips"]) == 4 and all(clip["media"] for clip in data["clips"])
    assert f"How {len(ids) - 4} clips were captioned is left out" in text


def test_text_alone_may_be_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample of random, worst and best clips is what is listed then, in the order of the captions file."""
    folder = run_folder(tmp_path, [f"{'bell ' * 300}{number}" for number in range(60)])
    document = document_of(folder / "captions.csv", read_captions(folder), 60)
    data, text = limited(folder, 120_000, monkeypatch)
    listed = [clip["id"] for clip in data["clips"]]
    assert 5 < len(listed) < 40 and listed == sorted(listed)
    assert set(listed) == {document.clips[place].id for place in document.order[: len(listed)]}
    assert f"{60 - len(listed)} clips are not listed" in text
    assert all(document.clips[place].id in listed for place in document.order[:5])
    first = {document.clips[place].id for place in document.random}
    assert {listed[place] for place in data["random"]} == first & set(listed)


def test_a_page_without_clips_holds_its_scores(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HOSTILE)
    document = document_of(folder / "captions.csv", read_captions(folder), 0)
    assert budget.within_budget(replace(document, clips=[], random=[], order=[])).clips == []


def test_a_long_sound_becomes_one_that_browsers_play_at_its_own_length_and_pitch() -> None:
    """30 s of 44.1 kHz stereo, as Clotho has them: 1 kHz on one side, and nothing on the other."""
    rate, seconds = 44100, 30
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate * seconds) / rate)
    noise = np.random.default_rng(0).normal(size=len(tone)) * 0.01
    written = io.BytesIO()
    soundfile.write(written, np.stack([tone + noise, noise], axis=1), rate, format="WAV")
    frame = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(frame, "JPEG")
    media = as_media({"wav": written.getvalue(), "5.jpg": frame.getvalue()})
    assert media.audio is not None and media.seconds == seconds
    kind, _, data = media.audio.partition(";base64,")
    assert kind == "data:audio/mpeg" and len(media.audio) < 300_000 < len(written.getvalue()) / 10
    heard, found = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert found == RATE and len(heard) / RATE == pytest.approx(seconds, abs=0.1) and heard.ndim == 1
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() * found / len(heard) == pytest.approx(1000, abs=1)
    assert np.abs(heard[RATE : 2 * RATE]).max() == pytest.approx(0.25, abs=0.05)  # the mean of both sides


def test_a_short_sound_stays_as_it_is() -> None:
    written = io.BytesIO()
    soundfile.write(written, np.zeros(16000), 16000, format="FLAC")
    media = as_media({"flac": written.getvalue()})
    assert media.audio == "data:audio/flac;base64," + base64.b64encode(written.getvalue()).decode()
