"""A mean over the tokens of all ranks, though each rank knows its own alone."""

import torch
from torch import Tensor


def rank_share(mean: Tensor, count: Tensor) -> Tensor:
    """This rank's share of the mean over the tokens of all ranks.

    DDP averages the ranks' gradients: the average of the shares is the whole mean, that of the ranks' means is not
    where they count different numbers of tokens. On one rank the share is the mean.

    Args:
        mean: a loss, over this rank's tokens.
        count: how many these are.
    """
    if not torch.distributed.is_initialized():
        return mean
    total = count.to(mean.dtype)  # a new tensor
    torch.distributed.all_reduce(total)
    return mean * count * torch.distributed.get_world_size() / total
