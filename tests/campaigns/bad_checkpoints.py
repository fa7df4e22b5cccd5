"""Checkpoints, exports and tuned prefixes that are damaged, of something else, or dangerous."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.campaigns.bad_commands import toy
from tests.campaigns.bad_input import ROOT, Case

CKPT = "runs/toy/fit-1/checkpoints/last.ckpt"
EXPORT = "exports/toy/model.safetensors"
PREFIX = ROOT / "assets" / "miniature" / "prefix"


class Bomb:
    """Unpickled, it writes a file."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("touch ran",)


@cache
def trained_files() -> dict[str, bytes]:
    """What a fit of the toy has written."""
    import tempfile

    from tests.campaigns.bad_input import run

    with tempfile.TemporaryDirectory() as temporary:
        before = os.getcwd()
        os.chdir(temporary)
        try:
            toy(Path())
            run(["train", "fit", "--config", "toy.yaml"])
            return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}
        finally:
            os.chdir(before)


def trained(folder: Path) -> None:
    """The folder as it is after the toy's fit."""
    for name, data in trained_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def bytes_of(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """After a fit, one of its files is another."""

    def prepare(folder: Path) -> None:
        trained(folder)
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return prepare


def content_of(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """After a fit, its checkpoint holds something else."""

    def prepare(folder: Path) -> None:
        trained(folder)
        checkpoint = torch.load(folder / CKPT, weights_only=True)
        changed = change(checkpoint)
        torch.save(checkpoint if changed is None else changed, folder / CKPT)

    return prepare


def weights_of(change: Callable[[dict[str, Any]], object], name: str = EXPORT) -> Callable[[Path], None]:
    """After a fit, its export has other tensors."""

    def prepare(folder: Path) -> None:
        trained(folder)
        weights = load_file(folder / name)
        change(weights)
        save_file(weights, folder / name)

    return prepare


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """After a fit, one of its files is replaced by something else."""

    def prepare(folder: Path) -> None:
        trained(folder)
        (folder / name).unlink()
        make(folder / name)

    return prepare


def bomb(path: Path) -> None:
    """A file that runs code where it is unpickled."""
    torch.save({"state_dict": Bomb(), "pytorch-lightning_version": "2.6"}, path)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-30],
    "a web page": lambda data: b"<!DOCTYPE html><html>not found</html>",
    "zeros": lambda data: bytes(len(data)),
    "a bare pickle": lambda data: pickle.dumps({"a": 1}),
}
CHECKPOINTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a list": lambda c: [1, 2],
    "a tensor": lambda c: torch.zeros(3),
    "no state_dict": lambda c: (c.pop("state_dict"), None)[1],
    "a state_dict of text": lambda c: c.update(state_dict="x"),
    "no tensors": lambda c: c.update(state_dict={}),
    "a tensor missing": lambda c: (c["state_dict"].pop("layer.bias"), None)[1],
    "a tensor more": lambda c: c["state_dict"].update(more=torch.zeros(2)),
    "a tensor of another shape": lambda c: c["state_dict"].update({"layer.bias": torch.zeros(7)}),
    "a tensor renamed": lambda c: c["state_dict"].update({"layer.bais": c["state_dict"].pop("layer.bias")}),
    "a number for a tensor": lambda c: c["state_dict"].update({"layer.bias": 3}),
    "NaN": lambda c: c["state_dict"].update({"layer.bias": torch.full((3,), torch.nan)}),
}
STATES: dict[str, Callable[[dict[str, Any]], object]] = {  # needed to resume
    "no optimizer": lambda c: (c.pop("optimizer_states"), None)[1],
    "optimizers of text": lambda c: c.update(optimizer_states="x"),
    "two optimizers": lambda c: c.update(optimizer_states=c["optimizer_states"] * 2),
    "an optimizer of other parameters": lambda c: c["optimizer_states"][0]["param_groups"].append({"params": [9]}),
    "no loops": lambda c: (c.pop("loops"), None)[1],
    "loops of text": lambda c: c["loops"].update(fit_loop="x"),
    "no epoch": lambda c: (c.pop("epoch"), None)[1],
    "no step": lambda c: (c.pop("global_step"), None)[1],
    "no position of the data": lambda c: (c.pop("ToyData"), None)[1],
}
TEST, RESUME = ["train", "test", "--config", "toy.yaml"], ["train", "fit", "--config", "toy.yaml"]


def prefix_case(what: str, change: Callable[[Path], object]) -> Case:
    """A tuned prefix that is something else, in validation of a real stage."""

    def prepare(folder: Path) -> None:
        shutil.copytree(PREFIX, folder / "prefix")
        change(folder / "prefix")
        link_data(folder)

    command = ["train", "test", "--config", "dali_ot", "--export.load", "false", "--model.captioner.prefix", "prefix"]
    small = ["--data.max_clips", "40", "--data.num_workers", "0", "--trainer.accelerator", "cpu", "--trainer.logger"]
    return Case("prefix", what, [*command, *small, "false"], prepare)


def link_data(folder: Path) -> None:
    """Let all cases read the same splits, which the first one writes where they are not there."""
    DATA.mkdir(exist_ok=True)
    (folder / "data").symlink_to(DATA)


DATA = Path(os.environ.get("EARSHOT_CAMPAIGN_DATA", ROOT / "data"))
ADAPTER = "adapter_model.safetensors"


