"""Pictures as people have them: turned, grey, of 16 bits."""

import struct
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps

PICTURE_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises


def read_picture(source: Path | BinaryIO) -> Image.Image:
    """A JPEG or PNG as RGB, upright.

    Raises:
        OSError, ValueError, SyntaxError, DecompressionBombError: it cannot be decoded (`PICTURE_ERRORS`).
    """
    with Image.open(source, formats=("JPEG", "PNG")) as file:
        with suppress(struct.error, TypeError):  # Pillow turns it, then writes its EXIF anew, which may be damaged
            ImageOps.exif_transpose(file, in_place=True)
        if file.mode.startswith("I"):  # grey of 16 bits, which `convert` alone would clip at 255
            return file.point(lambda value: value / 257).convert("L").convert("RGB")
        return file.convert("RGB")
