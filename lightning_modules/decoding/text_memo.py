"""Values of texts, computed once: the same candidates return in every gradient step and in many clips."""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_TEXTS = 65536  # when more are held all are dropped; 268 MB of 1,024 floats each
TEXTS_AT_ONCE = 1024


class TextMemo:
    """Calls a function of N texts, which returns (N, ...), only on the texts that it has not seen.

    Args:
        function: each text's value must not depend on the others.
    """

    def __init__(self, function: Callable[[list[str]], Tensor]) -> None:
        self.function = function
        self.values: dict[str, Tensor] = {}

    def __call__(self, texts: list[str]) -> Tensor:
        """The values of N texts, (N, ...)."""
        if len(self.values) > MAX_TEXTS:
            self.values.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self.values]
        if len(new) > TEXTS_AT_ONCE:
            new.sort(key=len)  # alike lengths together: less padding
        for start in range(0, len(new), TEXTS_AT_ONCE):
            some = new[start : start + TEXTS_AT_ONCE]
            self.values.update(zip(some, self.function(some)))
        return torch.stack([self.values[text] for text in texts])
