"""python -m evaluation on the hand-made file."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from datamodules.clips import CaptionRows
from evaluation import java_files
from evaluation.__main__ import main
from evaluation.captions_file import clips_of, read_captions, rows_of, write_captions
from evaluation.tokens import words

BY_HAND = Path(__file__).parents[1] / "captions_by_hand.csv"


def test_scores_a_file(tmp_path: Path, recorded: dict, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.csv"
    shutil.copy(BY_HAND, path)
    main([str(path), "--no-java"])
    scores = json.loads((tmp_path / "mine.scores.json").read_text())
    assert scores["cider_d"] == pytest.approx(recorded["corpus"]["cider_d"])
    assert scores["not_computed"].keys() == {"meteor", "spice", "spider"}
    assert "precision" not in scores
    assert path.read_bytes() == BY_HAND.read_bytes()
    assert "CIDEr-D" in capsys.readouterr().out


def test_names_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by the marks of rich, the library that prints the table, nor by control characters."""
    path = tmp_path / "[" / "x] [bold]y.csv"
    path.parent.mkdir()
    path.write_text(BY_HAND.read_text(encoding="utf-8") + "\x1b[2Jnew,rain falls,[],[]\n", encoding="utf-8")
    main([str(path), "--no-java"])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "[2Jnew" in shown
    assert "[/x] [bold]y.csv" in shown.partition("metric")[0].replace("\n", " ")


def test_clips_without_references_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_captions(BY_HAND)
    references = [group if number % 3 else ["", " "][number % 2 :] for number, group in enumerate(rows["references"])]
    write_captions(tmp_path / "some.csv", CaptionRows(**{**rows, "references": references}))  # type: ignore[typeddict-item]
    kept = [clip for number, clip in enumerate(clips_of(rows)) if number % 3]
    (tmp_path / "alone").mkdir()
    write_captions(tmp_path / "alone" / "kept.csv", rows_of(kept))
    for path in ("some.csv", "alone/kept.csv"):
        main([str(tmp_path / path), "--no-java"])
    some, alone = (json.loads((tmp_path / f"{name}.scores.json").read_text()) for name in ("some", "alone/kept"))
    assert some | {"num_without_references": 0} == alone | {key: some[key] for key in ("made_by", "captions_digest")}
    assert (some["num_clips"], some["num_without_references"]) == (8, 4)
    assert capsys.readouterr().out.count("not scored: 4 of 12 clips, which have no references: c01, c04, c07") == 1


def test_blank_references_do_not_count(tmp_path: Path, recorded: dict) -> None:
    rows = read_captions(BY_HAND)
    blank = [[" ", *group, ""] for group in rows["references"]]
    mine: CaptionRows = {**rows, "references": blank}
    write_captions(tmp_path / "mine.csv", mine)
    main([str(tmp_path / "mine.csv"), "--no-java"])
    scores = scores_of(tmp_path / "mine.scores.json")
    for name in ("bleu_4", "cider_d"):
        assert scores[name] == pytest.approx(recorded["corpus"][name], rel=1e-9), name


def test_no_reference_at_all_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bare.csv").write_text("clip_id,caption,references\na,rain,[]\nb,wind,[]\n")
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "bare.csv"), "--no-java"])
    assert stop.value.code == 2
    assert "found none for 2 clips such as 'a'" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["mine.csv", "mine.scores.csv", "table.csv"])
def test_a_submission_replaces_nothing_that_is_read(
    output: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine.csv", "table.csv"):
        shutil.copy(BY_HAND, name)
    with pytest.raises(SystemExit) as stop:
        main(["mine.csv", "--references", "table.csv", "--submission", output, "--no-java"])
    assert stop.value.code == 2 and f"found {output}, which is read; name another" in capsys.readouterr().err
    assert not Path("mine.scores.csv").exists()
    assert Path("mine.csv").read_bytes() == Path("table.csv").read_bytes() == BY_HAND.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], "found none; name one"),
        (["nowhere.csv"], "captions file at nowhere.csv"),
        ([str(BY_HAND), "--vocabulary", "nowhere.json"], "vocabulary at nowhere.json"),
    ],
)
def test_wrong_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], found: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--no-java"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert found in error
    assert error.count("\n") == 1


def scores_of(path: Path) -> dict:
    return json.loads(path.read_text())


