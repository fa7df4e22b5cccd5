"""The soft tokens and the projector that DALI's authors released: files of their fork of LLaVA."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lightning_modules.networks.authors_checkpoint import check_tensors, read_checkpoint, tensors_in

WHERE = "zenodo.org/records/14224316, which github.com/hugomalard/AnEyeForAnEar links"
PREFIX = "model.audio_tower.prefix"  # (P, width)
PROJECTOR = {  # theirs: transformers'
    f"model.mm_projector.{theirs}.{kind}": f"linear_{ours}.{kind}"
    for theirs, ours in ((0, 1), (2, 2))
    for kind in ("weight", "bias")
}


def is_authors_file(name: str | Path) -> bool:
    """Whether a prefix or projector is named that is a file of theirs, and not a folder of ours."""
    return Path(name).suffix in (".bin", ".pt", ".pth") and not Path(name).is_dir()


def authors_prefix(path: str | Path, width: int) -> Tensor:
    """The soft tokens (P, width) in `prefix.bin`; a projector beside them is left out.

    Raises:
        InputError: no such file, another kind of file, or a tensor missing, left over or of another width.
    """
    what = "DALI's soft tokens (prefix.bin)"
    found = _tensors(path, what)
    found = {name: value for name, value in found.items() if name not in PROJECTOR}
    rows = len(found[PREFIX]) if PREFIX in found and found[PREFIX].ndim else 16
    check_tensors(found, {PREFIX: _shape(rows, width)}, path, what)
    return found[PREFIX]


def authors_projector(path: str | Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The projector in `prefixMLP.bin`, by transformers' names; soft tokens beside it are left out.

    Args:
        path: of the file.
        expected: the state of a projector of the same LLaVA.

    Raises:
        InputError: no such file, another kind of file, or a tensor missing, left over or of another shape.
    """
    what = "DALI's projector (prefixMLP.bin)"
    found = {name: value for name, value in _tensors(path, what).items() if name != PREFIX}
    check_tensors(found, {theirs: expected[ours] for theirs, ours in PROJECTOR.items()}, path, what)
    return {ours: found[theirs].to(expected[ours]) for theirs, ours in PROJECTOR.items()}


def _tensors(path: str | Path, what: str) -> dict[str, Tensor]:
    return tensors_in(read_checkpoint(path, what, WHERE))


def _shape(*sizes: int) -> Tensor:
    return Tensor().new_empty(sizes, device="meta")
