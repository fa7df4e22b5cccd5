"""A clip of the miniature that someone puts together: what sounds, and what is seen."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from earshot.errors import InputError
from miniature import world
from miniature.corpora import wav_bytes
from miniature.vocabulary import SCENES, THINGS

MOST_SEEN = 4  # one in each quadrant of the image
SHOWN = 256  # pixels; the world's images have 64


def heard_choices() -> list[tuple[str, str]]:
    """A clause about each thing that sounds, such as "a bell rings", and its name."""
    return [(world.heard_phrase(name), name) for name, thing in THINGS.items() if thing.heard]


def seen_choices() -> list[tuple[str, str]]:
    """The noun of each thing that can be seen, and its name."""
    return [(thing.seen, name) for name, thing in THINGS.items() if thing.seen]


def write_scene(folder: Path, heard: Sequence[str], seen: Sequence[str], ground: str, take: int = 0) -> Path:
    """Write a scene's audio, and its image beside it, as AudioCaps' clips are in the miniature.

    Args:
        folder: where scene.wav and scene.png go.
        heard: names of the things that sound, for the whole of the clip.
        seen: names of the things in the image, which need not sound.
        ground: one of the miniature's scenes.
        take: another number draws other pitches, rhythms, colours and places.

    Returns:
        The path of the audio.

    Raises:
        InputError: nothing sounds, too much is seen, or a name that is none of the miniature's.
    """
    unknown = {*heard, *seen} - THINGS.keys() | {ground} - set(SCENES)
    if unknown or not heard or len(seen) > MOST_SEEN:
        found = f"{min(unknown)!r}" if unknown else f"{len(heard)} that sound and {len(seen)} that are seen"
        raise InputError(
            f"expected one thing or more that sound and at most {MOST_SEEN} that are seen, found {found}; choose again"
        )
    rng = world.generator(take, "scene", 0, "clip")
    style = world.AUDIOCAPS
    quadrants = rng.permutation(MOST_SEEN).tolist()
    placed = tuple((name, str(rng.choice(THINGS[name].colours)), q) for name, q in zip(seen, quadrants))
    events = tuple(world.Event(name, 0.0, style.seconds, 0.8) for name in heard)
    clip = world.Clip(ground, placed, events)
    folder.mkdir(parents=True, exist_ok=True)
    pixels = world.picture(clip, world.generator(take, "scene", 0, "pictures"))
    Image.fromarray(pixels).resize((SHOWN, SHOWN), Image.Resampling.NEAREST).save(folder / "scene.png")
    waveform = world.sound(clip, style, world.generator(take, "scene", 0, "sound"))
    path = folder / "scene.wav"
    path.write_bytes(wav_bytes(waveform, style.sampling_rate))
    return path
