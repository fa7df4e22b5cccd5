"""Which errors of libraries are about values that the user gave: those end in one line, bugs in a traceback."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.dead_readers import dead_reader
from earshot.errors import InputError

LIBRARIES = (
    "lightning",
    "jsonargparse",
    "torch",
    "numpy",
    "contextlib",
    "functools",
    "importlib",
    "lightning_utilities",
)
CHECKING = ("lightning", "torch.optim", "torch.distributed", "numpy.random", "jsonargparse", "importlib")
RESTORING = "lightning.pytorch.trainer.connectors.checkpoint_connector"
GIVEN = (MisconfigurationException, ValueError, ArithmeticError, ImportError)
LONGEST = 400  # letters of what a library says


def raised_by_own_code(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is of no library; jsonargparse wraps those of constructors."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            module = str(frame.f_globals.get("__name__", ""))
        if error.__traceback__ is not None and module.partition(".")[0] not in LIBRARIES:
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def refused_values(command_line: str, ckpt_path: str | None = None, stage: str = "") -> Iterator[None]:
    """Turn errors of Lightning, torch and jsonargparse about values in the YAML into an InputError.

    Such an error is raised in code of theirs that checks, which the project's code called with nothing in between, or
    only to make what the YAML names, such as an optimizer. While a checkpoint is restored, whatever they raise is about
    the checkpoint. All other errors, those that the project's own code raises among them, go on as they are.

    Args:
        command_line: name of the module whose block this is.
        ckpt_path: that is given, for the message.
        stage: name of its class, likewise.

    Raises:
        InputError: in place of such an error.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        modules = [str(frame.f_globals.get("__name__", "")) for frame in frames]
        inside = modules[max(number for number, name in enumerate(modules) if name == command_line) + 1 :]
        if not inside or not inside[-1].startswith(CHECKING + ("torch",)):
            raise
        said = " ".join(str(error).split())[:LONGEST] or type(error).__name__
        if said.startswith("DataLoader worker"):  # torch raises it wherever the main process is when it learns of it
            raise dead_reader(said) from error
        if ckpt_path is not None and RESTORING in inside:
            lines = str(error).strip().splitlines()
            if len(lines) > 1 and "Error(s) in loading state_dict" in lines[0]:
                said = lines[1].strip()[:LONGEST]  # the first of what may be hundreds of names
            raise InputError(
                f"expected the state of {stage} with these settings in {ckpt_path}, found another ({said}); name a "
                "checkpoint of this stage, and give the overlays that it was trained with"
            ) from error
        own = [number for number, name in enumerate(inside) if name.partition(".")[0] not in LIBRARIES]
        asked = not own or "jsonargparse" in {name.partition(".")[0] for name in inside[own[-1] :]}
        making = "instantiate_classes" in {frame.f_code.co_name for frame in frames}
        given = isinstance(error, GIVEN) or (making and isinstance(error, TypeError | AttributeError | KeyError))
        if not (asked and given and inside[-1].startswith(CHECKING)) or raised_by_own_code(error):
            raise
        library = Path(inside[-1].partition(".")[0]).name
        raise InputError(
            f"expected values that {library} takes, found others ({said}); correct the YAML or the arguments"
        ) from error
