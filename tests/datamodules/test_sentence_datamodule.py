"""Sentences are read, each once, and split without overlap."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from datamodules.sentence_datamodule import SentenceDataModule, distinct, read_lines, split
from earshot.errors import InputError

FILES = {"inaudible": "notAudible.txt", "audible": "audible.txt"}


def data(folder: Path, **more: object) -> SentenceDataModule:
    module = SentenceDataModule(str(folder), **({"files": FILES, "split_seed": 0} | more))
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        is_global_zero=True, global_rank=0, world_size=1, accumulate_grad_batches=1
    )  # type: ignore[assignment]
    return module


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """The authors' layout: the first line blank, one sentence in both files."""
    (tmp_path / "audible.txt").write_text("\n" + "".join(f"Bell {i} rings.\n" for i in range(40)) + "Both say it.\n")
    (tmp_path / "notAudible.txt").write_text(
        "\n" + "".join(f"Rock {i} is red.\n" for i in range(60)) + "both  say it\nrock 3 is red\n"
    )
    return tmp_path


def test_parts_share_nothing_and_keep_the_classes_shares(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = data(folder)
    module.setup("fit")
    said = capsys.readouterr().out
    assert "left out 1 repeated sentences" in said
    assert "left out 1 sentences of more than one class: 'both say it'" in said
    assert "test: N = 15 sentences, 9 inaudible, 6 audible" in said
    assert "val: N = 10 sentences, 6 inaudible, 4 audible" in said
    parts = [set(module.sentences(part)) for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 100
    for texts, classes in module.parts.values():
        assert [text.startswith("Bell") for text in texts] == (classes == 1).tolist()
    again, other = data(folder), data(folder, split_seed=1)
    again.setup("test")
    other.setup("test")
    assert again.sentences("test") == module.sentences("test") != other.sentences("test")


def test_each_test_sentence_once_on_two_ranks(folder: Path) -> None:
    ranks = []
    for rank in (0, 1):
        module = data(folder, eval_batch_size=4)
        module.trainer = SimpleNamespace(  # type: ignore
            is_global_zero=True, global_rank=rank, world_size=2, accumulate_grad_batches=1
        )  # type: ignore
        module.setup("test")
        ranks.append(list(module.test_dataloader()))
    texts, classes = module.parts["test"]
    assert len(ranks[0]) == len(ranks[1])
    found = [(t, int(c)) for batches in ranks for batch in batches for t, c in zip(batch.texts, batch.labels)]
    assert sorted(found) == sorted(zip(texts, classes.tolist()))


def test_a_table(folder: Path) -> None:
    (folder / "t.csv").write_text("label,sentence\n" + "".join(f"{'ab'[i % 2]},sentence {i}\n" for i in range(40)))
    module = data(folder, files=None, table="t.csv", labels=["a", "b"])
    module.setup("fit")
    texts, classes = module.parts["train"]
    assert [int(text.split()[1]) % 2 for text in texts] == classes.tolist()
    lines = "".join(f"r\u00e9el, {i};{'ab'[i % 2]}\n" for i in range(40))
    (folder / "t.csv").write_text(f"Text;Class\n{lines}", encoding="iso-8859-1")
    module = data(folder, files=None, table="t.csv", labels=["a", "b"])
    module.setup("fit")
    assert module.training_texts()[0].startswith("r\u00e9el, ") and len(module.sentences("train")) == len(texts)
    (folder / "t.csv").write_text("text,caption,label\nx,y,a\n")
    with pytest.raises(InputError, match="one column of sentences in .*, found text and caption; remove"):
        data(folder, files=None, table="t.csv", labels=["a", "b"]).setup("fit")


def test_bad_input_is_told(folder: Path) -> None:
    (folder / "empty.txt").write_text("\n\n")
    with pytest.raises(InputError, match="expected one sentence a line in .*empty.txt, found none"):
        read_lines(folder / "empty.txt")
    with pytest.raises(InputError, match="expected a text file of sentences at .*none.txt"):
        read_lines(folder / "none.txt")
    with pytest.raises(InputError, match="expected two classes or more, found audible alone"):
        data(folder, files={"audible": "audible.txt"})
    (folder / "t.csv").write_text("label,sentence\naudible,a bell\nloud,a drum\n")
    with pytest.raises(InputError, match="found 'loud' in row 3"):
        data(folder, files=None, table="t.csv", labels=["inaudible", "audible"]).setup("fit")
    (folder / "t.csv").write_text("label,sentence\naudible,a bell\n")
    with pytest.raises(InputError, match="found none inaudible"):
        data(folder, files=None, table="t.csv", labels=["inaudible", "audible"]).setup("fit")
    (folder / "t.csv").write_text("kind,sentence\naudible,a bell\n")
    with pytest.raises(InputError, match="expected the columns sentence and label"):
        data(folder, files=None, table="t.csv", labels=["inaudible", "audible"]).setup("fit")
    with pytest.raises(InputError, match="expected more sentences that are x, found 1"):
        split({"x": ["one"]}, {"test": 0.15, "val": 0.1}, 0)


def test_a_sentence_of_two_classes_is_in_neither() -> None:
    told: list[str] = []
    left = distinct({"x": ["A b.", "c", "a B"], "y": ["d", " a  b "]}, told.append)
    assert left == {"x": ["c"], "y": ["d"]} and len(told) == 2
    assert np.all([isinstance(text, str) for text in told])
