"""Sentences out of a language model: distinct, balanced, and the same after a kill."""

import json
from pathlib import Path

import pytest
from conftest import MINIATURE

from datamodules.prepare.__main__ import main
from datamodules.prepare.audibility import SentenceWriter, sentences_of
from earshot.errors import InputError

ANSWERS = {
    "audible": "1. A bell rings loudly.\n2) a dog barks",
    "inaudible": '- The rock is red.\n* "A red bell here."',
}


@pytest.fixture()
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SentenceWriter:
    """Says two of its answers every time, one of them new, and one sentence of both kinds."""
    made = SentenceWriter.__new__(SentenceWriter)
    made.output, made.count, made.seed, made.made_by = tmp_path / "out", 5, 0, {"model": "a", "seed": 0}
    made.batch = lambda kind, n: [f"{kind} sentence {n}", f"{kind} sentence 0", "said of both"]  # type: ignore
    return made


def read(folder: Path) -> list[list[str]]:
    return [(folder / f"{kind}.txt").read_text().splitlines() for kind in ("audible", "inaudible")]


def test_distinct_and_balanced(writer: SentenceWriter) -> None:
    writer.write()
    assert read(writer.output) == [[f"{kind} sentence {n}" for n in range(5)] for kind in ("audible", "inaudible")]


def test_a_killed_run_goes_on_where_it_was(writer: SentenceWriter) -> None:
    asked: list[tuple[str, int]] = []
    answer = writer.batch

    def dies(kind: str, number: int) -> list[str]:
        if len(asked) == 6:
            raise KeyboardInterrupt
        asked.append((kind, number))
        return answer(kind, number)

    writer.batch = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        writer.write()
    assert not (writer.output / "audible.txt").exists()
    with open(writer.output / "audible.generated.jsonl", "a") as file:
        file.write('["cut by the k')
    writer.batch = lambda kind, number: (asked.append((kind, number)), answer(kind, number))[1]  # type: ignore
    writer.write()
    assert len(set(asked)) == len(asked) == 10
    lines = (writer.output / "audible.generated.jsonl").read_text().splitlines()
    assert [json.loads(line)[0] for line in lines] == read(writer.output)[0]


def test_what_two_models_say_is_not_mixed(writer: SentenceWriter) -> None:
    writer.write()
    first = read(writer.output)
    writer.write()  # the same command again asks for nothing
    assert read(writer.output) == first
    writer.made_by = {"model": "b", "seed": 0}
    with pytest.raises(InputError, match="expected sentences made with the same model in"):
        writer.write()


def test_a_model_that_repeats_itself_is_told(writer: SentenceWriter) -> None:
    writer.batch = lambda kind, number: ["the same again"]  # type: ignore[method-assign]
    with pytest.raises(InputError, match="expected 5 sentences of each kind, found 1 different ones"):
        writer.write()


def test_sentences_of_an_answer() -> None:
    assert sentences_of(ANSWERS["audible"]) == ["A bell rings loudly.", "a dog barks"]
    assert sentences_of(ANSWERS["inaudible"]) == ["The rock is red.", "A red bell here."]
    assert sentences_of("Audible sentences are these:\n\nok\n") == []


def test_the_command_with_the_miniatures_language_model(tmp_path: Path) -> None:
    main([
        "audibility", "--model", str(MINIATURE / "gpt2"), "--output", str(tmp_path), "--count", "3",
        "--batch-size", "4",
    ])  # fmt: skip
    audible, inaudible = read(tmp_path)
    assert len(audible) == len(inaudible) == 3 and not set(audible) & set(inaudible)


def test_an_answer_ends_where_the_model_ends(tmp_path: Path) -> None:
    """Prompt and answer together fill the miniature's 64 positions and no more, however long an answer is wanted."""
    made = SentenceWriter(str(MINIATURE / "gpt2"), tmp_path, 1, batch_size=1, max_new_tokens=500)
    assert made.ask("audible").shape == (1, 32)
    lengths = []
    generate = made.model.generate
    made.model.generate = lambda *args, **more: lengths.append(more["max_new_tokens"]) or generate(*args, **more)
    for number in range(20):
        made.batch("audible", number)
    assert set(lengths) == {32}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--count", "0"), "--count, --batch-size and --max-new-tokens of at least 1"),
        (("--batch-size", "0"), "--count, --batch-size and --max-new-tokens of at least 1"),
        (("--output", "a_file"), "expected a folder to write to"),
        (("--output", "half"), "expected a folder to write to"),
    ],
)
def test_bad_input_is_told(
    more: tuple[str, str], told: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a_file").touch()
    Path("half").mkdir()
    Path("half/generated_by.json").write_text('{"model": ')
    with pytest.raises(SystemExit) as ended:
        main(["audibility", "--model", str(MINIATURE / "gpt2"), "--output", "out", *more])
    assert ended.value.code == 2 and told in capsys.readouterr().err


def test_no_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["audibility", "--model", str(tmp_path / "none"), "--output", str(tmp_path)])
    assert ended.value.code == 2 and "expected a causal language model" in capsys.readouterr().err
