"""Pictures against the colours that were drawn, by the opener and by what a stage reads of a file."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from datamodules.clip_reader import decode_image
from datamodules.pictures import read_picture


def turned(format: str) -> bytes:
    """A picture 40 wide and 20 high, white at the left, whose EXIF says that this is the top."""
    image = Image.new("RGB", (40, 20))
    image.paste((255, 255, 255), (0, 0, 20, 20))
    exif = image.getexif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    buffer = BytesIO()
    image.save(buffer, format, exif=exif)
    return buffer.getvalue()


def assert_upright(data: bytes) -> None:
    image = read_picture(BytesIO(data))
    assert image.size == (20, 40) and image.mode == "RGB"
    decoded = decode_image(data, 20)  # (3, 20, 20), the middle
    assert decoded[:, :8].min() > 240 and decoded[:, -8:].max() < 15


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_turned_picture_stands_upright(format: str) -> None:
    assert_upright(turned(format))


@pytest.mark.parametrize("tag", [0x0100, 0x011A])  # width and resolution: integers, fractions
def test_exif_that_is_damaged_elsewhere_does_not_matter(tag: int) -> None:
    data, maker = turned("JPEG"), b"\x01\x0f\x00\x02"  # big-endian: the tag, and that it is text
    assert maker in data
    assert_upright(data.replace(maker, tag.to_bytes(2, "big") + maker[2:]))


def test_16_bits_of_grey_keep_their_scale() -> None:
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    buffer = BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    for pixels in (np.asarray(read_picture(buffer)).transpose(2, 0, 1), decode_image(buffer.getvalue(), 64)):
        assert pixels.shape == (3, 64, 64) and np.abs(pixels - ramp / 257).max() <= 1
