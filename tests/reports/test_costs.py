"""What systems cost and were shown, beside their scores: from notes written by hand, and from those of real runs."""

import csv
import json
from pathlib import Path

import pytest
from conftest import arguments
from wsac_command import SHORT, command

from reports.__main__ import main as report
from reports.costs import TITLES
from train import main

CAPTIONS = 'clip_id,caption,references\na,a dog,"[""a dog barks""]"\nb,rain,"[""rain falls""]"\n'


def fit(seconds: float, trained: int, handed_on: int, read: dict[str, list[str]], **more: object) -> dict:
    costs = {"seconds": seconds, "unit": "CPU", "parameters": 9, "read": read}
    return {"digest": "0", "costs": costs | {"trained": trained, "handed_on": handed_on}, **more}


def write_run(folder: Path, made_by: dict) -> None:
    folder.mkdir(parents=True)
    (folder / "captions.csv").write_text(CAPTIONS)
    (folder / "scores.json").write_text(json.dumps({"made_by": made_by}))


def note_of_test(seconds: float, chain: dict, read: dict[str, list[str]] | None = None) -> dict:
    costs = {"seconds": seconds, "unit": "CPU", "captions": 4, "parameters": 1000, "read": read or {}}
    return {"costs": costs, "made_from": chain}


def compare(folder: Path, *rows: str) -> dict[str, dict[str, str]]:
    report(["compare", *rows, "--costs", "--no-java", "--samples", "10", "--output", str(folder / "table.md")])
    with open(folder / "table.csv", newline="") as file:
        return {line["row"]: line for line in csv.DictReader(file)}


