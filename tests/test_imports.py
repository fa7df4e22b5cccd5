"""Holds which way imports may point: see CONTRIBUTING.md."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("networks", "losses", "strategies", "decoding", "embeddings", "schedules", "metrics")
OWN = ("earshot", "lightning_modules", "datamodules", "callbacks", "evaluation", "reports", "miniature", "train")
ERRORS = ("earshot.errors", "earshot.digests", "earshot.step_seed")
SHARED = ("lightning_modules.contracts", "lightning_modules.seeded_sampling")  # by all parts of lightning_modules
COMPUTING = {
    "torch",
    "transformers",
    "ot",
    "peft",
    "numpy",
    "scipy",
    "safetensors",
    "huggingface_hub",
    "tokenizers",
    "torchmetrics",
    "tqdm",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere in it; `from a import b` gives a.b where that is a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports from the root, not relative ones"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else str(node.module))
    return found


PATHS = [
    path for name in OWN for path in ((ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / f"{name}.py"])
]
MODULES = {module_name(path): path for path in PATHS}
IMPORTS = {name: imports(path) for name, path in MODULES.items()}


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def forbidden(module: str, imported: str) -> bool:
    """Whether the rules forbid this import."""
    package, *rest = module.split(".")
    ours = inside(imported, *OWN)
    if not ours:
        third_party = imported.split(".")[0] not in sys.stdlib_module_names
        computing = package == "lightning_modules" and rest and rest[0] in PARTS
        return computing and third_party and imported.split(".")[0] not in COMPUTING
    if package == "lightning_modules" and rest and rest[0] in PARTS:
        data = ("datamodules.contracts", "earshot.atomic", "earshot.terminal") if rest[0] == "embeddings" else ()
        return not inside(imported, *ERRORS, *SHARED, f"lightning_modules.{rest[0]}", *data)
    if package == "lightning_modules":
        parts = [f"lightning_modules.{part}" for part in PARTS]
        return not inside(imported, *ERRORS, *SHARED, "datamodules.clips", "datamodules.contracts", *parts)
    allowed = {
        "earshot": ("earshot",),
        "datamodules": ("earshot", "datamodules"),
        "evaluation": ("earshot", "datamodules", "evaluation"),
        "callbacks": ("earshot", "datamodules", "evaluation", "reports", "callbacks"),
        "reports": ("earshot", "datamodules", "evaluation", "reports"),
        "miniature": ("earshot", "datamodules", "miniature"),
        "train": ("earshot", "callbacks"),
    }
    if inside(module, "earshot.app"):  # it also puts scenes of the miniature together
        return not inside(imported, "earshot", "miniature")
    if inside(module, "earshot.caption", "earshot.captioner", "earshot.stage", "earshot.app_captions"):  # users call
        return not inside(imported, "earshot", "datamodules")
    if inside(module, "miniature.make"):  # the scripts that made the small models
        return not inside(imported, "lightning_modules.networks", *allowed["miniature"])
    return not inside(imported, *allowed[package])


def test_the_files_were_found() -> None:
    assert {"train", "earshot.errors", "callbacks.export", "datamodules.clips"} <= set(MODULES)
    assert "callbacks.command_line" in IMPORTS["train"]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module: str) -> None:
    assert not [imported for imported in IMPORTS[module] if forbidden(module, imported)]


def test_no_cycles() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for imported in IMPORTS[module] & MODULES.keys():
                visit(imported, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("lightning_modules.losses.mmd", "lightning.pytorch"),
        ("lightning_modules.losses.mmd", "lightning_modules.networks.vit"),
        ("lightning_modules.networks.vit", "datamodules.clips"),
        ("lightning_modules.token_alignment", "lightning_modules.guided_captioner"),
        ("lightning_modules.token_alignment", "datamodules.shards"),
        ("datamodules.shards", "lightning_modules.networks.vit"),
        ("callbacks.export", "lightning_modules.token_alignment"),
    ],
)
def test_the_rules_bite(module: str, imported: str) -> None:
    assert forbidden(module, imported)
