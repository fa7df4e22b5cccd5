"""Decoding against closed forms: a known tone resampled, known colours cropped, known frames chosen."""

import dataclasses
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.clip_reader import (
    BrokenClip,
    Clip,
    ClipReader,
    collate,
    decode_audio,
    decode_image,
    filler_batch,
)
from datamodules.clips import ClipFormat
from datamodules.shards import Sample
from tests.datamodules.made_clips import jpeg, wav

WANTED = ClipFormat(sampling_rate=1000, max_seconds=None, image_size=8)


def tone(rate: int, seconds: float = 1.0, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def record(*extensions: str) -> dict:
    return {"id": "clip", "crc32": dict.fromkeys(extensions, 0)}


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_16_bits_at_the_wanted_rate_are_handed_on_exactly(format: str) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, (500, 3)).astype(np.int16)
    decoded = decode_audio(wav(samples, 16000, format=format), 16000)
    assert decoded.dtype == np.int16 and np.array_equal(decoded, samples[:, 0])


def test_stereo_at_44100_hz_becomes_the_first_channel_at_16000_hz() -> None:
    stereo = np.stack([tone(44100), tone(44100, frequency=3000)], 1)
    decoded = decode_audio(wav(stereo, 44100), 16000)
    assert decoded.dtype == np.int16 and len(decoded) == 16000
    inner = slice(800, -800)  # a resampling filter rings at the ends
    assert np.abs(decoded[inner] / 32768 - tone(16000)[inner]).max() < 2e-3
    assert np.array_equal(decoded, decode_audio(wav(stereo, 44100), 16000))  # no dither


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE", "PCM_24", "PCM_32", "PCM_U8"])
def test_other_encodings_keep_their_scale(subtype: str) -> None:
    decoded = decode_audio(wav(tone(16000), 16000, subtype), 16000)
    assert np.abs(decoded / 32768 - tone(16000)).max() < (2e-2 if subtype == "PCM_U8" else 1e-4)


def test_loud_floats_are_clipped_not_wrapped() -> None:
    assert np.array_equal(decode_audio(wav(np.array([2.0, -2.0]), 8000, "FLOAT"), 8000), [32767, -32768])


@pytest.mark.parametrize("rate", [16000, 44100])
def test_max_seconds_cuts_and_shorter_sounds_keep_their_length(rate: int) -> None:
    data = wav(tone(rate), rate)
    assert len(decode_audio(data, 16000, 0.25)) == 4000
    assert len(decode_audio(data, 16000, 2.0)) == len(decode_audio(data, 16000)) == 16000


@pytest.mark.parametrize("samples", [np.zeros(0, np.int16), np.array([0.0, np.nan, 0.0])])
def test_a_sound_without_samples_or_numbers_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(ValueError):
        decode_audio(wav(samples, 8000, "FLOAT" if samples.dtype == float else "PCM_16"), 16000)


@pytest.mark.parametrize("size", [(90, 31), (31, 90), (8, 8), (301, 300), (5, 4)])
def test_pictures_of_any_size_are_cropped_at_the_centre(size: tuple[int, int]) -> None:
    decoded = decode_image(jpeg((200, 100, 50), size), 8)
    assert decoded.shape == (3, 8, 8) and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - np.array([200, 100, 50])[:, None, None]).max() <= 3


def test_the_crop_is_the_middle_square() -> None:
    image = Image.new("L", (96, 32), 0)
    image.paste(255, (32, 0, 64, 32))  # a white square between two black ones
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=95)
    decoded = decode_image(buffer.getvalue(), 16)
    assert decoded[:, :, 2:-2].min() > 240 and np.array_equal(decoded[0], decoded[2])


def test_a_padded_image_is_whole_in_the_middle_of_clips_mean_colour() -> None:
    decoded = decode_image(jpeg((200, 100, 50), (96, 32)), 24, pad=True).astype(int)  # 24 x 8 pixels of it
    wanted = np.broadcast_to(np.array([122, 116, 104])[:, None, None], (3, 24, 24)).copy()
    wanted[:, 8:16] = np.array([200, 100, 50])[:, None, None]
    assert np.abs(decoded - wanted).max() <= 3
    same = jpeg((200, 100, 50), (24, 24))
    assert np.array_equal(decode_image(same, 24, pad=True), decode_image(same, 24))


