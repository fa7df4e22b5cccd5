"""A digest of what a network or a table is read from, so that results are told apart by what made them."""

import hashlib
from pathlib import Path

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
