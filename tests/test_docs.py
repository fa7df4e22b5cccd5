"""README and docs: the site builds, links resolve, and every command that they name is one that the project has."""

import argparse
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

import train

ARCHIVE = REPOSITORY / "docs" / "results" / "archive.md"  # its commands are those of earlier commits
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
MODULES = {
    "caption": "earshot.caption",
    "app": "earshot.app",
    "prepare": "datamodules.prepare",
    "score": "evaluation",
    "report": "reports",
    "miniature": "miniature",
    "push": "reports.push",
}
EXCEPTIONS = {  # commands that are not the project's own, so that no parser of it reads them, and why
    "source .venv/bin/activate": "of the shell, on an environment that `make install` makes",
    ".venv/bin/pre-commit install": "of pre-commit; changes the repository's hooks",
    "wandb login": "of W&B, and needs an account",
    "wandb sync": "of W&B, and needs an account",
}


class Parsed(Exception):
    """Raised in place of running a command whose arguments were accepted."""


def commands_of(page: Path) -> list[str]:
    """Lines of bash blocks, and code in the text that begins like a command; without comments."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    spans = re.findall(r"`((?:python -m |python train.py \w|earshot |make |sbatch |\.venv/|wandb )[^`]+)`", prose)
    found = (shlex.join(shlex.split(line, comments=True)) for line in [*lines, *spans])
    return [command for command in found if command]


COMMANDS = sorted({command for page in PAGES if page != ARCHIVE for command in commands_of(page)})


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs" / "extending").glob("*.md")), ids=lambda page: page.stem)
def test_worked_examples_are_included(page: Path) -> None:
    """A formatter once took these lines for Python, and the site was built without a word of the examples' code."""
    for line in re.findall(r"^.*8 ?< ?-.*$", page.read_text(encoding="utf-8"), re.MULTILINE):
        included = re.fullmatch(r'--8<-- "([^":]+)(?::\w+)?"', line)
        assert included, f"not an include: {line}"
        assert (REPOSITORY / included[1]).is_file()


@cache
def parses(*args: str) -> bool:
    """Whether train.py takes these arguments of `fit`; the other subcommands take the same."""
    with pytest.raises(SystemExit) as ended:
        train.main(["fit", *args, "--print_config"])
    return ended.value.code == 0


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command's own parser read it."""
    match words:
        case ["python", "train.py", subcommand, *args] | ["earshot", "train", subcommand, *args]:
            assert subcommand in train.COMMANDS
            assert parses(*args)
        case ["python", "-m", module, *args]:
            parse(module, args, monkeypatch)
        case ["earshot", verb, *args]:
            parse(MODULES[verb], args, monkeypatch)
        case ["make", *rest]:
            makefile = (REPOSITORY / "Makefile").read_text()
            for word in rest:
                variable = word.partition("=")[0] if "=" in word else None
                assert variable in makefile if variable else re.search(rf"^{word}:", makefile, re.MULTILINE), word
        case ["sbatch", "slurm/train.sbatch", *args]:
            assert (REPOSITORY / "slurm" / "train.sbatch").is_file()
            check(["python", "train.py", *args], monkeypatch)
        case _:
            assert " ".join(words) in EXCEPTIONS, "write a test for it, or an exception with its reason"


def parse(module: str, args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a module's `main` parse its arguments, and do no more."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse_only(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> None:
        parse_args(self, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    package = (REPOSITORY / module.replace(".", "/")).is_dir()
    found = importlib.import_module(f"{module}.__main__" if package else module)
    if not args and "ArgumentParser" not in inspect.getsource(found):  # it has nothing to parse, and would run
        assert callable(found.main)
        return
    monkeypatch.setattr(sys, "argv", [module, *args])  # as `main` of some benchmarks takes no arguments
    with pytest.raises(Parsed):
        found.main()


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_one_of_the_projects(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    check(shlex.split(command), monkeypatch)


def test_commands_are_found_and_wrong_ones_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "make demo" in commands_of(REPOSITORY / "README.md")
    monkeypatch.chdir(REPOSITORY)
    wrong = (
        "python train.py fit --config configs/dali_ot.yaml --model.criterion.init_args.nothing 1",
        "python -m evaluation captions.csv --nothing",
        "make nothing",
        "rm nothing",
    )
    for command in wrong:
        with pytest.raises((SystemExit, AssertionError)) as refused:
            check(shlex.split(command), monkeypatch)
        assert getattr(refused.value, "code", 2) == 2


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        target = page.parent / path if path else page
        assert target.is_file(), link
        assert not anchor or anchor in slugs(target), link


def test_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # of Material, about MkDocs 2
    done = subprocess.run(build, cwd=REPOSITORY, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    pages = list(tmp_path.rglob("*.html"))
    assert tmp_path / "results" / "archive.html" in pages
    for page in pages:
        loaded = re.findall(r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=\"?(https?:[^\"\s>]+)", page.read_text())
        assert not loaded, page
