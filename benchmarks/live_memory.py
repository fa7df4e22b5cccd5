"""How many bytes tensors have at once in a step, and how many autograd keeps: measured on any device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Follows the bytes of the tensors that are made inside it; `peak` is the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count the storages that it made."""
        given = {storage._cdata for storage in storages((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        for storage in storages(out):
            if storage._cdata not in given | self.known:
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                finalize(storage, self.gone, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    def gone(self, place: int, size: int) -> None:
        """Called when a storage is freed."""
        self.known.discard(place)
        self.now -= size


def storages(tree: Any) -> list[torch.UntypedStorage]:
    """Of all dense tensors in nested arguments or results."""
    tensors = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return [tensor.untyped_storage() for tensor in tensors if tensor.layout is torch.strided]


@contextmanager
def kept_bytes(weights: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes by storage of what autograd keeps for backward, without the weights."""
    own = {weight.untyped_storage()._cdata for weight in weights.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage())._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


Step = Callable[[int], Tensor]
"""Called with a number of clips; returns their loss."""


def peak(stage: nn.Module, step: Step, clips: int, trains: bool = True, first: nn.Module | None = None) -> int:
    """Most bytes at once in a step of so many clips, without the gradients of parameters.

    With few layers, what comes before or after them may need the most, such as copies and gradients of an embedding
    table; with all layers, they do. Where their `first` is given, the time from its forward to its backward counts.
    """
    stage.zero_grad()
    ends: list[int] = []

    def ask(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        live.peak = live.now
        if inputs[0].requires_grad:
            inputs[0].register_hook(lambda gradient: ends.append(live.peak))

    hook = first.register_forward_pre_hook(ask) if first is not None and trains else None
    with Live() as live, torch.set_grad_enabled(trains):
        loss = step(clips)
        if trains:
            loss.backward()
    if hook is not None:
        hook.remove()
        return ends[0]
    return live.peak - sum(p.grad.nbytes for p in stage.parameters() if p.grad is not None)


@dataclass(frozen=True)
class Need:
    """Bytes of a step beside weights, optimizer and gradients of parameters: `constant + clips * per_clip`."""

    constant: float
    per_clip: float

    @classmethod
    def of(cls, peak_of: Callable[[int], int], few: int, more: int, missing: float = 0.0) -> "Need":
        """From two numbers of clips; `missing` is what each clip needs for layers that are not there."""
        low, high = peak_of(few), peak_of(more)
        per_clip = (high - low) / (more - few)
        return cls(low - few * per_clip, per_clip + missing)
