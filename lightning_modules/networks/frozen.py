"""A holder for a network that a stage uses and does not train, and the precision that such a network loads in."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.contracts import Module

T = TypeVar("T", bound=Module)
DTYPES = {"16": torch.float16, "bf16": torch.bfloat16, "32": torch.float32, "64": torch.float64}


class HasPrecision(Protocol):
    """The part of Lightning's Trainer that tells the precision."""

    @property
    def precision(self) -> str:
        """Such as `32-true` or `bf16-mixed`."""


def frozen_dtype(trainer: HasPrecision | None) -> torch.dtype | None:
    """The dtype to load frozen weights in: that of the trainer's products, so that autocast copies none at each step.

    float32 for `32-true`, bfloat16 for `bf16-mixed` and `bf16-true`, float16 for `16-mixed` and `16-true`; None, for
    the one that a file has, without a trainer or for a precision that is no number of bits.
    """
    return None if trainer is None else DTYPES.get(str(trainer.precision).partition("-")[0])


def refuse_true_half(trainer: HasPrecision | None, what: str) -> None:
    """For stages that compare with embeddings in float32 or take small gradient steps.

    Raises:
        InputError: the trainer casts all weights to 16 bits, those that train too.
    """
    if trainer is not None and str(trainer.precision) in ("bf16-true", "16-true"):
        raise InputError(
            f"expected 32-true or a mixed precision for {what}, found {trainer.precision}; set trainer.precision to "
            "bf16-mixed"
        )


def cast_weights(network: Module, dtype: torch.dtype | None) -> None:
    """Cast what does not train to a dtype, and leave buffers in their precision; None leaves all as it is."""
    for weight in network.parameters():
        if not weight.requires_grad:
            weight.data = weight.to(dtype)


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
