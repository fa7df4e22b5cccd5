"""A digest of what a network or a table is read from, so that results are told apart by what made them."""

import hashlib
from pathlib import Path
from typing import Protocol, runtime_checkable

LENGTH = 16  # hexadecimal digits


def path_digest(path: Path) -> str:
    """A digest of a file, or of the files in a folder: where a run left them and what it logged do not count."""
    if path.is_file():
        return file_digest(path).hex()[:LENGTH]
    digest = hashlib.sha256()
    for each in sorted(path.iterdir()):
        if each.is_file() and each.suffix != ".md" and each.name != "provenance.json":
            digest.update(each.name.encode())
            digest.update(file_digest(each))
    return digest.hexdigest()[:LENGTH]


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


@runtime_checkable
class Fingerprinted(Protocol):
    """A model of audio and text that says what decides its embeddings."""

    def fingerprint(self, part: str) -> str:
        """A digest of everything that decides the embeddings of `part`, "text" or "audio"."""


def model_name(model: object) -> str:
    """A model of audio and text by its class and, where it tells them, the digests of its two towers."""
    digests = (
        [model.fingerprint(part)[:LENGTH] for part in ("text", "audio")] if isinstance(model, Fingerprinted) else []
    )
    return " ".join([type(model).__name__, *digests])


@runtime_checkable
class KnowsTrainingData(Protocol):
    """A network whose file says what it was trained on: tables or names of data."""

    trained_on: tuple[str, ...]


def trained_on(network: object) -> list[str]:
    """What a network says that it was trained on; nothing where it does not say."""
    return list(network.trained_on) if isinstance(network, KnowsTrainingData) else []
