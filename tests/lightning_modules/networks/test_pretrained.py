"""Folder or hub id: a mistyped path never reaches the network, and what is wrong is one line."""

from pathlib import Path

import pytest

from earshot.errors import InputError
from lightning_modules.networks.pretrained import pretrained


def test_what_a_name_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/clap").mkdir(parents=True)
    for given, expected in (
        ("models/clap", "models/clap"),
        (Path("models/clap"), "models/clap"),
        ("gpt2-medium", "gpt2-medium"),
        ("facebook/opt-1.3b", "facebook/opt-1.3b"),
        ("hf://owner/name", "owner/name"),
    ):
        with pretrained(given, "a model") as name:
            assert name == expected


@pytest.mark.parametrize(
    "name", ["models/clapp", "./gpt2", "/nothing/here", "exports/audibility", "a/b/c", "owner/x y"]
)
def test_paths_of_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/clap").mkdir(parents=True)
    with pytest.raises(InputError, match=f"expected a model in {name}, found no such folder"):
        pretrained(name, "a model").__enter__()


def test_narrow_hub_ids() -> None:
    with pytest.raises(InputError, match="write hf://owner/name for a model on the Hugging Face Hub"):
        pretrained("owner/name", "a CLAP", hub_ids=r"laion/[\w.-]+").__enter__()


def test_errors_become_one_line() -> None:
    with (
        pytest.raises(InputError, match=r"found none \(no such model at all\)") as raised,
        pretrained("gpt2", "a model"),
    ):
        raise OSError("no such\nmodel   at all")
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="^told$"), pretrained("gpt2", "a model"):
        raise InputError("told")
