"""The images: a drawn sprite for each thing that can be seen, on a scene."""

from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from miniature.vocabulary import COLOURS

IMAGE_SIZE = 64  # pixels
PATCH_SIZE = 8  # of the small vision tower; a sprite covers whole patches
SPRITE_SIZE = 3 * PATCH_SIZE
SUPERSAMPLING = 4  # sprites are drawn on a 96 x 96 canvas and averaged down

Colour = tuple[int, int, int]
INK: Colour = (24, 24, 28)
SCENE_COLOURS = {
    "grass": (96, 168, 72),
    "street": (128, 128, 134),
    "beach": (232, 212, 160),
    "snow": (206, 224, 238),
}


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


def _bell(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.ellipse((42, 6, 54, 18), fill=INK)
    d.pieslice((22, 12, 74, 84), 180, 360, fill=c, outline=INK, width=3)
    d.polygon([(22, 46), (74, 46), (88, 76), (8, 76)], fill=c, outline=INK, width=3)
    d.line((34, 30, 28, 70), fill=_shade(c, 1.4), width=5)
    d.ellipse((39, 74, 57, 92), fill=INK)


def _drum(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.rectangle((10, 38, 86, 78), fill=c)
    d.ellipse((10, 66, 86, 92), fill=c, outline=INK, width=3)
    d.rectangle((12, 60, 84, 78), fill=c)
    for x in (12, 37, 62):
        d.line((x, 42, x + 12, 82, x + 24, 42), fill=(250, 235, 190), width=4)
    d.ellipse((10, 26, 86, 54), fill=(250, 245, 230), outline=INK, width=3)
    d.line((10, 40, 10, 80), fill=INK, width=3)
    d.line((86, 40, 86, 80), fill=INK, width=3)
    d.line((30, 6, 46, 40), fill=(120, 70, 30), width=6)
    d.line((80, 6, 58, 38), fill=(120, 70, 30), width=6)


def _eyes(d: ImageDraw.ImageDraw, y: int, left: int = 34, right: int = 62, r: int = 6) -> None:
    for x in (left, right):
        d.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255), outline=INK, width=2)
        d.ellipse((x - 3, y - 3, x + 3, y + 3), fill=INK)


