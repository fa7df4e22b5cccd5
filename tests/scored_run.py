"""A scored test in a run folder, with shards of its clips, for the tests of pages."""

import io
import json
import re
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from datamodules.clips import CaptionRows
from datamodules.shards import write_shards
from evaluation.captions_file import FILE_NAME, write_captions
from evaluation.scores import score_rows

HOSTILE = [
    '<img src=x onerror="document.title=1">', "[/] [bold]x[/bold]", "=cmd()", "</script><script>alert(1)</script>",
    "\u2028 a bell\u2029 rings", "{{ 7 * 7 }} & &lt;b&gt;", "", "a bell rings",
]  # fmt: skip


def run_folder(root: Path, captions: list[str], rate: int = 16000, kind: str = "FLAC") -> Path:
    """A scored test of clips with a tone of 1 kHz and a red frame each."""
    references = [["a bell rings", caption or "a dog barks"] for caption in captions]
    ids = [f"clip-{index:03d}" for index in range(len(captions))]
    rows = CaptionRows(clip_ids=ids, captions=captions, references=references, labels=[["bell"]] * len(ids))
    sound, frame = io.BytesIO(), io.BytesIO()
    soundfile.write(sound, 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate), rate, format=kind)
    Image.new("RGB", (64, 48), "red").save(frame, "JPEG")
    found = {kind.lower(): sound.getvalue(), "5.jpg": frame.getvalue()}
    split = root / "data" / "corpus" / "test"
    write_shards(split, ((each, found, {"captions": some}) for each, some in zip(ids, references)))
    folder = root / "runs" / "dali_ot_seed1" / "test-1"
    folder.mkdir(parents=True)
    write_captions(folder / FILE_NAME, rows)
    made_by = {
        "clips": {"split": "corpus/test", "folder": str(split), "digest": "0"},
        "command": "python train.py test --x '<b>'",
        "captions": {"inputs": "audio"},
    }
    score_rows(rows, folder, java=False).write(folder / FILE_NAME, made_by)
    return folder


def data_of(page: Path) -> dict:
    """What a page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.S)
    assert found is not None
    return json.loads(found[1])
