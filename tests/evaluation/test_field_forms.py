"""One set of captions in every form of the field has the same scores."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from datamodules.clips import CaptionRows
from evaluation.__main__ import main
from evaluation.captions_file import read_captions, write_captions
from evaluation.scores_file import scores_path

FIVE = [f"caption_{number}" for number in range(1, 6)]


def table(path: Path, columns: list[str], rows: list[list[str]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def padded(texts: list[str]) -> list[str]:
    return [*texts, *[""] * (5 - len(texts))]


def clotho(folder: Path, rows: CaptionRows) -> Path:
    """Clotho's table of captions."""
    lines = [[f"{clip}.wav", *padded(texts)] for clip, texts in zip(rows["clip_ids"], rows["references"])]
    return table(folder / "clotho.csv", ["file_name", *FIVE], lines)


def project(folder: Path, rows: CaptionRows) -> list[Path]:
    write_captions(folder / "mine.csv", rows)
    return [folder / "mine.csv"]


def project_by_table(folder: Path, rows: CaptionRows) -> list[Path]:
    lines = [[clip, text] for clip, texts in zip(rows["clip_ids"], rows["references"]) for text in texts]
    bare = CaptionRows(**{**rows, "references": [[] for _ in rows["captions"]]})  # type: ignore[typeddict-item]
    write_captions(folder / "bare.csv", bare)
    return [folder / "bare.csv", table(folder / "references.csv", ["clip_id", "caption"], lines)]


def another_run(folder: Path, rows: CaptionRows) -> list[Path]:
    write_captions(folder / "other_run.csv", rows)
    return [dcase(folder, rows)[0], folder / "other_run.csv"]


def dcase(folder: Path, rows: CaptionRows) -> list[Path]:
    lines = [[f"{clip}.wav", text] for clip, text in zip(rows["clip_ids"], rows["captions"])]
    return [table(folder / "submission.csv", ["file_name", "caption_predicted"], lines), clotho(folder, rows)]


def audiocaps(folder: Path, rows: CaptionRows) -> list[Path]:
    """A YouTube id each, a row of each caption; the captions' file has starts in its names."""
    videos = [f"{clip:_<11}" for clip in rows["clip_ids"]]
    numbered = enumerate((video, text) for video, texts in zip(videos, rows["references"]) for text in texts)
    lines = [[str(number), video, "30", text] for number, (video, text) in numbered]
    said = [[f"Y{video}_30.wav", text] for video, text in zip(videos, rows["captions"])]
    return [
        table(folder / "said.csv", ["file_name", "caption_predicted"], said),
        table(folder / "audiocaps.csv", ["audiocap_id", "youtube_id", "start_time", "caption"], lines),
    ]


def aac_metrics(folder: Path, rows: CaptionRows) -> list[Path]:
    lines = [[text, *padded(texts)] for text, texts in zip(rows["captions"], rows["references"])]
    return [table(folder / "aac.csv", ["caption_predicted", *FIVE], lines)]


def coco(folder: Path, rows: CaptionRows) -> list[Path]:
    results = [{"image_id": number, "caption": text} for number, text in enumerate(rows["captions"])]
    pairs = [(number, text) for number, texts in enumerate(rows["references"]) for text in texts]
    annotations = [{"id": 7, "image_id": number, "caption": text} for number, text in pairs]
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "annotations.json").write_text(json.dumps({"info": {}, "images": [], "annotations": annotations}))
    return [folder / "results.json", folder / "annotations.json"]


def json_lines(folder: Path, rows: CaptionRows) -> list[Path]:
    names = ("clip_ids", "captions", "references")
    lines = [dict(zip(("clip_id", "caption", "references"), clip)) for clip in zip(*(rows[name] for name in names))]  # type: ignore[literal-required]
    (folder / "mine.jsonl").write_text("\ufeff" + "".join(json.dumps(line) + "\n" for line in lines))
    return [folder / "mine.jsonl"]