def test_evaluation_takes_frame_5_of_ten_and_else_the_middle_one() -> None:
    reader = ClipReader(dataclasses.replace(WANTED, sampling_rate=None))
    ten = [f"{frame}.jpg" for frame in range(10)]
    assert reader.wanted(record("wav", *ten)) == ["5.jpg"]
    assert reader.wanted(record(*reversed(ten))) == ["5.jpg"]
    assert reader.wanted(record("0.jpg")) == ["0.jpg"]
    assert reader.wanted(record("0.jpg", "1.jpg", "4.jpg")) == ["1.jpg"]


def test_training_draws_frames_evenly_by_seed_epoch_and_clip() -> None:
    def frame(seed: int, epoch: int, clip: int) -> str:
        names = {"id": f"clip{clip}", "crc32": {f"{frame}.jpg": 0 for frame in range(10)}}
        (name,) = ClipReader(ClipFormat(image_size=8), (seed, epoch)).wanted(names)
        return name

    drawn = Counter(frame(0, 0, clip) for clip in range(2000))
    assert len(drawn) == 10 and min(drawn.values()) > 150 and max(drawn.values()) < 250
    assert frame(0, 0, 7) == frame(0, 0, 7)
    for other in ((1, 0), (0, 1)):
        same = sum(frame(0, 0, clip) == frame(*other, clip) for clip in range(1000))
        assert 60 < same < 140  # by chance 100


def test_only_the_media_of_the_format_are_wanted() -> None:
    names = record("flac", "0.jpg", "1.jpg")
    assert ClipReader(WANTED).wanted(names) == ["flac", "1.jpg"]
    assert ClipReader(ClipFormat(sampling_rate=1000)).wanted(names) == ["flac"]
    assert ClipReader(ClipFormat()).wanted(names) == []
    for media, error in (
        ({"wav": wav(np.ones(9, np.int16))}, "expected images of clip 'clip'.*inputs: audio"),
        ({"0.jpg": jpeg(0)}, "expected audio of clip 'clip'.*inputs: image"),
    ):
        with pytest.raises(BrokenClip, match=error):
            ClipReader(WANTED).decode(Sample(Path("x.tar"), "clip", record(*media), media))


@pytest.mark.parametrize("broken", ["wav", "0.jpg"])
def test_media_that_cannot_be_decoded_name_the_clip_and_its_shard(broken: str) -> None:
    media = {"wav": wav(np.ones(9, np.int16)), "0.jpg": jpeg(0)} | {broken: b"garbage"}
    with pytest.raises(BrokenClip, match="clip 'clip' in some/000003.tar"):
        ClipReader(WANTED).decode(Sample(Path("some/000003.tar"), "clip", record(*media), media))


def test_a_truncated_jpeg_is_broken() -> None:
    media = {"wav": wav(np.ones(9, np.int16)), "0.jpg": jpeg(0, (64, 64))[:-200]}
    with pytest.raises(BrokenClip):
        ClipReader(WANTED).decode(Sample(Path("x.tar"), "clip", record(*media), media))


def test_a_clip_in_a_batch_does_not_depend_on_its_mates() -> None:
    def clip(length: int) -> Clip:
        return Clip(f"of {length}", np.full(length, length, np.int16), None, ["a caption"], [])

    alone, together = collate([clip(5)]), collate([clip(9), clip(5), clip(2)])
    assert together.waveforms.dtype == torch.int16 and together.waveforms.shape == (3, 9)
    assert together.num_samples.tolist() == [9, 5, 2] and together.num_samples.dtype == torch.int64
    assert together.waveforms[1].tolist() == [5] * 5 + [0] * 4
    assert torch.equal(together.waveforms[1, :5], alone.waveforms[0])
    assert together.images is None and together.valid and together.captions == [["a caption"]] * 3


def test_a_filler_batch_has_tensors_of_one_clip_and_no_clips() -> None:
    filler = filler_batch(ClipFormat(16000, 10.0, 8))
    assert not filler.valid and filler.clip_ids == filler.captions == filler.labels == []
    assert filler.waveforms.shape == (1, 16000) and filler.waveforms.dtype == torch.int16
    assert filler.num_samples.tolist() == [16000]
    assert filler.images.shape == (1, 3, 8, 8) and filler.images.dtype == torch.uint8
    assert filler_batch(ClipFormat(16000, 0.5)).num_samples.tolist() == [8000]
    nothing = filler_batch(ClipFormat())
    assert nothing.waveforms is nothing.num_samples is nothing.images is None