def adapter(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
    """The tensors of a prefix, changed."""
    weights = load_file(folder / ADAPTER)
    change(weights)
    save_file(weights, folder / ADAPTER)


def settings(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
    """The configuration of a prefix, changed."""
    path = folder / "adapter_config.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def rename(weights: dict[str, Any]) -> None:
    """A name that peft does not know."""
    (name,) = weights
    weights[name.replace("trainable_tokens", "trainable_token")] = weights.pop(name)


def reshape(rows: int, width: int, weights: dict[str, Any]) -> None:
    """A tensor of another size."""
    (name,) = weights
    weights[name] = torch.zeros(rows, width)


def cases() -> list[Case]:
    """All of them."""
    found = []
    for what, change in DAMAGES.items():
        found.append(Case("checkpoint", what, [*TEST, "--ckpt_path", CKPT], bytes_of(CKPT, change)))
        found.append(Case("checkpoint", f"{what}, resumed", [*RESUME, "--ckpt_path", "last"], bytes_of(CKPT, change)))
        found.append(Case("export", what, TEST, bytes_of(EXPORT, change)))
    for what, inside in CHECKPOINTS.items():
        found.append(Case("checkpoint", what, [*TEST, "--ckpt_path", CKPT], content_of(inside)))
    for what, inside in (STATES | CHECKPOINTS).items():
        more = ["--ckpt_path", "resume", "--trainer.max_epochs", "2"]
        found.append(Case("checkpoint", f"{what}, resumed", [*RESUME, *more], content_of(inside)))
    sgd = ["--model.optimizer", "torch.optim.SGD", "--model.optimizer.momentum", "0.9"]
    wider = ["--ckpt_path", CKPT, "--model", "tests.toys.ExportingStage", "--model.width", "9"]
    found += [
        Case("checkpoint", "a bomb", [*TEST, "--ckpt_path", CKPT], replaced(CKPT, bomb)),
        Case("checkpoint", "a bomb, resumed", [*RESUME, "--ckpt_path", "last"], replaced(CKPT, bomb)),
        Case("checkpoint", "a pipe", [*TEST, "--ckpt_path", CKPT], replaced(CKPT, os.mkfifo)),
        Case("checkpoint", "a folder", [*TEST, "--ckpt_path", CKPT], replaced(CKPT, os.mkdir)),
        Case("checkpoint", "an export", [*TEST, "--ckpt_path", "exports/toy"], trained),
        Case("checkpoint", "a safetensors file", [*TEST, "--ckpt_path", EXPORT], trained),
        Case("checkpoint", "the YAML", [*TEST, "--ckpt_path", "toy.yaml"], trained),
        Case("checkpoint", "of other sizes", [*TEST, *wider], trained),
        Case("checkpoint", "of other sizes, resumed", [*RESUME, *wider], trained),
        Case("checkpoint", "resumed with another optimizer",
             [*RESUME, *sgd, "--ckpt_path", "last", "--trainer.max_epochs", "2"], trained),
        Case("checkpoint", "of more steps than are asked for, resumed",
             [*RESUME, "--ckpt_path", "last", "--trainer.max_steps", "3"], trained),
        Case("checkpoint", "of another stage", ["train", "test", "--config", "audibility", "--ckpt_path", CKPT,
             "--trainer.accelerator", "cpu"], lambda folder: (trained(folder), link_data(folder))),
        Case("export", "missing", TEST, replaced(EXPORT, lambda path: None)),
        Case("export", "a folder", TEST, replaced(EXPORT, os.mkdir)),
        Case("export", "a bomb", TEST, replaced(EXPORT, bomb)),
        Case("export", "a tensor missing", TEST, weights_of(lambda weights: weights.pop("bias"))),
        Case("export", "a tensor more", TEST, weights_of(lambda weights: weights.update(more=torch.zeros(2)))),
        Case("export", "another shape", TEST, weights_of(lambda weights: weights.update(bias=torch.zeros(9)))),
    ]  # fmt: skip
    for what, change in DAMAGES.items():
        found.append(prefix_case(what, lambda folder, change=change: (folder / ADAPTER).write_bytes(
            change((folder / ADAPTER).read_bytes()))))  # fmt: skip
    found += [
        prefix_case("a bomb", lambda folder: ((folder / ADAPTER).unlink(), bomb(folder / "adapter_model.bin"))),
        prefix_case("its tensor renamed", partial(adapter, rename)),
        prefix_case("no tensor", partial(adapter, lambda weights: weights.clear())),
        prefix_case("too wide", partial(adapter, partial(reshape, 16, 500))),
        prefix_case("fewer rows", partial(adapter, partial(reshape, 3, 128))),
        prefix_case("NaN", partial(adapter, lambda w: [value.fill_(torch.nan) for value in w.values()])),
        prefix_case("past the table", partial(settings, lambda c: c.update(token_indices=list(range(9000, 9016))))),
        prefix_case("tokens of text", partial(settings, lambda c: c.update(token_indices="all"))),
        prefix_case("no tokens", partial(settings, lambda c: c.update(token_indices=[]))),
        prefix_case("LoRA", partial(settings, lambda c: c.update(peft_type="LORA"))),
        prefix_case("another kind", partial(settings, lambda c: c.update(peft_type="NONE_SUCH"))),
        prefix_case("no configuration", lambda folder: (folder / "adapter_config.json").unlink()),
        prefix_case("half a configuration", lambda folder: (folder / "adapter_config.json").write_text('{"a": ')),
        prefix_case("missing", lambda folder: shutil.rmtree(folder)),
    ]
    return found
