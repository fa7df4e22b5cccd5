from pathlib import Path

import pytest
import torch

from callbacks.resuming import AtomicCheckpointIO


def test_a_kill_in_mid_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}

    written = []

    def die_half_way(checkpoint: dict, file: Path) -> None:
        file.write_bytes(b"PK\x03\x04 half")
        written.append(file)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", die_half_way)
        with pytest.raises(KeyboardInterrupt):
            AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    # written in the same folder, so that the rename never crosses file systems
    assert [other.parent for other in written] == [path.parent]

    AtomicCheckpointIO().save_checkpoint({"step": 3}, path)
    assert torch.load(path, weights_only=True) == {"step": 3}
    assert list(path.parent.iterdir()) == [path]