def test_two_files_in_a_folder_have_scores_of_their_own(tmp_path: Path) -> None:
    """The second file got the first one's precision and recall."""
    vocabulary = tmp_path / "words.json"
    vocabulary.write_text('{"events": {"bell": {"nouns": ["bell"], "verbs": ["rings"]}}, "visual_words": ["red"]}')
    for name in ("a.csv", "b.csv", "captions.csv"):
        shutil.copy(BY_HAND, tmp_path / name)
    main([str(tmp_path / "a.csv"), "--no-java", "--vocabulary", str(vocabulary)])
    for name in ("b.csv", "captions.csv"):
        main([str(tmp_path / name), "--no-java"])
    assert "precision" in scores_of(tmp_path / "a.scores.json")
    assert "precision" not in scores_of(tmp_path / "b.scores.json")
    assert "precision" not in scores_of(tmp_path / "scores.json")
    main([str(tmp_path / "a.csv"), "--no-java"])  # of the same captions, what another command measured stays
    assert "precision" in scores_of(tmp_path / "a.scores.json")
    assert "precision" in (tmp_path / "a.scores.csv").read_text().splitlines()[0]
    write_captions(tmp_path / "a.csv", rows_of(clips_of(read_captions(BY_HAND))[1:]))
    main([str(tmp_path / "a.csv"), "--no-java"])  # of others, it does not
    assert "precision" not in scores_of(tmp_path / "a.scores.json")
    assert "precision" not in (tmp_path / "a.scores.csv").read_text().splitlines()[0]


