"""The command `earshot VERB ...`; each verb imports its module only when it is called."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from earshot import __version__
from earshot.errors import InputError, one_line_errors

VERBS = {
    "caption": ("earshot.caption", "Caption audio and video files."),
    "app": ("earshot.app", "Caption sounds on a page in the browser, on this machine only."),
    "train": ("train", "Train a stage, validate it, test it, or apply it to data."),
    "prepare": ("datamodules.prepare.__main__", "Pack a folder or a corpus into shards."),
    "score": ("evaluation.__main__", "Score a file of captions."),
    "report": ("reports.__main__", "Compare runs in tables and figures."),
    "push": ("reports.push", "Upload an export to the Hugging Face hub, with a model card."),
    "miniature": ("miniature.__main__", "Write the small synthetic corpus that ships with the project."),
}


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default that of the process."""
    verb, *rest = (sys.argv[1:] if args is None else list(args)) or ["--help"]
    if verb in ("-h", "--help"):
        print("usage: earshot VERB ...\n\nZero-shot audio captioning.\n\nverbs:")
        print("\n".join(f"  {name:<10} {text}" for name, (_, text) in VERBS.items()))
        print("\nearshot VERB --help describes the arguments of a verb; earshot --version prints the version.")
    elif verb == "--version":
        print(__version__)
    else:
        with one_line_errors():
            if verb not in VERBS:
                raise InputError(f"expected one of {', '.join(VERBS)}, found {verb!r}; see: earshot --help")
        put_working_folder_last()
        import_module(VERBS[verb][0]).main(rest)


def put_working_folder_last() -> None:
    """Let a YAML name classes of the working folder, but no file there replace a module of the project."""
    here, project = Path.cwd(), Path(__file__).parents[1]
    if here != project:
        others = [path for path in sys.path if Path(path or ".").absolute() != here]
        sys.path[:] = [*others, str(project), str(here)]  # an editable install's own finder comes after all of these


if __name__ == "__main__":
    main()
