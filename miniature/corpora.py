"""What is in the miniature's splits.

Every clip has a random generator of its own, seeded by (seed, split, number), so splits share no clip.
"""

import io
from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import soundfile
from PIL import Image

from earshot.terminal import counted
from miniature import world
from miniature.vocabulary import COLOURS, SCENES, SILENT, SOUNDING, THINGS, a
from miniature.world import AUDIOCAPS, AUDIOSET, CLOTHO, WAVCAPS, Clip, Style

SPLITS: dict[str, tuple[Style, int]] = {
    "audioset/train": (AUDIOSET, 6000),
    "audioset/balanced": (AUDIOSET, 1000),
    "audioset/val": (AUDIOSET, 200),
    "audiocaps/train": (replace(AUDIOCAPS, captions=1), 3000),
    "audiocaps/val": (AUDIOCAPS, 200),
    "audiocaps/test": (AUDIOCAPS, 300),
    "clotho/train": (CLOTHO, 1000),
    "clotho/val": (CLOTHO, 100),
    "clotho/test": (CLOTHO, 150),
    "wavcaps/train": (WAVCAPS, 3000),
    "wavcaps/val": (WAVCAPS, 300),
}
WORLD_VERSION = 1  # raise it whenever a clip's bytes change: shards of another version are written again
NUM_SENTENCES = 2000  # of each kind


def wav_bytes(waveform: np.ndarray, sampling_rate: int) -> bytes:
    """A mono int16 waveform as a WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, sampling_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _jpeg_bytes(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def clip_sample(seed: int, split: str, index: int, style: Style) -> tuple[str, dict[str, bytes], dict]:
    """One clip as `write_shards` takes it: id, media by extension, record."""
    clip = world.make_clip(world.generator(seed, split, index, "clip"), style)
    waveform = world.sound(clip, style, world.generator(seed, split, index, "sound"))
    media = {"wav": wav_bytes(waveform, style.sampling_rate)}
    if style.pictures:
        rng = world.generator(seed, split, index, "pictures")
        for frame in range(world.NUM_FRAMES):
            media[f"{frame}.jpg"] = _jpeg_bytes(world.picture(clip, rng))
    rng = world.generator(seed, split, index, "captions")
    record = {
        "captions": [world.heard_caption(clip, style, rng) for _ in range(style.captions)],
        "labels": [event.name for event in clip.events],
        "scene": clip.scene,
        "seen": [[name, colour] for name, colour, _ in clip.placed] if style.pictures else [],
        "events": [asdict(event) for event in clip.events],
    }
    return f"{split.replace('/', '-')}-{index:06d}", media, record


def samples(split: str, seed: int, count: int) -> Iterator[tuple[str, dict[str, bytes], dict]]:
    """The first `count` clips of a split."""
    for index in counted(range(count), f"writing {split}", "clips"):
        yield clip_sample(seed, split, index, SPLITS[split][0])


def sentences(seed: int = 0, count: int = NUM_SENTENCES) -> tuple[list[str], list[str]]:
    """`count` audible and `count` inaudible sentences, all different.

    Bare nouns occur in both kinds, some inaudible sentences have a participle such as "ringing", and half of those with
    an attribute name no scene, so that no single word, present or missing, tells which kind a sentence is.
    """
    rng = world.generator(seed, "sentences", 0, "sentences")
    audible: dict[str, None] = {}
    while len(audible) < count:
        clip: Clip = world.make_clip(rng, WAVCAPS)
        audible[world.heard_caption(clip, replace(WAVCAPS, adverbs=bool(rng.random() < 0.5)), rng)] = None
    inaudible: dict[str, None] = {}
    while len(inaudible) < count:
        clip = world.make_clip(rng, AUDIOCAPS)
        things = [*SOUNDING, *SILENT]
        thing, colour = THINGS[str(rng.choice(things))], str(rng.choice(list(COLOURS)))
        scene = f" on the {rng.choice(SCENES)}" if rng.random() < 0.5 else ""
        sentence = [
            world.seen_caption(clip, rng),
            f"{a(str(thing.seen))} that is {colour}{scene}",
            f"{a(f'{colour} {thing.seen}')} {(thing.verbs or ('', 'standing'))[1]}{scene}",
        ][int(rng.integers(3))]
        if sentence not in audible:
            inaudible[sentence] = None
    return list(audible), list(inaudible)
