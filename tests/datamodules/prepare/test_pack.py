"""Packing that is killed, shared among jobs, or meets a decoder that crashes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY

from datamodules.prepare import pack
from datamodules.prepare.__main__ import main
from datamodules.shards import read_index
from earshot.errors import InputError
from tests.datamodules.prepare.commands import arguments, fails, files_of, packed, report
from tests.datamodules.prepare.made_corpus import make_audiocaps, make_audioset, youtube_id

KILLED = """
import os, signal, sys
from datamodules.prepare import pack
from datamodules.prepare.__main__ import main
write = pack.write_shard
def killed(path, samples):
    def some():
        yield next(samples)
        os.kill(os.getpid(), signal.SIGKILL)
    return write(path, some() if path.name == "000002.tar" else samples)
pack.write_shard = killed
main(sys.argv[1:])
"""


def test_a_killed_command_goes_on_with_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    corpus = make_audioset(tmp_path / "corpus", 24, 4, 8)
    size = ("--samples-per-shard", "4")
    main(arguments("audioset", corpus, tmp_path / "whole", *size))
    command = [sys.executable, "-c", KILLED, *arguments("audioset", corpus, tmp_path / "killed", *size)]
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, check=False)
    assert done.returncode == -signal.SIGKILL
    left = files_of(tmp_path / "killed")
    assert "000001.report.json" in left and "000002.tar" not in left and "index.json" not in left
    assert "delete it" in fails(capsys, *arguments("audioset", corpus, tmp_path / "killed", *size, "--format", "wav"))
    before = (tmp_path / "killed" / "000000.tar").stat().st_mtime_ns
    main(arguments("audioset", corpus, tmp_path / "killed", *size))
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert (tmp_path / "killed" / "000000.tar").stat().st_mtime_ns == before  # not packed again
    capsys.readouterr()
    main(arguments("audioset", corpus, tmp_path / "killed", *size))
    assert "packed 16 clips" in capsys.readouterr().out
    # of files to leave out alone is the second shard, which the index does not name
    assert len(read_index(tmp_path / "killed")) == 5 and "000001.tar" not in files_of(tmp_path / "killed")


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    corpus = make_audioset(tmp_path / "corpus", 12, 0, 0)
    code = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "os.killpg(0, signal.SIGINT)")  # as a terminal sends
    command = [sys.executable, "-c", code, *arguments("audioset", corpus, tmp_path / "out", "--samples-per-shard", "4")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, check=False, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 128 + signal.SIGINT and "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob(".*")) and (tmp_path / "out" / "000001.report.json").exists()


@pytest.mark.parametrize("parts", [3, 8])
def test_parts_give_the_same_bytes_in_any_order(parts: int, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    corpus = make_audiocaps(tmp_path / "corpus", 20, 2, 3)
    size = ("--samples-per-shard", "3")
    main(arguments("audiocaps", corpus, tmp_path / "whole", *size))
    for number in range(parts, 0, -1):
        assert not (tmp_path / "parts" / "index.json").exists()
        main(arguments("audiocaps", corpus, tmp_path / "parts", *size, "--part", f"{number}/{parts}"))
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    with pytest.raises(SystemExit):
        main(arguments("audiocaps", corpus, tmp_path / "other", "--part", "9/8"))


def crashing(job: tuple) -> object:
    """In place of packing: a crash in native code at two of the clips."""
    if job[0].path.stem in (f"Y{youtube_id(2)}", f"Y{youtube_id(3)}"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return pack.encode(*job)


def test_a_decoder_that_crashes_costs_its_own_clip_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_audiocaps(tmp_path / "corpus", 9, 0, 0)
    monkeypatch.setattr(pack, "_encode", crashing)
    main(arguments("audiocaps", corpus, tmp_path / "out"))
    rows, bare = report(tmp_path / "out"), "packed without images"
    assert [row["reason"] for row in rows] == [*[bare] * 2, "broken", "broken", *[bare] * 5]
    assert rows[2]["detail"] == "the decoder crashed (SIGSEGV); the same command tries it again"
    assert len(packed(tmp_path / "out")) == 7
    monkeypatch.undo()
    main(arguments("audiocaps", corpus, tmp_path / "out"))
    assert len(packed(tmp_path / "out")) == 9


def deleted(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage"),
    [("000001.tar", deleted), ("000001.tar", cut), ("000001.report.json", cut), ("000001.report.json", emptied)],
)
def test_the_same_command_repairs(name: str, damage: Callable[[Path], None], tmp_path: Path) -> None:
    corpus, output, size = make_audiocaps(tmp_path / "corpus", 9, 0, 0), tmp_path / "out", ("--samples-per-shard", "3")
    main(arguments("audiocaps", corpus, output, *size))
    whole, kept = files_of(output), (output / "000000.tar").stat().st_mtime_ns
    damage(output / name)
    main(arguments("audiocaps", corpus, output, *size, "--part", "1/3"))  # of other shards: it passes over the damage
    assert files_of(output) != whole
    main(arguments("audiocaps", corpus, output, *size))
    assert files_of(output) == whole
    assert (output / "000000.tar").stat().st_mtime_ns == kept


def test_a_tar_of_which_an_older_version_noted_no_size_is_kept(tmp_path: Path) -> None:
    corpus, output = make_audiocaps(tmp_path / "corpus", 3, 0, 0), tmp_path / "out"
    main(arguments("audiocaps", corpus, output))
    note = json.loads((output / "000000.report.json").read_text())
    del note["size"]
    (output / "000000.report.json").write_text(json.dumps(note))
    kept = (output / "000000.tar").stat().st_mtime_ns
    main(arguments("audiocaps", corpus, output))
    assert (output / "000000.tar").stat().st_mtime_ns == kept


def test_a_cut_plan_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    corpus, output = make_audiocaps(tmp_path / "corpus", 3, 0, 0), tmp_path / "out"
    main(arguments("audiocaps", corpus, output))
    cut(output / "plan.json")
    assert "plan.json, found JSONDecodeError" in fails(capsys, *arguments("audiocaps", corpus, output))


def test_parts_may_begin_at_the_same_time(tmp_path: Path) -> None:
    """Another part is about to write the plan; files of anybody else are refused."""
    (tmp_path / ".plan.json.host-1.partial").touch()
    pack._claim(tmp_path, {"format": "flac"})
    pack._claim(tmp_path, {"format": "flac"})
    with pytest.raises(InputError, match="of the same format"):
        pack._claim(tmp_path, {"format": "wav"})
    (tmp_path / "plan.json").unlink()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="empty or missing"):
        pack._claim(tmp_path, {"format": "flac"})
