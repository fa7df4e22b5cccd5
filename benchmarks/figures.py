"""What figures cost a training run: `python -m benchmarks.figures`, a fit of configs/dali_ot.yaml on 600 clips.

The seconds in the callbacks that draw or caption are taken within one fit, and divided by the seconds of that fit, so
that a slow or a busy machine gives the same share. `callbacks.token_figures` draws while it trains for at most a
hundredth of the time; the figures at the end come on top, and cost the same however long the training was.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import lightning as L

from callbacks.token_figures import TokenFigures
from callbacks.validation_captions import ValidationCaptions
from earshot.errors import one_line_errors
from reports.table import at_least
from train import main as train

HOOKS = ("on_validation_start", "on_validation_batch_end", "on_validation_end", "on_train_end")


def main(args: Sequence[str] | None = None) -> None:
    """Fit, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=at_least(32), default=600, help="of training (%(default)s)")
    parser.add_argument("--epochs", type=at_least(1), default=3, help="(%(default)s)")
    parser.add_argument("--config", default="configs/dali_ot.yaml", help="(%(default)s)")
    with one_line_errors():
        options = parser.parse_args(list(sys.argv[1:] if args is None else args))
    spent: dict[str, float] = {}
    whole: dict[str, float] = {}
    hooks = [(cls, hook) for cls in (TokenFigures, ValidationCaptions) for hook in HOOKS if hook in vars(cls)]
    kept = [(cls, name, vars(cls)[name]) for cls, name in (*hooks, (L.Trainer, "fit"))]
    for cls, name, function in kept:
        setattr(cls, name, timed(function, name, whole if cls is L.Trainer else spent))
    try:
        train(
            [
                "fit", "--config", options.config, "--run_name", "benchmark_figures",
                "--data.max_clips", str(options.clips), "--trainer.max_epochs", str(options.epochs),
            ]
        )  # fmt: skip
    finally:
        for cls, name, function in kept:
            setattr(cls, name, function)
    fit, end = whole["fit"], spent.get("on_train_end", 0.0)
    during = sum(spent.values()) - end
    print(
        f"figures: {fit:.1f} s of fit on {options.clips} clips for {options.epochs} epochs, of which {during:.2f} s "
        f"({during / fit:.2%}) drew or captioned during training and {end:.2f} s ({end / fit:.2%}) drew at its end"
    )


def timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The function, whose seconds are added up under its name."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

    return call


if __name__ == "__main__":
    main()
