"""Files that are not the authors', or not whole, end in one line that names what is wrong."""

from pathlib import Path

import pytest
import torch

from earshot.errors import InputError
from lightning_modules.networks.authors_checkpoint import check_tensors, read_checkpoint


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>not here</html>", b"{}", b"\x80\x02}q", bytes(range(256))])
def test_a_file_of_another_kind(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected weights in .*, found something else \(.+\); get it again") as found:
        read_checkpoint(path, "weights", "their page")
    assert "weights_only" not in str(found.value)  # not to be trusted instead


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_named(value: float) -> None:
    expected = {"a.weight": torch.zeros(2, 3), "b.weight": torch.zeros(4)}
    found = {name: tensor.clone() for name, tensor in expected.items()}
    check_tensors(found, expected, "weights.pth", "weights")
    found["b.weight"][1] = value
    with pytest.raises(InputError, match=r"expected finite numbers .* found others in b\.weight"):
        check_tensors(found, expected, "weights.pth", "weights")
