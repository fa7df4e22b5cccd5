"""A holder for a network that a stage uses and does not train."""

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor, nn

from lightning_modules.contracts import Module

T = TypeVar("T", bound=Module)


class Frozen(nn.Module, Generic[T]):
    """Holds a network outside its owner's parameters: evaluation mode, no gradient, in no checkpoint.

    It still follows its owner to a device or a dtype. Because the network is no submodule, an owner's
    `parameters()` and `state_dict()` hold exactly what trains, and loading a checkpoint can be strict.

    Args:
        network: what is held; its parameters stop requiring gradients.
    """

    def __init__(self, network: T) -> None:
        super().__init__()
        network.eval().requires_grad_(False)
        self._held = (network,)  # a tuple, so that it is not registered

    @property
    def network(self) -> T:
        """The network itself."""
        return self._held[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen[T]":
        self.network._apply(fn, recurse)
        return self
