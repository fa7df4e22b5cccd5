"""A callback that leaves a test time to kill a run."""

import time
from typing import Any

from lightning import Callback


class Slow(Callback):
    """A fifth of a second and more for each step of training or prediction."""

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Wait."""
        time.sleep(0.2)

    on_predict_batch_end = on_train_batch_end
