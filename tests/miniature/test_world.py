"""The miniature world: documented rates, splits without a common clip, the same bytes everywhere."""

import hashlib
import io
import json

import numpy as np
import pytest
import soundfile
from PIL import Image

from miniature import world
from miniature.corpora import SPLITS, clip_sample, sentences
from miniature.sounds import SYNTHESISERS
from miniature.vocabulary import OFF_SCREEN, SILENT, SOUNDING, THINGS, word_list
from miniature.world import AUDIOCAPS, AUDIOSET


def clips(style: world.Style, count: int = 3000) -> list[world.Clip]:
    return [world.make_clip(world.generator(7, "rates", i, "clip"), style) for i in range(count)]


def test_rates_are_the_documented_ones() -> None:
    sample = clips(AUDIOSET)
    off_screen = np.mean([any(e.name in OFF_SCREEN for e in clip.events) for clip in sample])
    silent = np.mean([any(name in SILENT for name, _, _ in clip.placed) for clip in sample])
    mismatched = np.mean(
        [{n for n, _, _ in clip.placed if n in SOUNDING}.isdisjoint(e.name for e in clip.events) for clip in sample]
    )
    for measured, documented in (
        (off_screen, world.OFF_SCREEN_RATE), (silent, world.SILENT_RATE), (mismatched, world.MISMATCH_RATE),
    ):  # fmt: skip
        assert abs(measured - documented) < 4 * np.sqrt(documented * (1 - documented) / len(sample))


def test_matched_clip_shows_what_sounds() -> None:
    for clip in clips(AUDIOCAPS, 200):
        seen = {name for name, _, _ in clip.placed}
        assert {event.name for event in clip.events} - set(OFF_SCREEN) == seen - set(SILENT)
        assert all(0 <= event.start < event.end <= AUDIOCAPS.seconds for event in clip.events)
        assert len({quadrant for _, _, quadrant in clip.placed}) == len(clip.placed)


def test_captions_say_what_is_heard_and_nothing_seen() -> None:
    words = word_list()
    for i, clip in enumerate(clips(AUDIOCAPS, 200)):
        caption = world.heard_caption(clip, AUDIOCAPS, world.generator(7, "rates", i, "captions"))
        spoken = set(caption.split())
        for event in clip.events:
            assert spoken & set(words["events"][event.name]["verbs"])
        assert not spoken & set(words["visual_words"])


@pytest.mark.parametrize("name", list(SYNTHESISERS))
def test_every_sound_is_audible_and_not_clipped(name: str) -> None:
    waveform = SYNTHESISERS[name](np.random.default_rng(3), 40000, 16000)
    assert waveform.shape == (40000,)
    assert waveform.std() > 0.03
    assert np.abs(waveform).max() < 5


def test_same_bytes_on_every_machine() -> None:
    """The digests were taken on x86-64 with the pinned versions; a change of the world must change them."""
    digests = {}
    for split in ("audioset/train", "audiocaps/test", "clotho/test", "wavcaps/train"):
        _, media, record = clip_sample(0, split, 5, SPLITS[split][0])
        content = json.dumps(record, sort_keys=True).encode() + media["wav"] + media.get("5.jpg", b"")
        digests[split] = hashlib.sha256(content).hexdigest()[:16]
    assert digests == DIGESTS


DIGESTS = {
    "audioset/train": "9342dcaa4ae6c32d",
    "audiocaps/test": "af324ba679e1392d",
    "clotho/test": "168f289ec7646739",
    "wavcaps/train": "d6f4705d3ec0668e",
}


def test_media_have_the_declared_sizes() -> None:
    clip_id, media, record = clip_sample(0, "audiocaps/test", 0, AUDIOCAPS)
    sound, rate = soundfile.read(io.BytesIO(media["wav"]), dtype="int16")
    assert (rate, len(sound)) == (16000, 40000)
    assert sum(name.endswith("jpg") for name in media) == world.NUM_FRAMES
    assert Image.open(io.BytesIO(media["5.jpg"])).size == (64, 64)
    assert len(record["captions"]) == 5 and clip_id == "audiocaps-test-000000"
    _, media, record = clip_sample(0, "clotho/test", 0, SPLITS["clotho/test"][0])
    sound, rate = soundfile.read(io.BytesIO(media["wav"]), dtype="int16")
    assert (rate, len(sound)) == (44100, 220500) and list(media) == ["wav"]


def test_splits_share_no_clip() -> None:
    sounds = {
        hashlib.sha256(clip_sample(0, split, index, style)[1]["wav"]).digest()
        for split, (style, _) in SPLITS.items()
        for index in range(5)
    }
    assert len(sounds) == 5 * len(SPLITS)


def test_sentences_share_none_and_are_as_many() -> None:
    audible, inaudible = sentences(count=300)
    assert len(set(audible)) == len(set(inaudible)) == 300
    assert not set(audible) & set(inaudible)
    participles = {thing.verbs[1] for thing in THINGS.values() if thing.verbs}
    assert any(participles & set(sentence.split()) for sentence in inaudible)  # no single word gives it away
    assert any("that is" in sentence and " on the " not in sentence for sentence in inaudible)  # nor a scene's absence