def earshot_caption(folder: Path, rows: CaptionRows) -> list[Path]:
    """What `earshot caption --output` writes of files in a folder."""
    lines = [
        [f"eval/{clip}.wav", "0.0", "10.0", text, "", "", ""] for clip, text in zip(rows["clip_ids"], rows["captions"])
    ]
    columns = ["file", "start", "end", "caption", "score", "cut", "error"]
    return [table(folder / "captioned.csv", columns, lines), clotho(folder, rows)]


def beside_the_truth(folder: Path, rows: CaptionRows) -> list[Path]:
    """A reference in `caption`, and what a model said in `caption_predicted`; the same columns in the references."""
    clips = list(zip(rows["clip_ids"], rows["captions"], rows["references"]))
    lines = [[clip, texts[0], text] for clip, text, texts in clips]
    pairs = [
        {"clip_id": clip, "caption": truth, "caption_predicted": text} for clip, text, texts in clips for truth in texts
    ]
    (folder / "references.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    return [
        table(folder / "both.csv", ["clip_id", "caption", "caption_predicted"], lines),
        folder / "references.jsonl",
    ]


FORMS = (
    beside_the_truth, earshot_caption, project, project_by_table, another_run, dcase, audiocaps, aac_metrics, coco,
    json_lines,
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_is_scored(
    form: Callable[[Path, CaptionRows], list[Path]], tmp_path: Path, by_hand: CaptionRows, recorded: dict
) -> None:
    path, *references = form(tmp_path, by_hand)
    main([str(path), "--no-java", *(["--references", str(references[0])] if references else [])])
    scores = json.loads(scores_path(path).read_text())
    for name in ("bleu_1", "bleu_4", "rouge_l", "cider_d"):
        assert scores[name] == pytest.approx(recorded["corpus"][name], rel=1e-9), name
    with open(scores_path(path).with_suffix(".csv"), newline="") as file:
        per_clip = [float(line["cider_d"]) for line in csv.DictReader(file)]
    assert per_clip == pytest.approx(recorded["per_clip"]["cider_d"], rel=1e-9, abs=1e-12)


def test_clips_that_only_one_side_has_are_named(
    tmp_path: Path, by_hand: CaptionRows, capsys: pytest.CaptureFixture[str]
) -> None:
    path, references = dcase(tmp_path, by_hand)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:1], *lines[3:], "stranger.wav,a dog"]) + "\n")
    main([str(path), "--no-java", "--references", str(references)])
    printed = " ".join(capsys.readouterr().out.split())
    assert f"no caption: 2 of the 12 clips in {references}, such as c01" in printed
    assert "not scored: 1 of 11 clips, which have no references: stranger" in printed
    assert json.loads(scores_path(path).read_text())["num_clips"] == 10


def test_a_table_of_other_clips_is_refused(
    tmp_path: Path, by_hand: CaptionRows, capsys: pytest.CaptureFixture[str]
) -> None:
    path, references = dcase(tmp_path, by_hand)
    references.write_text(references.read_text().replace("c0", "d0").replace("c1", "d1"))
    with pytest.raises(SystemExit) as stop:
        main([str(path), "--no-java", "--references", str(references)])
    assert stop.value.code == 2
    assert "clips are called 'c01', there 'd01'; name the table of this split" in capsys.readouterr().err


def test_a_submission_is_what_dcase_takes_and_can_be_scored(
    tmp_path: Path, by_hand: CaptionRows, recorded: dict
) -> None:
    (path,) = project(tmp_path, by_hand)
    submission = tmp_path / "out" / "submission.csv"
    main([str(path), "--no-java", "--submission", str(submission)])
    with open(submission, newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["file_name", "caption_predicted"]
    assert lines[1:] == [[f"{clip}.wav", text] for clip, text in zip(by_hand["clip_ids"], by_hand["captions"])]
    assert read_captions(submission, clotho(tmp_path, by_hand))["references"] == by_hand["references"]


def test_two_captions_of_a_clip_are_refused(
    tmp_path: Path, by_hand: CaptionRows, capsys: pytest.CaptureFixture[str]
) -> None:
    path, references = audiocaps(tmp_path, by_hand)
    path.write_text(path.read_text() + "c01________.wav,a dog\n")
    with pytest.raises(SystemExit):
        main([str(path), "--no-java", "--references", str(references)])
    assert "found several of 'Yc01________'" in capsys.readouterr().err
