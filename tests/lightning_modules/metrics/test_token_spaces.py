"""Retrieval against a case counted by hand."""

import torch
from torch import Tensor

from lightning_modules.metrics.token_spaces import RetrievalRecall


def recall(queries: Tensor, targets: Tensor, k: int) -> Tensor:
    """Of clips with one token each."""
    metric = RetrievalRecall(k)
    metric.update(queries[:, None], targets[:, None])
    return metric.compute()


def test_counted_by_hand() -> None:
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    targets = torch.tensor([[2.0, 0.1], [1.0, 1.0], [0.0, 3.0]])
    # query 0 finds 0 first; query 1 finds 2 first, 1 second; query 2 finds 1 first, its own (2) last or tied with 0
    assert recall(queries, targets, 1) == torch.tensor(1 / 3)
    assert recall(queries, targets, 2) == torch.tensor(2 / 3)
    assert recall(queries, targets, 3) == 1


def test_a_collapsed_encoder_finds_nothing() -> None:
    """Equal targets are ties, and a tie is no hit."""
    assert recall(torch.randn(5, 4), torch.ones(5, 4), 1) == 0


def test_tokens_that_are_no_numbers_have_no_score() -> None:
    """Every comparison with a NaN is false, which would count as a hit."""
    queries = torch.randn(5, 4)
    queries[2, 1] = torch.nan
    assert recall(queries, torch.randn(5, 4), 1).isnan()
