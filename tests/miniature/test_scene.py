"""Scenes that someone puts together: what was ticked is heard and seen, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from earshot.captioner import Captioner
from earshot.errors import InputError
from miniature.scene import heard_choices, seen_choices, write_scene


def test_the_captioner_hears_what_was_ticked(in_tmp_path: Path) -> None:
    captioner = Captioner.from_pretrained("keywords", device="cpu")
    verbs = {name: phrase.split()[-1] for phrase, name in heard_choices()}
    for name in ("bell", "dog", "rain"):
        assert verbs[name] in captioner(write_scene(Path(name), [name], ["tree"], "snow"))


def test_the_image_has_what_was_ticked(tmp_path: Path) -> None:
    """Nothing but the ground, and four things in its quadrants; a take is the same each time and unlike another."""
    empty, full, again, other = (tmp_path / name for name in "abcd")
    write_scene(empty, ["wind"], [], "beach")
    four = [name for _, name in seen_choices()][:4]
    for folder, take in ((full, 1), (again, 1), (other, 2)):
        write_scene(folder, ["wind", "bell"], four, "beach", take)
    pixels = {
        folder: np.asarray(Image.open(folder / "scene.png")).astype(int) for folder in (empty, full, again, other)
    }
    sand = pixels[empty].mean((0, 1))
    assert np.abs(pixels[empty] - sand).max() < 15
    for quadrant in (pixels[full][y : y + 128, x : x + 128] for y in (0, 128) for x in (0, 128)):
        assert np.abs(quadrant - sand).max() > 60
    assert (pixels[full] == pixels[again]).all() and (pixels[full] != pixels[other]).any()
    assert (full / "scene.wav").read_bytes() == (again / "scene.wav").read_bytes() != (other / "scene.wav").read_bytes()
    assert soundfile.info(full / "scene.wav").duration == 2.5


@pytest.mark.parametrize(
    ("heard", "seen", "ground", "found"),
    [
        ([], ["dog"], "snow", "0 that sound and 1 that are seen"),
        (["dog"], ["dog", "cat", "cow", "tree", "rock"], "snow", "1 that sound and 5 that are seen"),
        (["unicorn"], [], "snow", "'unicorn'"),
        (["dog"], [], "moon", "'moon'"),
    ],
)
def test_mistakes(heard: list[str], seen: list[str], ground: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"found {found}; choose again"):
        write_scene(tmp_path, heard, seen, ground)
