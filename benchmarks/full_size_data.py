"""Data in the papers' sizes for one step of each stage: where configs/paper looks for them, with noise inside."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.shards import write_shards
from miniature.corpora import wav_bytes

SECONDS, RATE, IMAGES, SIZE = 10, 16000, 10, 336
PAIRS = 16  # of prefix tuning
KINDS = 8  # of media; more clips repeat them
CAPTION = "a dog barks while rain falls and a bell rings"
SPLITS = ("audioset/train", "audioset/val", "audioset/balanced", "audiocaps/train", "audiocaps/test")
TABLES = ("audiocaps/train.csv", "audiocaps/val.csv")


def samples(number: int) -> Iterator[tuple[str, dict[str, bytes], dict[str, list[str]]]]:
    """Clips as `write_shards` takes them: 10 s of noise, ten images of 336 pixels, a caption and a label."""
    rng = np.random.default_rng(0)
    kinds = []
    for _ in range(min(KINDS, number)):
        media = {"wav": wav_bytes(rng.normal(0, 2000, SECONDS * RATE).astype(np.int16), RATE)}
        for frame in range(IMAGES):
            coarse = Image.fromarray(rng.integers(0, 255, (SIZE // 8, SIZE // 8, 3), dtype=np.uint8))
            buffer = io.BytesIO()
            coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
            media[f"{frame}.jpg"] = buffer.getvalue()
        kinds.append(media)
    for clip in range(number):
        yield f"clip{clip:06d}", kinds[clip % len(kinds)], {"captions": [CAPTION], "labels": ["Dog"]}


def write_data(root: Path, clips: int, texts: int) -> None:
    """Splits of so many clips, that of prefix tuning of its 16 at least, and tables of so many texts, in root."""
    for split in SPLITS:
        write_shards(root / split, samples(max(clips, PAIRS) if split == "audiocaps/train" else clips))
    for name in TABLES:
        with open(root / name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "caption"))
            writer.writerows((row, f"{CAPTION} {row}") for row in range(texts))
    (root / "audibility").mkdir()
    for name in ("audible", "notAudible"):  # of which fit takes a part
        (root / "audibility" / f"{name}.txt").write_text("".join(f"{name} {row} {CAPTION}\n" for row in range(texts)))
    with open(root / "class_labels_indices.csv", "w", newline="") as file:
        rows = [(number, f"/m/{number}", f"sound {number}") for number in range(527)]
        csv.writer(file).writerows([("index", "mid", "display_name"), *rows])