def test_each_export_of_a_chain_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The encoder is behind the projector directly, and behind the captions that taught the projector."""
    encoder = fit(100, 60, 50, {"audioset/train": ["pictures", "sounds"]})
    prefix = fit(10, 2, 2, {"audiocaps/train (16 clips)": ["captions", "pictures"]})
    table = {"seconds": 5, "unit": "CPU", "captions": 8, "parameters": 9, "read": {"audioset/balanced": ["sounds"]}}
    pseudo = {"digest": "0", "costs": table, "made_from": {"exports/encoder": encoder, "exports/prefix": prefix}}
    chain = {"exports/encoder": encoder, "exports/pseudo": pseudo}
    own = {"exports/pseudo/captions.csv": ["captions"], "audioset/balanced": ["sounds"]}
    projector = fit(20, 7, 7, own, made_from=chain)
    for number, seconds in enumerate((2, 4)):
        write_run(tmp_path / f"distilled-{number}", note_of_test(seconds, chain | {"exports/projector": projector}))
    write_run(tmp_path / "untrained", note_of_test(1, {}, {"clotho/train": ["captions"]}))
    of_pairs = fit(1, 3, 3, {"clotho/train": ["captions", "sounds"]})
    write_run(tmp_path / "pairs", note_of_test(1, {"exports/x": of_pairs}))
    write_run(tmp_path / "old", {"made_from": {}})
    write_run(tmp_path / "older", note_of_test(1, {"exports/x": {"digest": "0"}}))
    distilled = ",".join(str(tmp_path / f"distilled-{number}") for number in range(2))
    others = [f"{name}={tmp_path / name}" for name in ("untrained", "pairs", "old", "older")]
    lines = compare(tmp_path, f"distilled={distilled}", *others)
    line = lines["distilled"]
    assert line["trained"] == str(60 + 2 + 7) and line["frozen"] == str(1000 - 50 - 2 - 7)
    assert float(line["training_seconds"]) == 100 + 10 + 5 + 20
    assert (float(line["caption_seconds"]), float(line["caption_seconds_highest"])) == (0.75, 1.0)
    assert line["texts"] == "audiocaps train (16 clips); its own captions"
    assert line["sounds"] == "audioset balanced, train" and line["pairs"] == "none"
    assert line["pictures"] == "audiocaps train (16 clips); audioset train"
    assert [lines["untrained"][key] for key in ("trained", "frozen", "sounds", "texts")] == [
        "0",
        "1,000",
        "none",
        "clotho train",
    ]
    assert lines["pairs"]["pairs"] == "clotho train"
    assert all(lines[name][key] == "" for name in ("old", "older") for key in TITLES)
    page = (tmp_path / "table.md").read_text()
    assert "costs: not noted by the runs of old, older, or of an export that they read" in page
    assert max(map(len, page.splitlines()[0].split("|"))) < 40
    shown = capsys.readouterr().out
    assert all(len(row) <= 80 for row in shown.splitlines() if row.startswith(("│", "┃")))
    assert shown.count("┏") == 3


def test_runs_that_differ_show_their_range_and_every_unit(tmp_path: Path) -> None:
    """With three runs the middle one is not shown; a fit on a GPU and its test on a CPU are both named."""
    for number, trained in enumerate((100, 200, 200, 300)):
        made = fit(1, trained, 0, {})
        made["costs"]["unit"] = "GPU"
        write_run(tmp_path / str(number), note_of_test(1, {"exports/x": made}))

    def shown(*numbers: int) -> str:
        runs = ",".join(str(tmp_path / str(number)) for number in numbers)
        return compare(tmp_path, f"row={runs}")["row"]["trained"]

    assert shown(0, 1, 2) == "100 to 200" and shown(0, 1, 2, 3) == "100 to 300" and shown(1, 2) == "200"
    assert "(seconds of: CPU or GPU)" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_real_runs_note_what_they_read(in_tmp_path: Path, world_root: Path) -> None:
    """Captions alone, captions with a corpus of pairs for the shift, and pairs, each through the real command."""
    for name, strategies in (
        ("plain", ()),
        ("shifted", ("embedding_shift",)),
        ("supervised", ("supervised",)),
    ):
        command("fit", world_root, *SHORT, "--run_name", name, strategies=strategies)
        command("test", world_root, "--run_name", name, strategies=strategies)
    command("test", world_root, "--run_name", "plain", strategies=("nearest_neighbour",))
    lines = compare(
        in_tmp_path, "plain=runs/plain", "shifted=runs/shifted", "supervised=runs/supervised",
        "searched=runs/plain_nearest_neighbour",
    )  # fmt: skip
    captions = "audiocaps train, val"
    assert [lines[name]["texts"] for name in lines] == [captions, f"{captions}; wavcaps train", captions, captions]
    assert [lines[name]["sounds"] for name in lines] == ["none", "wavcaps train", captions, "none"]
    assert [lines[name]["pairs"] for name in lines] == ["none", "wavcaps train", captions, "none"]
    assert {line["pictures"] for line in lines.values()} == {"none"}
    assert len({line["trained"] for line in lines.values()}) == 1
    decoder = json.loads(Path("runs/plain/test-1/scores.json").read_text())["made_by"]["made_from"]["exports/plain"]
    from lightning_modules.networks.prefix_decoder import PrefixDecoder

    weights = sum(weight.numel() for weight in PrefixDecoder.from_pretrained("exports/plain").parameters())
    assert lines["plain"]["trained"] == f"{weights:,}" == f"{decoder['costs']['handed_on']:,}"
    assert all(float(line["training_seconds"]) > 0 and float(line["caption_seconds"]) > 0 for line in lines.values())


def test_a_resumed_fit_counts_what_led_to_its_weights(in_tmp_path: Path, world_root: Path) -> None:
    """The seconds in the checkpoint are added to those after it."""
    short = ("--data.batch_size", "8", "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1")
    main(["fit", *arguments(world_root, *short, "--trainer.max_epochs", "1")])
    import torch

    path = Path("runs/dali_ot/fit-1/checkpoints/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["callbacks"]["Costs"]["seconds"] += 1000
    torch.save(checkpoint, path)
    main(["fit", *arguments(world_root, *short, "--trainer.max_epochs", "2", "--ckpt_path", "last")])
    costs = json.loads(Path("exports/dali_ot/provenance.json").read_text())["costs"]
    assert 1000 < costs["seconds"] < 1100
    assert costs["read"] == {name: ["pictures", "sounds"] for name in ("audioset/train", "audioset/val")}
