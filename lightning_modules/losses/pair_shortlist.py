"""Which pairs of tokens an optimal plan is likely to use, so that an exact solver need not look at all of them."""

import torch
from torch import Tensor

SHARPNESS = 0.06  # regularisation over the mean of a cost less its row's and its column's least
SWEEPS = 20
TINY = 1e-30  # a weight of 0 has no logarithm


def pair_shortlist(cost: Tensor, audio_weights: Tensor, image_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs to which a few of Sinkhorn's iterations give more mass than moving in proportion to the weights would.

    Nothing is proven here: an optimal plan may use other pairs, too, and the solver has to check.

    Args:
        cost: (B, N, M).
        audio_weights: (B, N), each row summing to 1.
        image_weights: (B, M), likewise.

    Returns:
        The pairs (B, N, M), boolean; near-optimal potentials (B, N) and (B, M).
    """
    a, b = audio_weights.clamp(min=TINY), image_weights.clamp(min=TINY)
    rows = cost.amin(dim=2)  # (B, N)
    kernel = cost - rows[:, :, None]  # (B, N, M), the one large tensor: a fresh one costs more than the arithmetic
    columns = kernel.amin(dim=1)  # (B, M)
    kernel -= columns[:, None]
    epsilon = (SHARPNESS * kernel.mean(dim=(1, 2))).clamp(min=torch.finfo(cost.dtype).tiny)[:, None]  # (B, 1)
    # each row and each column has a 0 now, so none of them vanishes
    kernel.div_(-epsilon[:, None]).exp_()
    row_factors = torch.ones_like(a)
    for _ in range(SWEEPS):
        column_factors = b / torch.bmm(row_factors[:, None], kernel)[:, 0]
        row_factors = a / torch.bmm(kernel, column_factors[:, :, None])[:, :, 0]
    kernel *= (row_factors / a)[:, :, None]
    kernel *= (column_factors / b)[:, None]
    return kernel > 1, rows + epsilon * row_factors.log(), columns + epsilon * column_factors.log()
