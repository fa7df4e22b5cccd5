"""Splits are written once, whole, by as many processes as want them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY

from earshot.errors import InputError
from miniature.__main__ import main
from miniature.splits import ensure_split

SPLIT, CLIPS = "wavcaps/val", 250  # three shards
WRITER = f"""
import sys
from pathlib import Path
from miniature.splits import ensure_split
print("ready", flush=True)
sys.stdin.readline()
ensure_split(Path(sys.argv[1]), {SPLIT!r}, max_clips={CLIPS})
"""


def start_writer(root: Path) -> subprocess.Popen:
    """A process that has imported everything and waits for a line before it writes the split."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], cwd=REPOSITORY, **pipes)  # type: ignore
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("unbroken")
    ensure_split(root, SPLIT, max_clips=CLIPS)
    written = contents(root)
    shards = [f"{number:06d}.{kind}" for number in range(3) for kind in ("tar", "ids.json")]
    names = (*shards, "index.json", "made_with.json")
    assert written.keys() == {f"{SPLIT}/{name}" for name in names}
    return written


def test_two_processes_write_a_split_at_once(tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    writers = [start_writer(tmp_path) for _ in range(2)]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    first = [text.partition("\n")[0] for text in said]  # on a slow machine there are more lines
    assert sorted(first) == ["", f"writing {CLIPS} clips to {tmp_path / SPLIT}"]  # who lost found the winner's
    assert contents(tmp_path) == unbroken


def test_a_split_is_written_again_after_a_kill(tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    writer = start_writer(tmp_path)
    assert writer.stdin
    writer.stdin.write("go\n")
    writer.stdin.flush()
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("000000.tar")):
        assert writer.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    assert not (tmp_path / SPLIT).exists() and contents(tmp_path)  # nothing that passes for a split
    ensure_split(tmp_path, SPLIT, max_clips=CLIPS)
    assert contents(tmp_path) == unbroken


def test_split_is_written_once_and_again_when_the_settings_change(tmp_path) -> None:
    ensure_split(tmp_path, "audiocaps/val", max_clips=3)
    index = tmp_path / "audiocaps/val/index.json"
    written = index.stat().st_mtime_ns
    ensure_split(tmp_path, "audiocaps/val", max_clips=3)
    assert index.stat().st_mtime_ns == written
    ensure_split(tmp_path, "audiocaps/val", max_clips=4)
    assert sum(shard["nsamples"] for shard in json.loads(index.read_text())["shardlist"]) == 4


@pytest.mark.parametrize("damage", ["no tar", "cut note", "cut index"])
def test_a_split_that_is_not_whole_is_written_again(damage: str, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    ensure_split(tmp_path, SPLIT, max_clips=CLIPS)
    if damage == "no tar":
        (tmp_path / SPLIT / "000001.tar").unlink()
    else:
        path = tmp_path / SPLIT / {"cut note": "made_with.json", "cut index": "index.json"}[damage]
        path.write_text(path.read_text()[:20])
    ensure_split(tmp_path, SPLIT, max_clips=CLIPS)
    assert contents(tmp_path) == unbroken


def test_other_shards_are_not_overwritten(tmp_path) -> None:
    (tmp_path / "audiocaps/val").mkdir(parents=True)  # empty, as Snakemake makes it: nothing to overwrite
    ensure_split(tmp_path, "audiocaps/val", max_clips=3)
    (tmp_path / "audiocaps/val/made_with.json").unlink()
    (tmp_path / "audiocaps/val/000000.tar").write_bytes(b"real")
    with pytest.raises(InputError, match="found other files"):
        ensure_split(tmp_path, "audiocaps/val", max_clips=3)
    assert (tmp_path / "audiocaps/val/000000.tar").read_bytes() == b"real"


def test_the_command_writes_what_is_named(tmp_path: Path) -> None:
    main(["write", "sentences", "--root", str(tmp_path)])
    written = contents(tmp_path)
    assert written.keys() == {"sentences/audible.txt", "sentences/inaudible.txt"}
    assert [len(text.splitlines()) for text in written.values()] == [2000, 2000]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["write", "audiocaps/tst"], "error: expected splits among audioset/train, "),
        (["make", "gpt3"], "error: expected models among llava, cav_mae, prefix, vicuna, clap, gpt2, matcher, found "),
        (["make", "matcher"], "found no such folder; make it: python -m miniature make clap --root "),
    ],
)
def test_a_wrong_name_is_one_line(args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*args, "--root", str(tmp_path)])
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_help_imports_nothing_slow() -> None:
    code = "import sys, miniature.__main__; print(sorted({'torch', 'numpy', 'lightning'} & sys.modules.keys()))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True) == "[]\n"
