"""Tables, captions files, lists, sentences, media, splits and half-written predictions that cannot be used."""

import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from datamodules.shards import INDEX
from tests.campaigns.bad_commands import CONFIG
from tests.campaigns.bad_input import Case
from tests.campaigns.damages import make_split
from tests.toys import ExportingStage, ToyData

GOOD = 'clip_id,caption,references\na,rain,"[""it rains""]"\nb,wind,"[""a wind""]"\n'
CAPTIONS: dict[str, str | bytes] = {  # files that `earshot score` is given
    "empty": "",
    "its first line alone": "clip_id,caption,references\n",
    "binary": bytes(range(256)) * 8,
    "zeros": bytes(300),
    "UTF-16 without its mark": GOOD.encode("utf-16-le"),
    "Shift JIS": "clip_id,caption,references\na,\u96e8\u97f3,[]\n".encode("shift-jis"),
    "no caption": GOOD.replace("caption", "word"),
    "no clip": GOOD.replace("clip_id", "thing"),
    "no references": "clip_id,caption\na,rain\n",
    "a clip twice": GOOD.replace("\nb,", "\na,"),
    "a column twice": "clip_id,caption,caption,references\na,x,y,[]\n",
    "two columns of clips": "file_name,youtube_id,caption,references\na,b,x,[]\n",
    "a cell more": GOOD + "c,d,e,f\n",
    "a cell less": GOOD + "c\n",
    "references of no list": 'clip_id,caption,references\na,rain,"{""a"": 1}"\n',
    "references of numbers": 'clip_id,caption,references\na,rain,"[1, 2]"\n',
    "no reference at all": "clip_id,caption,references\na,rain,[]\n",
    "a cell of a megabyte": f"clip_id,caption,references\na,{'x' * 2**20},[]\n",
    "an open quote": 'clip_id,caption,references\na,"rain,[]\n',
    "an open quote, and another below": 'clip_id,caption,references\na,"rain,[]\nb,"a big" car,[]\n',
}
JSONS: dict[str, str] = {
    "half": '[{"image_id": 1, "caption": "a',
    "a number": "3",
    "null": "null",
    "a list of numbers": "[1, 2]",
    "an object of text": '{"a": "b"}',
    "deep": "[" * 100_000,
    "a caption that is a number": '[{"image_id": "a", "caption": 7, "references": ["x"]}]',
    "no caption": '[{"image_id": "a", "references": ["x"]}]',
    "NaN for a caption": '[{"image_id": "a", "caption": NaN, "references": ["x"]}]',
}
LISTS: dict[str, str | bytes] = {  # of ids, for prepare
    "empty": "",
    "a JSON number": "3",
    "a JSON list of numbers": "[1, 2]",
    "half a JSON list": '["a", ',
    "a JSON object of numbers": '{"AudioSet": 3}',
    "columns without an id": "start,end\n1,2\n",
    "ids of other clips": "x\ny\n",
    "UTF-16 without its mark": "x\ny\n".encode("utf-16-le"),
}
DISTANCES: dict[str, str] = {
    "empty": "", "no distance": "clip_id,nearness\na,1\n", "a word": "clip_id,distance\na,near\n",
    "NaN": "clip_id,distance\na,nan\n", "no row": "clip_id,distance\n", "a clip twice": "clip_id,distance\na,1\na,2\n",
}  # fmt: skip


