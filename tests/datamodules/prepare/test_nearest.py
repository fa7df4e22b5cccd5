"""The nearest clips by the real command: which are kept, the threshold it says, and what is refused."""

import csv
import re
from pathlib import Path

import pytest

from datamodules.prepare.__main__ import main

ROWS = [("c", "0.3"), ("b", "0.1"), ("e", ""), ("a", "0.3"), ("d", "0.2"), ("f", "0.9")]


@pytest.fixture()
def distances(tmp_path: Path) -> Path:
    path = tmp_path / "distances.csv"
    path.write_text("clip_id,distance,labels\n" + "".join(f'{name},{value},"[""x""]"\n' for name, value in ROWS))
    return path


def keep(distances: Path, number: int, name: str = "ids.csv") -> list[str]:
    output = distances.with_name(name)
    main(["nearest", "--distances", str(distances), "--keep", str(number), "--output", str(output)])
    with open(output, newline="") as file:
        return [row["clip_id"] for row in csv.DictReader(file)]


def test_the_nearest_are_kept_with_ties_by_id(distances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keep(distances, 3) == ["b", "d", "a"]
    said = capsys.readouterr().out
    assert "3 of 5 clips, those at a distance of at most 0.3; 1 more have no image or no label" in said
    assert keep(distances, 5) == ["b", "d", "a", "c", "f"]
    assert distances.with_name("ids.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in distances.parent.iterdir()) == ["distances.csv", "ids.csv", "ids.png"]


def test_the_order_of_the_table_does_not_count(distances: Path) -> None:
    head, *lines = distances.read_text().splitlines()
    other = distances.with_name("turned.csv")
    other.write_text("\n".join([head, *reversed(lines)]) + "\n")
    keep(distances, 4)
    keep(other, 4, "others.csv")
    assert distances.with_name("ids.csv").read_bytes() == distances.with_name("others.csv").read_bytes()


@pytest.mark.parametrize(
    ("content", "number", "message"),
    [
        (None, 6, "expected --keep from 1 to 5, the clips with a distance in"),
        (None, 0, "expected --keep from 1 to 5"),
        ("clip_id,caption\na,x\n", 1, "expected columns clip_id and distance in .*, found no distance"),
        ("clip_id,distance\na,near\n", 1, "expected numbers in the column distance of .*'near'"),
        ("clip_id,distance\na,1\na,2\n", 1, "expected every clip once in"),
    ],
)
def test_what_cannot_be_kept_is_one_line(
    distances: Path, content: str | None, number: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        distances.write_text(content)
    with pytest.raises(SystemExit) as ended:
        keep(distances, number)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1
    assert not distances.with_name("ids.csv").exists()


def test_a_missing_table_names_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        keep(tmp_path / "exports" / "audioset_filter" / "distances.csv", 1)
    assert "make it: python train.py predict --config configs/audioset_filter.yaml" in capsys.readouterr().err
