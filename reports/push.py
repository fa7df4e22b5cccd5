"""earshot push EXPORT REPO: an export to the Hugging Face hub, with a model card of what is known about it."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from earshot.digests import path_digest
from earshot.errors import InputError, one_line_errors
from earshot.settings import read_settings
from evaluation.scores import TITLES
from reports.origin import MADE_BY_ELSEWHERE, noted_by_test
from reports.rows import parse_rows, read_runs
from reports.table import Line, add_measurement, measure_rows

COLUMNS = ("bleu_4", "rouge_l", "cider_d", "meteor", "spice", "spider")
TASK = "audio-captioning"
SYNTHETIC = "miniature/"


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default the process's."""
    parser = argparse.ArgumentParser(
        "earshot push",
        description="Upload an export to the Hugging Face hub. Its model card says how it was trained, on what, how it "
        "scores with intervals, and what its limits are. You need to be logged in: hf auth login, or HF_TOKEN.",
    )
    add = parser.add_argument
    add("export", type=Path, help="folder of the export, such as exports/dali_ot")
    add("repo", help="where to, as user/name; made where there is none")
    add("--run", help="tests of it, as runs/<run_name> or a run folder, whose scores the card shows")
    add("--license", help="of the weights, as the hub abbreviates it, such as apache-2.0")
    add("--language", default="en", help="of the captions; default: %(default)s")
    add("--public", action="store_true", help="a new repository is for everybody to see; default: private")
    add("--dry-run", action="store_true", help="print the card and the files, and upload nothing")
    add_measurement(parser)
    with one_line_errors():
        push(parser.parse_args(args))


def push(options: argparse.Namespace) -> None:
    """Write the card, and upload the folder in one commit.

    Raises:
        InputError: no such export, no name of a repository, or the hub refuses.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    folder: Path = options.export
    if not (folder / "provenance.json").is_file():
        raise InputError(f"expected an export in {folder}, found no provenance.json; name one, as exports/dali_ot")
    try:
        validate_repo_id(options.repo)
    except HFValidationError as error:
        raise InputError(f"expected a repository as user/name, found: {str(error).rstrip('.')}; correct it") from None
    if "/" not in options.repo:
        raise InputError(f"expected a repository as user/name, found {options.repo!r}; correct it")
    with tempfile.TemporaryDirectory() as work:
        options.output = Path(work) / "card.md"  # where Java may write
        card = model_card(options)
        if options.dry_run:
            print(card)
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                print(f"{path.relative_to(folder)} ({path.stat().st_size / 1e6:.3g} MB)", file=sys.stderr)
            print(f"would be uploaded to {options.repo}; nothing was", file=sys.stderr)
            return
        copy = Path(work) / "export"
        shutil.copytree(folder.resolve(), copy, copy_function=os.symlink if hasattr(os, "symlink") else shutil.copy2)
        (copy / "README.md").unlink(missing_ok=True)
        (copy / "README.md").write_text(card, encoding="utf-8")
        print(f"uploaded to {upload(copy, options.repo, private=not options.public)}")


def upload(folder: Path, repo: str, private: bool) -> str:
    """Upload a folder in one commit; returns its address.

    Raises:
        InputError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # of httpx or httpx2: which one the hub's client asks with

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="earshot")
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder.resolve(), commit_message="Upload by earshot"))
    except (HTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"expected the hub to take {repo}, found: {reason}; log in (hf auth login), correct the name, or look at "
            "the network"
        ) from error


