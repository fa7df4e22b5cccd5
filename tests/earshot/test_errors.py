"""Bad input and a refusing machine end in one line; a bug keeps its traceback."""

import errno

import pytest

from earshot.errors import InputError, one_line_errors


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("expected a, found b; do c"), "error: expected a, found b; do c\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/x"),
            "error: expected to use runs/x, found: No space left on device; make room or choose another\n",
        ),
        (
            OSError(errno.EISDIR, "Is a directory", ".x.host-1.partial", None, "x"),
            "error: expected to use x, found: Is a directory; make room or choose another\n",
        ),
    ],
)
def test_one_line_and_exit_code_2(error: Exception, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise error
    assert ended.value.code == 2
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("bug", [ValueError("x"), FileNotFoundError(errno.ENOENT, "No such file", "x")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)), one_line_errors():
        raise bug
