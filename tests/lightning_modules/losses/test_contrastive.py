"""The contrastive baseline against closed forms; test_criteria compares it with a plain version, and over ranks."""

import math

import torch
from made_tokens import tokens

from lightning_modules.losses.contrastive import Contrastive


def test_pairs_that_cannot_be_told_apart() -> None:
    """Equal means everywhere: the loss is the log of the number of clips, whatever the temperature."""
    same = tokens(1, 3, 8).expand(6, 3, 8)
    loss, _ = Contrastive()(same, same)
    torch.testing.assert_close(loss.item(), math.log(6))


def test_perfect_pairs() -> None:
    """Orthogonal means: -log(1 / (1 + (B - 1) exp(-1 / temperature)))."""
    means = torch.eye(5, dtype=torch.float64)[:, None]
    loss, measures = Contrastive(temperature=0.5)(means, 3 * means)
    torch.testing.assert_close(loss.item(), math.log(1 + 4 * math.exp(-2)))
    assert measures["contrastive_accuracy"] == 1
