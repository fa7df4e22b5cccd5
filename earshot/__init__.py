"""Zero-shot audio captioning: the package that other code imports; `earshot --help` lists the commands."""

from typing import TYPE_CHECKING, Any

from earshot.errors import InputError

if TYPE_CHECKING:
    from earshot.captioner import Captioner

__all__ = ["Captioner", "InputError", "__version__"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import `Captioner`, and torch with it, only where it is used: commands start in a fraction of a second."""
    if name == "Captioner":
        from earshot.captioner import Captioner

        return Captioner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
