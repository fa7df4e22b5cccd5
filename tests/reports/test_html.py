"""The page of a test: what stands in it, what it refuses, and that nothing of the data is read as HTML."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scored_run import HOSTILE, data_of, run_folder

from datamodules.clips import CaptionRows
from evaluation.captions_file import FILE_NAME, read_captions, write_captions
from reports.__main__ import main
from reports.clip_pages.sample import RANDOM, chosen, drawn
from reports.clip_pages.spectrogram import HEIGHT, log_mel


def test_the_page_holds_captions_scores_and_media(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folder(tmp_path, HOSTILE)
    main(["html", str(folder.parent), "--clips", "3"])
    page = folder / "report.html"
    assert capsys.readouterr().out.strip() == str(page)
    data = data_of(page)
    assert [clip["captions"][0] for clip in data["clips"]] == HOSTILE
    assert data["frame_note"] == "for the eye only: the captioner did not see it"
    cider = [column["key"] for column in data["columns"]].index("cider_d")
    per_clip = {line.split(",")[0]: line.split(",")[6] for line in (folder / "scores.csv").read_text().splitlines()[1:]}
    for clip in data["clips"]:
        assert clip["scores"][cider] == pytest.approx(float(per_clip[clip["id"]]), abs=1e-4)
    with_media = [clip["media"] for clip in data["clips"] if clip["media"]]
    assert len(with_media) == 3
    sound = base64.b64decode(with_media[0]["audio"].partition("base64,")[2])
    assert soundfile.info(io.BytesIO(sound)).duration == pytest.approx(1) == pytest.approx(with_media[0]["seconds"])
    assert with_media[0]["frame"].startswith("data:image/jpeg;base64,")


def test_captions_files_of_one_folder_have_pages_of_their_own(tmp_path: Path) -> None:
    run = run_folder(tmp_path, HOSTILE)
    for name in ("one", "two"):
        for file in ("captions.csv", "scores.json", "scores.csv"):
            (tmp_path / f"{name}.{file}".replace("captions.", "")).write_bytes((run / file).read_bytes())
        main(["html", str(tmp_path / f"{name}.csv")])
    assert {path.name for path in tmp_path.glob("*.html")} == {"one.report.html", "two.report.html"}


def test_nothing_of_the_data_is_read_as_html(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HOSTILE)
    main(["html", str(folder)])
    text = (folder / "report.html").read_text()
    assert "<img src=x" not in text and "--x '<b>'" not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert "\u2028" not in text and "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text and "default-src 'none'" in text


def test_captions_that_look_like_formulas_or_markup_stay_as_they_are_in_the_csv(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HOSTILE)
    assert read_captions(folder)["captions"] == HOSTILE


def test_lost_shards_cost_only_the_sound(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HOSTILE)
    (tmp_path / "data").rename(tmp_path / "moved")
    main(["html", str(folder)])
    assert "There is no sound or image on this page: expected packed shards" in (folder / "report.html").read_text()
    main(["html", str(folder), "--data", str(tmp_path / "moved" / "corpus" / "test")])
    assert all(clip["media"] for clip in data_of(folder / "report.html")["clips"])


def test_without_scores_one_line_says_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folder(tmp_path, HOSTILE)
    (folder / "scores.json").unlink()
    with pytest.raises(SystemExit) as stop:
        main(["html", str(folder)])
    assert stop.value.code == 2 and "run: earshot score" in capsys.readouterr().err


def test_scores_of_other_captions_are_not_shown_as_those_of_these(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, HOSTILE)
    main(["html", str(folder)])
    assert "of other captions" not in (folder / "report.html").read_text()
    captions = folder / FILE_NAME
    captions.write_text(captions.read_text().replace("bell", "dog"))
    main(["html", str(folder)])
    assert "of other captions than these" in (folder / "report.html").read_text()
    assert not data_of(folder / "report.html")["columns"]


def test_the_sample_has_random_worst_and_best_clips() -> None:
    scores = [float(number) for number in range(100)]
    found = chosen(scores, 60)
    assert len(set(found)) == 60 and set(drawn(100)) <= set(found)
    assert found[1] == 0 and found[2] == 99
    assert {1, 2, 3, 98, 97, 96} <= set(found)
    assert sorted(chosen([None, 1.0, 2.0], 60)) == [0, 1, 2] and len(drawn(7)) == 7 and len(drawn(99)) == RANDOM


def test_a_tone_is_drawn_at_its_frequency() -> None:
    rate = 16000
    for frequency in (300, 1000, 4000):
        decibels, top = log_mel(np.sin(2 * np.pi * frequency * np.arange(rate) / rate), rate)
        middle = 700 * np.expm1((1 + decibels[:, 5].argmax()) * np.log1p(top / 700) / (HEIGHT + 1))
        assert top == 8000 and middle == pytest.approx(frequency, rel=0.06)
    assert log_mel(np.zeros(10), 8000)[0].shape[0] == HEIGHT  # shorter than a window


def test_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_folder(tmp_path / "a", [*HOSTILE, "a dog barks"])
    second = run_folder(tmp_path / "b", ["a bell rings"] * 9)
    rows = read_captions(first)
    write_captions(second / FILE_NAME, CaptionRows(**{**rows, "captions": ["a bell rings"] * 9}))  # type: ignore[typeddict-item]
    output = tmp_path / "out" / "two.md"
    main(["compare", str(first), f"second={second}", "--html", "--no-java", "--output", str(output)])
    assert f"page: {output.with_suffix('.html')}" in capsys.readouterr().out
    data = data_of(output.with_suffix(".html"))
    assert data["systems"] == ["dali_ot_seed1", "second"]
    titles = [column["title"] for column in data["columns"]]
    difference, one, other = (
        titles.index(f"CIDEr-D: {name}") for name in ("second minus dali_ot_seed1", "dali_ot_seed1", "second")
    )
    for clip in data["clips"]:
        scores = clip["scores"]
        assert scores[difference] == pytest.approx(scores[other] - scores[one], abs=2e-4)
    assert data["clips"][2]["captions"] == ["=cmd()", "a bell rings"] and data["clips"][0]["media"]
