import pytest

from earshot import terminal
from earshot.terminal import counted


def test_a_log_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    for _ in counted(range(8), "writing a/b", "clips"):
        now[0] += 6.0
    lines = ["writing a/b: 2 of 8 clips, about 36 s left", "writing a/b: 7 of 8 clips, about 6 s left"]
    assert capsys.readouterr().out.splitlines() == lines
    list(counted(iter(range(3)), "", ""))
    assert not capsys.readouterr().out
