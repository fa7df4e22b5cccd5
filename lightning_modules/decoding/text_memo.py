"""Values of texts, computed once: candidates come again from one gradient step to the next, and from clip to clip."""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_TEXTS = 65536  # of 1,024 floats each: 268 MB
TEXTS_AT_ONCE = 1024


class TextMemo:
    """Calls a function of N texts, returning (N, ...), on those alone that it has not seen.

    Args:
        function: each text's value must not depend on the others.
        max_texts: held; when there are more, all are forgotten.
    """

    def __init__(self, function: Callable[[list[str]], Tensor], max_texts: int = MAX_TEXTS) -> None:
        self.function = function
        self.max_texts = max_texts
        self.values: dict[str, Tensor] = {}

    def __call__(self, texts: list[str]) -> Tensor:
        """The values of N texts, (N, ...)."""
        if len(self.values) > self.max_texts:
            self.values.clear()
        new = [text for text in dict.fromkeys(texts) if text not in self.values]
        if len(new) > TEXTS_AT_ONCE:
            new.sort(key=len)  # alike lengths together: less padding
        for start in range(0, len(new), TEXTS_AT_ONCE):
            some = new[start : start + TEXTS_AT_ONCE]
            self.values.update(zip(some, self.function(some)))
        return torch.stack([self.values[text] for text in texts])
