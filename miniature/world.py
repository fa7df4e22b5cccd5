"""One clip of the miniature world: what is in it, how it looks and sounds, and its captions."""

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from miniature import sounds, sprites
from miniature.vocabulary import OFF_SCREEN, SCENES, SILENT, SOUNDING, THINGS, a

NUM_FRAMES = 10
OFF_SCREEN_RATE = 0.15  # of the clips have a sound whose source is not in the image
SILENT_RATE = 0.5  # of the clips with room for it show a thing that makes no sound
MISMATCH_RATE = 0.1  # of AudioSet's clips show other things than the ones that sound


@dataclass(frozen=True)
class Style:
    """How the clips of a corpus are drawn.

    Attributes:
        seconds: length of the audio.
        sampling_rate: of the audio, in Hz.
        gains: range of each event's gain.
        reverb: level of the reverberation.
        pictures: False for a corpus of audio alone.
        mismatch: share of the clips whose images show other things than those that sound.
        captions: number of captions for each clip; 0 for none.
        adverbs: whether captions say how loud a thing is.
    """

    seconds: float = 2.5
    sampling_rate: int = 16000
    gains: tuple[float, float] = (0.4, 1.0)
    reverb: float = 0.0
    pictures: bool = True
    mismatch: float = 0.0
    captions: int = 5
    adverbs: bool = False


AUDIOSET = Style(mismatch=MISMATCH_RATE, captions=0)
AUDIOCAPS = Style()
CLOTHO = Style(seconds=5.0, sampling_rate=44100, gains=(0.2, 0.8), reverb=0.5, pictures=False)
WAVCAPS = Style(pictures=False, captions=1, adverbs=True)


@dataclass(frozen=True)
class Event:
    """Something heard: its name, start and end in seconds, gain (1 is full scale)."""

    name: str
    start: float
    end: float
    gain: float


@dataclass(frozen=True)
class Clip:
    """What a clip is made of; `placed` holds name, colour and quadrant of each thing seen."""

    scene: str
    placed: tuple[tuple[str, str, int], ...]
    events: tuple[Event, ...]


def generator(seed: int, split: str, index: int, what: str) -> np.random.Generator:
    """A random generator for one clip and one purpose, the same on every machine."""
    return np.random.default_rng([seed, crc32(split.encode()), index, crc32(what.encode())])


def make_clip(rng: np.random.Generator, style: Style) -> Clip:
    """Draw a clip: one to three things that sound, at most one silent thing, at most one sound from off-screen."""
    sounding = rng.choice(SOUNDING, rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]), replace=False).tolist()
    seen = list(sounding)
    if rng.random() < style.mismatch:
        others = [name for name in SOUNDING if name not in sounding]
        seen = rng.choice(others, len(sounding), replace=False).tolist()
    if rng.random() < SILENT_RATE:
        seen.append(str(rng.choice(SILENT)))
    heard = list(sounding)
    if rng.random() < OFF_SCREEN_RATE:
        heard.append(str(rng.choice(OFF_SCREEN)))
    quadrants = rng.permutation(4)
    placed = tuple((name, str(rng.choice(THINGS[name].colours)), int(q)) for name, q in zip(seen, quadrants))
    events = []
    for name in heard:
        start = rng.uniform(0, 0.3) * style.seconds
        end = start + rng.uniform(0.65, 1.0) * (style.seconds - start)
        events.append(Event(name, start, end, rng.uniform(*style.gains)))
    return Clip(str(rng.choice(SCENES)), placed, tuple(events))


def picture(clip: Clip, rng: np.random.Generator) -> np.ndarray:
    """One frame, (64, 64, 3) uint8: each thing at a random place in its quadrant of 4 x 4 patches."""
    return sprites.draw(clip.scene, layout(clip, rng), rng)


def layout(clip: Clip, rng: np.random.Generator) -> list[tuple[str, str, int, int]]:
    """Where each thing is in one frame: name, colour, row and column of its upper left patch."""
    at = rng.integers(0, 2, (len(clip.placed), 2))
    return [(n, c, 4 * (q // 2) + int(r), 4 * (q % 2) + int(k)) for (n, c, q), (r, k) in zip(clip.placed, at)]


def sound(clip: Clip, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The audio, (T,) int16 at `style.sampling_rate`."""
    events = [(e.name, e.start, e.end, e.gain) for e in clip.events]
    return sounds.mix(events, style.seconds, style.sampling_rate, style.reverb, rng)


def seen_caption(clip: Clip, rng: np.random.Generator, sounding: bool = False) -> str:
    """A caption of what is seen: "a red bell and a white dog on the grass".

    Colours are left out in 30% of the captions, and the scene in 30%. With `sounding`, a caption says what the things
    seen do, "a red ambulance wails and a tree on the grass". It then names colours in 40%, the scene in 25% and silent
    things in 30%; without colours, things have the name of what is heard: "a siren wails".
    """
    colours, scene, silent = rng.random(3) < ((0.4, 0.25, 0.3) if sounding else (0.7, 0.7, 1.0))
    phrases = []
    for i in rng.permutation(len(clip.placed)):
        name, colour, _ = clip.placed[i]
        thing = THINGS[name]
        noun = a(f"{colour} {thing.seen}" if colours else str(thing.seen))
        if not (sounding and thing.verbs):
            phrases += [noun] if silent else []
        elif colours:
            phrases.append(f"{noun} {thing.verbs[0]}")
        else:
            phrases.append(heard_phrase(name))
    return " and ".join(phrases) + (f" on the {clip.scene}" if scene else "")


def heard_phrase(name: str, continuous: bool = False, adverb: str = "") -> str:
    """A clause about a thing that is heard: "a bell rings", "a bell is ringing loudly"."""
    thing = THINGS[name]
    assert thing.heard and thing.verbs
    verb = f"is {thing.verbs[1]}" if continuous else thing.verbs[0]
    return f"{thing.heard} {verb} {adverb}".rstrip()


def say_heard(heard: list[tuple[str, str]], rng: np.random.Generator) -> str:
    """A caption of things that sound, each a name and an adverb (or ""), in random order and wording."""
    continuous = rng.random() < 0.3
    phrases = [heard_phrase(heard[i][0], continuous, heard[i][1]) for i in rng.permutation(len(heard))]
    caption = phrases[0]
    for phrase in phrases[1:]:
        caption += f" {rng.choice(['and', 'while', 'as'], p=[0.6, 0.25, 0.15])} {phrase}"
    return caption


def heard_caption(clip: Clip, style: Style, rng: np.random.Generator) -> str:
    """A caption of what is heard: "a bell rings while rain falls"."""
    loud = np.mean(style.gains)
    adverbs = [("loudly" if event.gain > loud else "softly") if style.adverbs else "" for event in clip.events]
    return say_heard([(event.name, adverb) for event, adverb in zip(clip.events, adverbs)], rng)