def file(name: str, content: str | bytes) -> Callable[[Path], None]:
    """One file in the folder."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data) and None


def sounds(folder: Path) -> None:
    """A folder of two sounds."""
    (folder / "in").mkdir()
    for name in ("a", "b"):
        soundfile.write(folder / "in" / f"{name}.wav", np.sin(np.arange(8000) / 9), 8000)


def with_sounds(name: str, content: str | bytes) -> Callable[[Path], None]:
    """Two sounds, and a table about them."""

    def prepare(folder: Path) -> None:
        sounds(folder)
        file(name, content)(folder)

    return prepare


class Says(ExportingStage):
    """A stage whose predictions become a table."""

    def captions_made_by(self) -> dict[str, Any]:
        return {}

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        raise AssertionError("predicted")


class Clips(ToyData):
    """Data that say which clips there are."""

    def num_predict_clips(self) -> int:
        return 1

    def num_broken_clips(self) -> int:
        return 0

    def predict_digest(self) -> str:
        return "clips"

    def leave_out(self, clip_ids: Collection[str]) -> None:
        pass


PREDICT = CONFIG | {
    "model": {"class_path": "tests.campaigns.bad_tables.Says"},
    "data": {"class_path": "tests.campaigns.bad_tables.Clips"},
    "export": {"load": False},
    "trainer": CONFIG["trainer"] | {"callbacks+": [{"class_path": "callbacks.predict_table.PredictTable"}]},
}
PARTS = {  # lines among those that predict has written
    "a word": b"word\n", "half an object": b'{"clip_id": "a\n', "a list": b'["a", "b"]\n', "a number": b"3\n",
    "no clip": b'{"caption": "a"}\n', "a clip that is a number": b'{"clip_id": 3}\n', "zeros": bytes(20) + b"\n",
    "Latin-1": b'{"clip_id": "\xe9"}\n',
}  # fmt: skip


def half_predicted(line: bytes) -> Callable[[Path], None]:
    """The folder of a predict that was interrupted, with an odd line."""

    def prepare(folder: Path) -> None:
        (folder / "toy.yaml").write_text(yaml.safe_dump(PREDICT))
        parts = folder / "exports" / "toy" / f"parts-{digest_of_parts()}"
        parts.mkdir(parents=True)
        (parts / "rank-0.jsonl").write_bytes(b'{"clip_id": "z"}\n' + line)

    return prepare


def digest_of_parts() -> str:
    """The digest that names the parts of this command."""
    import lightning as L

    from callbacks.export import Export
    from callbacks.predict_table import made_by

    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.datamodule = Clips()  # type: ignore[attr-defined]
    return made_by(trainer, Says(), Export("toy", load=False), "captions.csv")


def split_case(what: str, change: Callable[[Path], object]) -> Case:
    """Validation on a split that is something else."""

    def prepare(folder: Path) -> None:
        make_split(folder / "corpus" / "val")
        change(folder / "corpus" / "val")

    stage = ["--model", "tests.datamodules.toy_run.NotesClips", "--model.folder", "."]
    data = ["--data", "datamodules.clip_datamodule.ClipDataModule", "--data.root", ".", "--data.val", "corpus/val"]
    more = ["--data.num_workers", "0", "--trainer.accelerator", "cpu", "--trainer.logger", "false"]
    return Case("split", what, ["train", "validate", "--run_name", "x", *stage, *data, *more], prepare)


def cases() -> list[Case]:
    """All of them."""
    score = ["score", "--no-java"]
    found = [Case("captions file", what, [*score, "x.csv"], file("x.csv", text)) for what, text in CAPTIONS.items()]
    found += [
        Case("captions file", f"JSON: {what}", [*score, "x.json"], file("x.json", t)) for what, t in JSONS.items()
    ]
    found += [
        Case("captions file", f"JSON lines: {what}", [*score, "x.jsonl"], file("x.jsonl", text))
        for what, text in JSONS.items() if what != "a list of numbers"
    ]  # fmt: skip
    prepare = ["prepare", "folder", "--input", "in", "--output", "out/a/b", "--workers", "1"]
    for what, listed in LISTS.items():
        found.append(Case("list of ids", what, [*prepare, "--ids", "ids.txt"], with_sounds("ids.txt", listed)))
    for what, text in CAPTIONS.items():
        if what in ("empty", "binary", "zeros", "no caption", "no clip", "a cell more", "its first line alone"):
            command = [*prepare, "--captions", "x.csv"]
            found.append(Case("table of captions", what, command, with_sounds("x.csv", text)))
    nearest = ["prepare", "nearest", "--distances", "x.csv", "--keep", "1", "--output", "near.csv"]
    found += [Case("distances", what, nearest, file("x.csv", text)) for what, text in DISTANCES.items()]
    for name, value in {
        "samples-per-shard": "0", "image-size": "-5", "max-seconds": "-1", "min-seconds": "nan", "sampling-rate": "0",
        "part": "3/2", "format": "mp3", "workers": "0", "captions": "nowhere.csv", "ids": "nowhere.txt",
    }.items():  # fmt: skip
        found.append(Case("prepare", f"--{name} {value}", [*prepare, f"--{name}", value], sounds))
    found += [
        Case("prepare", "nothing in the folder", prepare, lambda folder: (folder / "in").mkdir()),
        Case("prepare", "no folder", prepare),
        Case("prepare", "the output is a file", [*prepare, "--output", "x"], with_sounds("x", "text")),
        Case("prepare", "the output leads through a file", [*prepare, "--output", "x/y/z"], with_sounds("x", "text")),
        Case("score", "no file", score), Case("score", "a missing file", [*score, "nowhere.csv"]),
        Case("score", "a folder", [*score, "."]), Case("score", "an unknown metric",
             [*score, "x.csv", "--metrics", "bleurt"], file("x.csv", GOOD)),
        Case("score", "a missing vocabulary", [*score, "x.csv", "--vocabulary", "v.json"], file("x.csv", GOOD)),
        Case("score", "missing references", [*score, "x.csv", "--references", "r.csv"], file("x.csv", GOOD)),
        Case("score", "a pipe", [*score, "pipe.csv"], lambda folder: os.mkfifo(folder / "pipe.csv")),
        Case("report", "no run", ["report", "compare"]), Case("report", "a missing run", ["report", "compare", "a"]),
        Case("report", "a missing run's page", ["report", "html", "runs/x"]),
        Case("report", "an unknown verb", ["report", "draw"]),
        Case("caption", "no file", ["caption"]), Case("caption", "a missing file", ["caption", "x.wav"]),
        Case("caption", "an empty folder", ["caption", "."]),
        Case("caption", "an output that exists", ["caption", "in", "--output", "x.csv"], with_sounds("x.csv", "a")),
        Case("caption", "an output of another kind", ["caption", "in", "--output", "x.txt"], sounds),
        Case("caption", "no candidate", ["caption", "in", "--candidates", "0"], sounds),
        Case("caption", "a window of 0 s", ["caption", "in", "--window", "0"], sounds),
        Case("caption", "an unknown captioner", ["caption", "in", "--with", "nobody"], sounds),
        Case("caption", "an unknown overlay", ["caption", "in", "--config", "strategy/none"], sounds),
        Case("caption", "an unknown device", ["caption", "in", "--device", "abacus"], sounds),
        Case("push", "no export", ["push", "exports/x", "me/x"]),
        Case("miniature", "an unknown split", ["miniature", "write", "audioset/many"]),
        split_case("no folder", lambda split: split.rename(split.with_name("other"))),
        split_case("no index", lambda split: (split / INDEX).unlink()),
        split_case("an index of an older project", lambda split: (split / INDEX).write_text('{"shards": 3}')),
        split_case("a missing tar", lambda split: (split / "000001.tar").unlink()),
        split_case("a count of 10^18", lambda split: (split / INDEX).write_text(json.dumps(
            {"shardlist": [{"url": "000000.tar", "nsamples": 10**18}]}))),
        split_case("a pipe for a tar", lambda split: (
            (split / "000001.tar").unlink(), os.mkfifo(split / "000001.tar"))),
        split_case("tars swapped", lambda split: (
            (split / "000000.tar").rename(split / "x"), (split / "000001.tar").rename(split / "000000.tar"),
            (split / "x").rename(split / "000001.tar"))),
    ]  # fmt: skip
    predict = ["train", "predict", "--config", "toy.yaml"]
    found += [Case("half a prediction", what, predict, half_predicted(line)) for what, line in PARTS.items()]
    return found
