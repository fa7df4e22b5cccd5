"""The rows of `compare`, and their differences."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.clips import CaptionRows
from datamodules.shards import write_shards
from evaluation.captions_file import Clip, clips_of, read_captions, write_captions
from evaluation.captions_file import rows_of as rows_of_clips
from evaluation.scores_file import write_scores
from reports.__main__ import main
from tests.reports.compared_runs import SOUNDS, read, rows_of, run_report


def test_the_order_of_references_changes_no_score(runs: Path) -> None:
    table = run_report(runs)
    rows = read_captions(runs / "good")
    rows["references"] = [group[::-1] for group in rows["references"]]
    write_captions(runs / "good" / "captions.csv", rows)
    assert run_report(runs) == table


def test_the_table(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vocabulary = ["--vocabulary", str(runs / "vocabulary.json")]
    table = run_report(
        runs,
        *vocabulary,
        "--against",
        "good",
        "--shuffle",
        "good",
        "--constant-from",
        str(runs / "train.csv"),
    )
    assert list(table) == ["good", "half", "bad", "best constant", "random caption", "good, shuffled"]
    assert all(line["N"] == "40" for line in table.values())
    assert float(table["good"]["verb_recall"]) == 1
    assert float(table["half"]["verb_recall"]) == 0.5
    assert float(table["half"]["visual_share"]) == 0.5
    assert float(table["half"]["verb_recall_difference"]) == -0.5
    low, high = (float(table["half"][f"verb_recall_difference_{end}"]) for end in ("low", "high"))
    assert low < -0.5 < high < 0
    # A guess names the right one of four in a quarter of the clips; a derangement of 40 leaves 9 of 39 alike.
    assert float(table["good, shuffled"]["verb_recall"]) == pytest.approx(9 / 39, abs=0.03)
    # The caption that is best on train is the commonest there; in the test it is right in a quarter.
    assert float(table["best constant"]["verb_recall"]) == 0.25
    markdown = (runs / "out" / "table.md").read_text()
    assert "'a dog barks'" in markdown or "'a dog barks loudly'" in markdown
    assert "document frequencies" in markdown
    assert "METEOR, SPICE, SPIDEr not computed" in markdown
    assert "| half | 40 | 1 |" in markdown
    assert "verb recall minus good's" in markdown
    assert "1.000" in capsys.readouterr().out


def test_the_seed_decides(runs: Path) -> None:
    first = run_report(runs, "--shuffle", "half", "--seed", "3")
    again = run_report(runs, "--shuffle", "half", "--seed", "3")
    other = run_report(runs, "--shuffle", "half", "--seed", "4")
    assert first == again
    assert first["half, shuffled"] != other["half, shuffled"]
    assert first["half"]["cider_d_low"] != other["half"]["cider_d_low"]


def test_what_never_varies_has_an_interval_of_no_width(runs: Path) -> None:
    table = run_report(runs)
    assert float(table["bad"]["cider_d_low"]) == float(table["bad"]["cider_d_high"]) == 0


def test_clips_without_references_count_in_no_row(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is that of runs which never had them."""
    for name in ("good", "half", "bad"):
        clips = clips_of(read_captions(runs / name))
        write_captions(runs / name / "captions.csv", rows_of_clips(clips[10:]))
    alone = run_report(runs, "--against", "half")
    for name in ("good", "half", "bad"):
        clips = clips_of(read_captions(runs / name))
        bare = [Clip(f"bare-{number}", "a dog barks", [], ["dog"]) for number in range(5)]
        write_captions(runs / name / "captions.csv", rows_of_clips(bare + clips))
    capsys.readouterr()
    assert run_report(runs, "--against", "half") == alone
    assert alone["good"]["N"] == "30"
    line = "not scored: 5 of 35 clips, which have no references: bare-0, bare-1, bare-2 and 2 more"
    assert capsys.readouterr().out.count(line) == 1
    rows = [f"{name}={runs / name}" for name in ("good", "half")]
    main(["examples", *rows, "--number", "2", "--output", str(runs / "examples.md")])
    assert "clips: 2 of N = 30" in (runs / "examples.md").read_text()


