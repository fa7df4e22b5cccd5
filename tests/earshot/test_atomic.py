"""A file or folder is the old one or the whole new one, and what a killed process left does not stay."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from earshot.atomic import atomic_folder, atomic_path, write_text


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_error_leaves_the_old_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and names(path.parent) == {"file.txt"}


def test_a_folder_replaces_all_of_the_old(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with pytest.raises(RuntimeError), atomic_folder(tmp_path / "export") as partial:
            (partial / "half").touch()
            raise RuntimeError
        with atomic_folder(tmp_path / "export") as partial:
            (partial / content).touch()
        assert names(tmp_path / "export") == {content} and names(tmp_path) == {"export"}


def test_several_processes_write_one_folder(tmp_path: Path) -> None:
    """None fails, and in the end the folder is one of theirs, whole."""
    program = (
        "import sys; from pathlib import Path; from earshot.atomic import atomic_folder\n"
        "print(flush=True); input()\n"
        "for number in range(300):\n"
        "    with atomic_folder(Path(sys.argv[1])) as partial:\n"
        "        (partial / sys.argv[2]).touch(); (partial / f'{sys.argv[2]} too').touch()"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    pipe = subprocess.PIPE
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "thing"), name],
            stdin=pipe, stdout=pipe, stderr=pipe, env=environment, text=True,
        )
        for name in "abc"
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [(writer.communicate(timeout=100)[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    assert names(tmp_path) == {"thing"}
    assert names(tmp_path / "thing") in [{name, f"{name} too"} for name in "abc"]


@pytest.mark.parametrize("kind", ["atomic_path", "atomic_folder"])
def test_what_a_killed_process_left_goes_and_what_another_writes_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    program = (
        f"import sys; from pathlib import Path; from earshot.atomic import {kind}\n"
        f"with {kind}(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'half' if partial.is_dir() else partial).write_text('half'); print(flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    writing = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert writing.stdout is not None and writing.stdout.readline()
    (left,) = tmp_path.iterdir()
    far = tmp_path / ".thing.elsewhere-1.partial"  # of a process on another host
    far.touch()
    write_text(path, "whole")
    assert names(tmp_path) == {"thing", left.name, far.name}
    os.kill(writing.pid, signal.SIGKILL)
    writing.wait()
    os.utime(far, (0, 0))
    write_text(path, "whole")
    assert names(tmp_path) == {"thing"}
