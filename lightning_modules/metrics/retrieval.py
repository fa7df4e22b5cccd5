"""How often a clip's own image is found by its audio."""

from torch import Tensor
from torch.nn import functional as F


def retrieval_recall(queries: Tensor, targets: Tensor, k: int) -> Tensor:
    """Recall at k by cosine similarity.

    Args:
        queries: (V, D), one a clip.
        targets: (V, D), in the same order.
        k: how many of the nearest targets count.

    Returns:
        Share of the queries whose own target is among the k nearest, a scalar in [0, 1]. Ties count against it.
    """
    similarity = F.normalize(queries, dim=-1) @ F.normalize(targets, dim=-1).T  # (V, V)
    own = similarity.diagonal()[:, None]
    others_as_near = (similarity >= own).sum(1) - 1  # itself left out
    return (others_as_near < k).float().mean()