def test_other_order_of_clips_is_the_same_run(runs: Path) -> None:
    expected = run_report(runs)["half"]
    events = [list(SOUNDS)[index % 4] for index in range(40)]
    half = rows_of(events, [SOUNDS[event] if index < 20 else "a red thing" for index, event in enumerate(events)])
    turned = CaptionRows(**{key: column[::-1] for key, column in half.items()})  # type: ignore[typeddict-item]
    write_captions(runs / "half" / "captions.csv", turned)
    assert run_report(runs)["half"] == expected


def test_several_trainings_are_one_row(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trainings that name all verbs and half of them (the first 20 clips'), and what their fits logged."""
    for name, gaps in (("good", "0.5\n0.1"), ("half", "0.7\n0.3")):
        (runs / name / "test-1").mkdir()
        (runs / name / "captions.csv").rename(runs / name / "test-1" / "captions.csv")
        (runs / name / "test-1" / "scores.json").write_text("{}")
        (runs / name / "fit-1").mkdir()
        (runs / name / "fit-1" / "metrics.csv").write_text(f"val/gap\n{gaps}\n")
    arguments = [f"method={runs / 'good'},{runs / 'half' / 'test-1'}", f"bad={runs / 'bad'}", "--against", "method"]
    arguments += ["--logged", "val/gap=gap after", "--shuffle", "method"]
    arguments += ["--vocabulary", str(runs / "vocabulary.json"), "--samples", "300", "--no-java"]
    main(["compare", *arguments, "--output", str(runs / "table.md")])
    table = read(runs / "table.csv")
    assert list(table) == ["method", "bad", "method, shuffled"]
    assert [line["trainings"] for line in table.values()] == ["2", "1", ""]
    method = table["method"]
    assert float(method["verb_recall"]) == 0.75
    # Half the samples have one training only; 2.5% is the lower end of samples with the worse one twice, below 0.5.
    assert float(method["verb_recall_low"]) < 0.5
    assert float(method["verb_recall_high"]) == 1
    assert (method["verb_recall_trainings_lowest"], method["verb_recall_trainings_highest"]) == ("0.5", "1.0")
    assert float(table["bad"]["verb_recall_difference"]) == -0.75
    assert float(method["val/gap"]) == pytest.approx(0.2)
    assert table["bad"]["val/gap"] == table["method, shuffled"]["val/gap"] == ""
    # Half of the permutations are of the training that names a verb in half of its captions.
    assert float(table["method, shuffled"]["verb_recall"]) == pytest.approx(0.75 * 9 / 39, abs=0.03)
    assert float(table["method, shuffled"]["verb_recall_high"]) < 0.5
    markdown = (runs / "table.md").read_text()
    assert "over clips and, in rows of several training runs, over these too" in markdown
    assert "gap after: the last val/gap that the newest fit or validate" in markdown
    assert "| 0.200 (0.100 to 0.300) |" in markdown
    assert "gap after" in capsys.readouterr().out


def test_constant_caption_from_a_split_folder(runs: Path) -> None:
    clips = [(f"train.{n}", {}, {"captions": ["a cow moos"], "labels": ["cow"]}) for n in range(3)]
    clips.append(("train.9", {}, {"captions": ["a dog barks"], "labels": ["dog"]}))
    write_shards(runs / "audiocaps" / "train", clips)
    run_report(runs, "--constant-from", str(runs / "audiocaps" / "train"))
    markdown = (runs / "out" / "table.md").read_text()
    assert "'a cow moos' for every clip, the caption with the highest CIDEr-D on 4 other clips" in markdown


def test_constant_caption_from_a_table_of_captions(runs: Path) -> None:
    (runs / "val.csv").write_text(
        "file_name,caption_1,caption_2\nYx.wav,a dog barks,the dog\nYy.wav,a dog barks,dogs\n"
    )
    found = run_report(runs, "--constant-from", str(runs / "val.csv"))
    assert "the caption with the highest CIDEr-D on 2 other clips" in (runs / "out" / "table.md").read_text()
    assert float(found["best constant"]["rouge_l"]) < float(found["good"]["rouge_l"])


def test_the_papers_numbers_and_rows(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """WSAC's text gives one number of each corpus; the supervised rows are the paper's alone."""
    output = runs / "out" / "table.md"
    main(["compare", f"PD={runs / 'good'}", "--no-java", "--published", "wsac", "clotho", "--output", str(output)])
    lines = output.read_text().splitlines()
    assert lines[0].endswith("| SPIDEr, paper | share of the best supervised SPIDEr, paper |")
    assert lines[2].startswith("| PD | 40 |") and lines[2].endswith("| n/a | 0.80 |")
    assert "| Kim et al., supervised | - | - | - | - | - | n/a | n/a |" in lines
    assert set(read(output.with_suffix(".csv"))) > {"PD", "NND", "Koh et al., supervised"}
    with pytest.raises(SystemExit):
        main(["compare", f"PD={runs / 'good'}", "--published", "wsac", "audioset"])
    assert "expected a paper and a corpus of papers.csv" in capsys.readouterr().err


def test_spider_as_a_share_of_a_row(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPICE made up: each caption's share of the first reference's words, so that SPIDEr is known by hand."""
    from evaluation import caption_metrics

    def spice(captions: list[str], references: list[list[str]], work_folder: Path, clip_ids: object) -> np.ndarray:
        return np.array([float(caption == group[0]) for caption, group in zip(captions, references)])

    monkeypatch.setattr(caption_metrics, "spice", spice)
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(runs / "no Java files"))
    rows = [f"{name}={runs / name}" for name in ("good", "half", "bad")]
    main(["compare", *rows, "--of", "good", "--samples", "300", "--output", str(runs / "table.md")])
    table = read(runs / "table.csv")
    assert table["good"]["spider_share"] == ""
    for row in ("half", "bad"):
        expected = float(table[row]["spider"]) / float(table["good"]["spider"])
        assert float(table[row]["spider_share"]) == pytest.approx(expected)
    # The captions of 20 of 40 clips are right; a resampled corpus has 20 give or take 2 * sqrt(10) of these clips.
    assert float(table["half"]["spider_share"]) == pytest.approx(0.5, abs=0.01)
    assert 0.3 < float(table["half"]["spider_share_low"]) < 0.4 < 0.6 < float(table["half"]["spider_share_high"]) < 0.7
    assert "share of good's SPIDEr" in (runs / "table.md").read_text()


def test_a_share_of_spider_that_was_not_computed(runs: Path) -> None:
    assert "spider_share" not in run_report(runs, "--of", "good")["half"]
    assert "SPIDEr not computed" in (runs / "out" / "table.md").read_text()


def test_what_models_scored_is_read_with_intervals(runs: Path) -> None:
    """Scores of each clip from when the run was scored; not those of captions that have changed since."""
    rng = np.random.default_rng(0)
    fense = {}
    for name in ("good", "half", "bad"):
        path = runs / name / "captions.csv"
        rows = read_captions(path)
        fense[name] = dict(zip(rows["clip_ids"], rng.random(40).tolist()))
        write_scores(path, rows, {"fense": 0.5, "clap_sim": 0.5}, {"fense": fense[name], "clap_sim": fense[name]})
    write_scores(runs / "bad" / "captions.csv", rows, {"clap_sim": None}, {})
    table = run_report(runs, "--constant-from", str(runs / "train.csv"))
    for name, scores in fense.items():
        value, low, high = (float(table[name][f"fense{end}"]) for end in ("", "_low", "_high"))
        assert value == pytest.approx(np.mean(list(scores.values())))
        assert low < value < high
    assert table["best constant"]["fense"] in ("", "nan")
    assert "clap_sim" not in table["good"]
    page = (runs / "out" / "table.md").read_text()
    assert f"CLAP similarity: left out, as {runs / 'bad' / 'captions.csv'} was not scored by it" in page
    write_captions(runs / "half" / "captions.csv", read_captions(runs / "good" / "captions.csv"))
    assert "fense" not in run_report(runs)["good"]