def test_every_clip_has_its_scores_and_the_corpus_intervals(tmp_path: Path, recorded: dict) -> None:
    shutil.copy(BY_HAND, tmp_path / "captions.csv")
    main([str(tmp_path), "--no-java"])
    with open(tmp_path / "scores.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["clip_id"] for line in lines] == read_captions(BY_HAND)["clip_ids"]
    for name in ("cider_d", "rouge_l"):
        assert [float(line[name]) for line in lines] == pytest.approx(recorded["per_clip"][name], rel=1e-9, abs=1e-12)
    assert "vocabulary" not in lines[0] and "meteor" not in lines[0]
    scores = scores_of(tmp_path / "scores.json")
    low, high = scores["intervals"]["cider_d"]
    assert low < scores["cider_d"] < high
    assert "vocabulary" not in scores["intervals"]  # fewer clips have fewer words
    captions = read_captions(BY_HAND)["captions"]
    assert scores["vocabulary"] == len({word for caption in captions for word in words(caption)})


HEAD = b"clip_id,caption,references\n"
GOOD = HEAD + b'a,a dog barks,"[""a dog""]"\n'
BROKEN = {  # a name, what is in the file, and what the line says of it
    "empty.csv": (b"", "no row"),
    "header.csv": (HEAD, "no row"),
    "no_caption.csv": (b"clip_id,text_of_it,references\na,b,[]\n", "no caption among clip_id, text_of_it, references"),
    "no_id.csv": (b"caption,references\na,[]\n", "no clip_id among caption, references"),
    "no_references.csv": (b"file_name,caption_predicted\na.wav,b\n", "--references TABLE"),
    "all_bare.csv": (HEAD + b"a,b,[]\n", "found none for 1 clips such as 'a'"),
    "twice.csv": (GOOD + b"a,b,[]\n", "1 rows that repeat a clip"),
    "bare_list.csv": (HEAD + b"a,b,a dog barks\n", "found 'a dog barks'"),
    "object.csv": (HEAD + b'a,b,"{""c"": 1}"\n', "JSON list"),
    "numbers.csv": (HEAD + b"a,b,[1]\n", "JSON list"),
    "deep.csv": (HEAD + b"a,b," + b"[" * 90_000 + b"\n", "JSON list"),
    "half.csv": (HEAD + b'a,b,"[""\\ud83d""]"\n', "half of one"),
    "long_cell.csv": (HEAD + b"a," + b"b" * 131_073 + b",[]\n", "larger than field limit"),
    "open_quote.csv": (HEAD + b'a,"b,[]\n' * 3, "row from line 2 of"),
    "more_cells.csv": (HEAD + b"a,b,[],c,d\n", "more"),
    "fewer_cells.csv": (GOOD + b"b\n", "fewer"),
    "unnamed.csv": (HEAD + b",b,[]\n", "found ''"),
    "two_captions.csv": (b"clip_id,prediction,text,references\na,b,c,[]\n", "found prediction and text"),
    "truth_beside.csv": (b"clip_id,caption,prediction,references\na,b,c,[]\n", "found caption and prediction"),
    "two_references.csv": (b"clip_id,caption,references,References\na,b,[],[]\n", "every column once"),
    "utf16.csv": ("clip_id,caption".encode("utf-16-le"), "another encoding"),
    "cyrillic.csv": (HEAD + "a,пёс лает,[]".encode("cp1251"), "another encoding"),
    "excel.csv": (b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00\xff\xfe", "another encoding"),
    "two_separators.csv": (b"clip_id;caption,references\na;b;c,d,[]\n", "one separator"),
    "nul.csv": (HEAD + b"a,b\0,[]\n", "another encoding"),
    "cut.json": (b'[{"image_id": 1, "caption": "a dog"', "found: Expecting"),
    "latin.json": ('[{"image_id": 1, "caption": "caf\xe9"}]'.encode("latin-1"), "can't decode"),
    "object.json": (b'{"caption": "a dog"}', "found other values"),
    "none.json": (b"[]", "found none"),
    "deep.json": (b"[" * 100_000, "recursion"),
    "mixed.json": (b'[{"image_id": 1, "caption": "a"}, 3]', "other values"),
    "half.json": (b'[{"clip_id": "a", "caption": "\\ud83d dog", "references": ["a"]}]', "half of one"),
    "half_id.json": (b'[{"clip_id": "\\ud83d", "caption": "a", "references": ["a"]}]', "half of one"),
    "number.json": (b'[{"clip_id": "a", "caption": 7, "references": ["a"]}]', "found '7'"),
    "without.json": (b'[{"clip_id": "a", "caption": "b", "references": []}, {"clip_id": "b"}]', "found 'None'"),
    "list_id.json": (b'[{"clip_id": ["a"], "caption": "b", "references": ["a"]}]', "found ['a']"),
    "cut.jsonl": (b'{"clip_id": "a", "caption": "b", "references": ["c"]}\n{"clip_id": "b', "found: Unterminated"),
    "blank.jsonl": (b"\n\n", "found none"),
    "coco.json": (b'[{"image_id": 1, "caption": "a dog"}]', "--references TABLE"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    data, found = BROKEN[name]
    (tmp_path / name).write_bytes(data)
    refuses([str(tmp_path / name), "--no-java"], found, capsys)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def refuses(arguments: list[str], found: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("error: expected ") and error.count("\n") == 1 and len(error) < 700
    assert found in error


@pytest.mark.parametrize("text", ['{"cider_d": 1.2, "spi', "[1]", "[" * 100_000, "\xe9"])
def test_scores_that_cannot_be_added_to_are_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "captions.csv").write_bytes(GOOD)
    (tmp_path / "scores.json").write_text(text, encoding="latin-1")
    refuses([str(tmp_path), "--no-java"], "expected a JSON object of scores", capsys)
    assert (tmp_path / "scores.json").read_text(encoding="latin-1") == text


@pytest.mark.parametrize(
    "data", [b"clip_id,cider_d\na,high\n", b"clip,cider_d\na,1\n", b"clip_id,cider_d\na,1,2\n", b"\xff"]
)
def test_scores_of_clips_that_cannot_be_added_to_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    shutil.copy(BY_HAND, tmp_path / "mine.csv")
    main([str(tmp_path / "mine.csv"), "--no-java"])
    capsys.readouterr()
    (tmp_path / "mine.scores.csv").write_bytes(data)
    refuses([str(tmp_path / "mine.csv"), "--no-java"], "expected the scores of clips in", capsys)


def test_a_path_that_cannot_be_one_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.csv").write_bytes(GOOD)
    refuses(["a" * 300 + ".csv", "--no-java"], "File name too long", capsys)
    refuses([str(tmp_path / "mine.csv"), "--no-java", "--submission", str(tmp_path)], "found: Is a directory", capsys)
    below = str(tmp_path / "mine.csv" / "below.csv")
    refuses([str(tmp_path / "mine.csv"), "--no-java", "--submission", below], "mine.csv", capsys)


def test_fetch_reports_what_it_did(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(java_files, "fetch", lambda: ["a.jar", "b.jar"])
    main(["--fetch"])
    assert "2 files fetched" in capsys.readouterr().out


def test_fetch_without_room_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> list[str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(java_files, "fetch", full)
    with pytest.raises(SystemExit) as stop:
        main(["--fetch"])
    assert stop.value.code == 2
    assert "No space left" in capsys.readouterr().err
