"""A resumed fit has something left to train, or is done already; one that is asked for less than it has is refused."""

from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_info

from callbacks.checkpoint_file import read_checkpoint_file
from earshot.errors import InputError


def require_steps_left(checkpoint: Path, trainer: Namespace) -> None:
    """Compare the steps and epochs that a checkpoint has with those that are asked for.

    As many are a finished run, such as one that a chain of jobs starts once more: a line says so, and the best weights
    are exported again, since the run may have been killed before it did. Lightning ends a run that has more in silence,
    and exports weights of other steps than were asked for.

    Args:
        checkpoint: to go on from.
        trainer: its `max_steps` and `max_epochs`.

    Raises:
        InputError: it has more, or does not say how many.
    """
    found = read_checkpoint_file(checkpoint, weights=False)
    try:
        epochs = found["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"expected the progress of a fit in {checkpoint}, found another; give another, or begin a new run"
        ) from error
    for name, what, done in (("max_steps", "steps", found["global_step"]), ("max_epochs", "epochs", epochs)):
        most = trainer[name]
        if most in (None, -1) or done < most:
            continue
        if done > most:
            raise InputError(
                f"expected trainer.{name} above the {done} {what} that {checkpoint} has, found {most}: nothing is left "
                f"to train; raise {name}, or leave it as it was to export the best of these"
            )
        rank_zero_info(f"nothing is left to train: {checkpoint} has the {done} {what} of {name}; raise it to train on")
