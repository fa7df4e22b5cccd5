"""Names of media files: the one place that says by their endings what is audio, what video and what an image."""

import re
import unicodedata

AUDIO = {
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".m4a", ".m4b", ".aac", ".ac3", ".au", ".caf",
    ".mka", ".w64",
}  # fmt: skip
VIDEO = {".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".3gp"}
IMAGES = {".jpg", ".jpeg", ".png"}

ENDING = re.compile(rf"\.({'|'.join(sorted(ending[1:] for ending in AUDIO | VIDEO))})$", re.IGNORECASE)  # not any dot's


def composed(name: str) -> str:
    """A name in Unicode's composed form: macOS decomposes names, tables mostly do not."""
    return unicodedata.normalize("NFC", name)