def _dog(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.ellipse((18, 12, 78, 84), fill=c, outline=INK, width=3)
    d.ellipse((4, 14, 28, 66), fill=_shade(c, 0.6), outline=INK, width=3)
    d.ellipse((68, 14, 92, 66), fill=_shade(c, 0.6), outline=INK, width=3)
    _eyes(d, 40)
    d.ellipse((30, 52, 66, 84), fill=_shade(c, 1.3), outline=INK, width=2)
    d.ellipse((40, 52, 56, 64), fill=INK)
    d.rectangle((43, 72, 53, 92), fill=(232, 110, 130), outline=INK)


def _cat(d: ImageDraw.ImageDraw, c: Colour) -> None:
    for ear in ([(12, 44), (14, 2), (44, 22)], [(84, 44), (82, 2), (52, 22)]):
        d.polygon(ear, fill=c, outline=INK, width=3)
    d.ellipse((10, 18, 86, 88), fill=c, outline=INK, width=3)
    for x in (32, 64):
        d.ellipse((x - 9, 38, x + 9, 54), fill=(150, 220, 90), outline=INK, width=2)
        d.line((x, 39, x, 53), fill=INK, width=4)
    d.polygon([(42, 60), (54, 60), (48, 68)], fill=(240, 130, 150))
    for y in (62, 70):
        d.line((2, y - 2, 34, y), fill=(150, 150, 150), width=2)
        d.line((94, y - 2, 62, y), fill=(150, 150, 150), width=2)


def _bird(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.polygon([(4, 40), (34, 52), (18, 70)], fill=_shade(c, 0.7), outline=INK, width=2)
    d.ellipse((18, 32, 74, 80), fill=c, outline=INK, width=3)
    d.ellipse((50, 10, 84, 46), fill=c, outline=INK, width=3)
    d.polygon([(82, 22), (96, 30), (81, 36)], fill=(250, 150, 30), outline=INK)
    d.ellipse((66, 20, 74, 28), fill=INK)
    d.pieslice((22, 30, 62, 70), 20, 180, fill=_shade(c, 0.65), outline=INK, width=2)
    for x in (42, 54):
        d.line((x, 78, x, 94), fill=(200, 110, 20), width=4)


def _car(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.polygon([(20, 46), (32, 22), (66, 22), (80, 46)], fill=c, outline=INK, width=3)
    d.polygon([(29, 44), (37, 28), (47, 28), (47, 44)], fill=(190, 225, 250))
    d.polygon([(52, 44), (52, 28), (63, 28), (71, 44)], fill=(190, 225, 250))
    d.rounded_rectangle((3, 44, 93, 70), 8, fill=c, outline=INK, width=3)
    for x in (24, 72):
        d.ellipse((x - 14, 56, x + 14, 84), fill=INK)
        d.ellipse((x - 6, 64, x + 6, 76), fill=(190, 190, 190))


def _ambulance(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.rectangle((34, 4, 58, 16), fill=(40, 90, 250), outline=INK, width=2)
    d.rectangle((3, 16, 66, 72), fill=c, outline=INK, width=3)
    d.polygon([(66, 32), (82, 32), (93, 52), (93, 72), (66, 72)], fill=c, outline=INK, width=3)
    d.polygon([(70, 37), (80, 37), (88, 52), (70, 52)], fill=(190, 225, 250))
    cross = (230, 30, 40) if c[1] > 100 else (255, 255, 255)
    d.rectangle((29, 24, 39, 60), fill=cross)
    d.rectangle((16, 37, 52, 47), fill=cross)
    for x in (22, 74):
        d.ellipse((x - 12, 62, x + 12, 86), fill=INK)
        d.ellipse((x - 5, 69, x + 5, 79), fill=(190, 190, 190))


def _clock(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.ellipse((6, 6, 90, 90), fill=c, outline=INK, width=3)
    d.ellipse((17, 17, 79, 79), fill=(255, 253, 240), outline=INK, width=2)
    for x, y in ((48, 22), (48, 74), (22, 48), (74, 48)):
        d.ellipse((x - 3, y - 3, x + 3, y + 3), fill=INK)
    d.line((48, 48, 48, 28), fill=INK, width=6)
    d.line((48, 48, 64, 58), fill=INK, width=6)


def _frog(d: ImageDraw.ImageDraw, c: Colour) -> None:
    body = (60, 170, 70)
    for x in (26, 70):
        d.ellipse((x - 16, 6, x + 16, 38), fill=body, outline=INK, width=3)
        d.ellipse((x - 9, 12, x + 9, 30), fill=(255, 255, 255))
        d.ellipse((x - 4, 17, x + 4, 27), fill=INK)
    d.ellipse((4, 26, 92, 88), fill=body, outline=INK, width=3)
    d.ellipse((22, 58, 74, 88), fill=c)
    d.arc((16, 26, 80, 66), 15, 165, fill=INK, width=5)


def _cow(d: ImageDraw.ImageDraw, c: Colour) -> None:
    for horn in ([(20, 22), (10, 0), (32, 14)], [(76, 22), (86, 0), (64, 14)]):
        d.polygon(horn, fill=(235, 220, 180), outline=INK)
    d.ellipse((0, 22, 26, 42), fill=c, outline=INK, width=2)
    d.ellipse((70, 22, 96, 42), fill=c, outline=INK, width=2)
    d.ellipse((20, 8, 76, 84), fill=c, outline=INK, width=3)
    d.ellipse((50, 14, 74, 44), fill=INK if sum(c) > 300 else (240, 240, 240))
    _eyes(d, 36)
    d.ellipse((18, 54, 78, 92), fill=(244, 170, 180), outline=INK, width=3)
    for x in (36, 60):
        d.ellipse((x - 5, 66, x + 5, 78), fill=(150, 70, 85))


def _fire(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.line((10, 90, 86, 74), fill=(110, 66, 30), width=11)
    d.line((10, 74, 86, 90), fill=(90, 52, 24), width=11)
    flame = [(48, 2), (62, 26), (70, 18), (84, 54), (72, 80), (24, 80), (12, 54), (24, 24), (34, 38)]
    d.polygon(flame, fill=c, outline=_shade(c, 0.7), width=3)
    d.polygon([(48, 34), (62, 58), (56, 80), (38, 80), (34, 58)], fill=(255, 240, 150))


def _cloud(d: ImageDraw.ImageDraw, c: Colour) -> None:
    for box in ((4, 22, 46, 58), (26, 4, 70, 54), (52, 20, 92, 58)):
        d.ellipse(box, fill=c, outline=INK, width=3)
    d.ellipse((14, 26, 82, 56), fill=c)
    for x, y in ((16, 64), (34, 72), (52, 64), (70, 72), (84, 62)):
        d.line((x, y, x - 7, y + 20), fill=(30, 90, 230), width=6)


def _tree(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.rectangle((40, 56, 56, 94), fill=(104, 66, 34), outline=INK, width=2)
    leaves = (36, 120, 50) if c == COLOURS["brown"] else c
    for box in ((6, 26, 56, 70), (40, 26, 90, 70), (22, 2, 74, 52)):
        d.ellipse(box, fill=leaves, outline=INK, width=2)
    d.ellipse((22, 30, 74, 64), fill=leaves)


def _rock(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.polygon([(4, 86), (14, 48), (36, 28), (62, 34), (84, 58), (92, 86)], fill=c, outline=INK, width=3)
    d.polygon([(14, 48), (36, 28), (44, 56), (26, 68)], fill=_shade(c, 1.35))
    d.line((44, 56, 62, 34), fill=_shade(c, 0.6), width=3)
    d.line((44, 56, 56, 86), fill=_shade(c, 0.6), width=3)


def _house(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.rectangle((14, 42, 82, 92), fill=c, outline=INK, width=3)
    d.polygon([(2, 44), (48, 4), (94, 44)], fill=(120, 56, 40), outline=INK, width=3)
    d.rectangle((40, 62, 58, 92), fill=(90, 60, 30), outline=INK, width=2)
    for x in (20, 64):
        d.rectangle((x, 52, x + 12, 66), fill=(190, 225, 250), outline=INK, width=2)


def _flower(d: ImageDraw.ImageDraw, c: Colour) -> None:
    d.line((48, 50, 48, 94), fill=(40, 130, 50), width=7)
    d.ellipse((50, 68, 78, 82), fill=(40, 150, 60))
    for x, y in ((48, 14), (74, 32), (64, 58), (32, 58), (22, 32)):
        d.ellipse((x - 16, y - 14, x + 16, y + 14), fill=c, outline=INK, width=2)
    d.ellipse((34, 24, 62, 52), fill=(250, 170, 40), outline=INK, width=2)


DRAW: dict[str, Callable[[ImageDraw.ImageDraw, Colour], None]] = {
    "bell": _bell, "drum": _drum, "dog": _dog, "cat": _cat, "bird": _bird, "car": _car, "siren": _ambulance,
    "clock": _clock, "frog": _frog, "cow": _cow, "fire": _fire, "rain": _cloud,
    "tree": _tree, "rock": _rock, "house": _house, "flower": _flower,
}  # fmt: skip


@cache
def sprite(name: str, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """A thing in a colour: pixels (24, 24, 3) and opacity (24, 24, 1) in [0, 1]."""
    canvas = Image.new("RGBA", (SPRITE_SIZE * SUPERSAMPLING,) * 2, (0, 0, 0, 0))
    DRAW[name](ImageDraw.Draw(canvas), COLOURS[colour])
    pixels = np.asarray(canvas, dtype=np.float64)  # (96, 96, 4)
    blocks = pixels.reshape(SPRITE_SIZE, SUPERSAMPLING, SPRITE_SIZE, SUPERSAMPLING, 4)
    opacity = blocks[..., 3:] / 255
    mean_opacity = opacity.mean((1, 3))  # (24, 24, 1)
    colours = (blocks[..., :3] * opacity).mean((1, 3)) / np.maximum(mean_opacity, 1e-6)
    return colours, mean_opacity


def draw(scene: str, placed: list[tuple[str, str, int, int]], rng: np.random.Generator) -> np.ndarray:
    """An image of things on a scene.

    Args:
        scene: its name.
        placed: name, colour, row and column (of the patch at the sprite's upper left corner) of each thing.
        rng: draws the grain of the ground.

    Returns:
        (64, 64, 3) uint8.
    """
    grain = np.kron(rng.integers(-10, 11, (IMAGE_SIZE // 2,) * 2 + (1,)), np.ones((2, 2, 1)))
    picture = np.asarray(SCENE_COLOURS[scene], dtype=np.float64) + grain  # (64, 64, 3)
    for name, colour, row, column in placed:
        pixels, opacity = sprite(name, colour)
        top, left = row * PATCH_SIZE, column * PATCH_SIZE
        window = picture[top : top + SPRITE_SIZE, left : left + SPRITE_SIZE]
        window += (pixels - window) * opacity
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
