"""Zero-shot audio captioning: the package that other code imports; `earshot --help` lists the commands."""

from earshot.errors import InputError

__all__ = ["InputError", "__version__"]
__version__ = "0.2.0"