def model_card(options: argparse.Namespace) -> str:
    """The README.md of the repository: a header that the hub reads, what the export says, scores, and limits."""
    folder: Path = options.export
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {folder.name}\n"
    _, _, body = text.partition("\n---\n") if text.startswith("---\n") else ("", "", text)
    stage = read_settings(folder / "stage.yaml") if (folder / "stage.yaml").is_file() else {}
    names = sorted(set(named(stage.get("model", {}))))
    small = any("assets/miniature/" in name for name in names)
    line, measured, split, made_by = scored(options) if options.run else ({}, [], "", {})
    header: dict[str, Any] = {
        "library_name": "earshot", "pipeline_tag": "audio-text-to-text", "language": options.language,
        "tags": [TASK, "zero-shot"], "license": options.license,
        "base_model": [name for name in names if hub_id(name)],
        "datasets": [split.partition("/")[0]] if split and not split.startswith(SYNTHETIC) else [],
        "metrics": list(line),
    }  # fmt: skip
    if line:
        scores = [
            {"type": key, "name": TITLES[key], "value": round(float(cell.value), 4)}  # type: ignore[union-attr]
            for key, cell in line.items()
        ]
        header["model-index"] = [{
            "name": folder.name,
            "results": [{"task": {"type": TASK}, "dataset": {"type": split, "name": split}, "metrics": scores}],
        }]  # fmt: skip
    header = {key: value for key, value in header.items() if value}
    parts = [f"---\n{yaml.safe_dump(header, sort_keys=False)}---", body.strip()]
    if line:
        rows = "".join(f"| {TITLES[key]} | {cell} |\n" for key, cell in line.items())
        parts.append(f"## Scores on {split}\n\n| metric | score |\n|---|---|\n{rows.rstrip()}")
        parts.append("\n".join(f"- {entry}" for entry in measured))
    if made_by:
        parts.append(f"## How its captions were made\n\n```yaml\n{yaml.safe_dump(made_by, sort_keys=False)}```")
    parts.append("## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits(small, bool(line))))
    return "\n\n".join(parts) + "\n"


def scored(options: argparse.Namespace) -> tuple[Line, list[str], str, dict[str, Any]]:
    """The scores of a run with intervals, how they were measured, the split, and what the test noted (`made_by`).

    Raises:
        InputError: the run tested other weights than the export's.
    """
    paths = parse_rows([f"run={options.run}"])
    for path in paths["run"]:
        require_same_weights(options.export, path.parent, noted_by_test(path))
    found = measure_rows(options, COLUMNS, paths, read_runs(paths), {})
    (line,) = found.lines
    config = paths["run"][0].with_name("config.yaml")
    data = read_settings(config)["data"] if config.is_file() else {}
    split = data.get("init_args", {}).get("test") or "its test split"
    # the card has them below, and no scores.json beside it
    measured = [entry for entry in found.measured if entry != MADE_BY_ELSEWHERE]
    made_by = noted_by_test(paths["run"][0])
    if made_by.get("clips", {}).get("synthetic"):  # only called like a corpus
        split = SYNTHETIC + str(split)
    return {key: cell for key, cell in line.items() if key in COLUMNS}, measured, str(split), made_by


def require_same_weights(export: Path, run: Path, made_by: dict[str, Any]) -> None:
    """Check that a test was one of the export as it is now, where the test noted what it started from.

    Raises:
        InputError: it was one of other weights.
    """
    weights = made_by.get("weights")
    if weights is None:
        return
    tested = weights.get("export")
    digest = made_by.get("made_from", {}).get(tested, {}).get("digest")
    if digest != path_digest(export):
        found = f"{tested}/ (digest {digest})" if tested else weights.get("checkpoint", "pretrained weights")
        raise InputError(
            f"expected scores of {export}/ as it is now (digest {path_digest(export)}), found in {run} those of "
            f"{found}; test the export again, and name that run"
        )


def named(settings: Any) -> Iterator[str]:
    """All models that a stage's settings name: folders and hub ids."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            if isinstance(value, str) and key in MODELS:
                yield value
            else:
                yield from named(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from named(value)


MODELS = {"llava", "prefix", "audio_projector", "pretrained_model_name_or_path", "language_model", "classifier"}


def hub_id(name: str) -> bool:
    """Whether a name is one of the hub, and not a folder here."""
    return not name.startswith(("assets/", "exports/", "checkpoints/", "data/", "/", ".")) and not Path(name).exists()


def limits(small: bool, scores: bool) -> Iterator[str]:
    """What a reader should know before using it."""
    if small:
        yield "Made of earshot's miniature models: it knows some twenty synthetic sounds, and nothing of real audio."
    if not scores:
        yield "Not scored: this card was made without a test."
    yield "It can name things that are not in the audio, and leave out things that are."
    yield "Weights that it names and does not hold keep their own licences."


if __name__ == "__main__":
    main()
