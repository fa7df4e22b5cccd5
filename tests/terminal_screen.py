"""A command on a terminal: what a person has on the screen, and above it, when the command has ended."""

import os
import pty
import re
import struct
import subprocess
import termios
from fcntl import ioctl
from pathlib import Path

_PART = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[=>]|([\r\n\b])|([^\x1b\r\n\b]+)")


def lines_of(written: str, width: int) -> list[str]:
    """The lines that a terminal of endless height shows: rows from the first, without spaces at their ends.

    Reads what progress bars use: carriage return, line feed, cursor up and down, erasing of lines; colours are dropped.
    """
    rows: list[list[str]] = [[]]
    row = column = 0
    for match in _PART.finditer(written):
        numbers, command, control, text = match.groups()
        number = int(numbers) if numbers and numbers.isdigit() else 1
        if control == "\r":
            column = 0
        elif control == "\b":
            column = max(0, column - 1)
        elif control == "\n":
            row += 1
        elif command == "A":
            row = max(0, row - number)
        elif command == "B":
            row += number
        elif command == "K":
            kept = 0 if numbers == "2" else column
            rows[row][kept:] = []
        for letter in text or "":
            if column == width:
                row, column = row + 1, 0
            rows += [[] for _ in range(row + 1 - len(rows))]
            rows[row] += [" "] * (column + 1 - len(rows[row]))
            rows[row][column] = letter
            column += 1
        rows += [[] for _ in range(row + 1 - len(rows))]
    return ["".join(letters).rstrip() for letters in rows]


def on_terminal(
    command: list[str], folder: Path, environment: dict[str, str], width: int = 80, height: int = 40
) -> tuple[int, list[str]]:
    """Run the command with a terminal as its output; its exit code, and the lines that are left."""
    own, its = pty.openpty()
    ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    variables = {name: text for name, text in environment.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        command, cwd=folder, env={**variables, "TERM": "xterm-256color"}, stdin=its, stdout=its, stderr=its
    ) as process:
        os.close(its)
        written = b""
        try:
            while part := os.read(own, 65536):
                written += part
        except OSError:  # how Linux says that the other side is closed
            pass
        finally:
            os.close(own)
    return process.returncode, lines_of(written.decode("utf-8", "replace"), width)
