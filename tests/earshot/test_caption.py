"""earshot caption: any files, by every kind of captioner."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY
from odd_media import tone, write_bad, write_good, write_video

from earshot import Captioner
from earshot.__main__ import main

KINDS = {  # what trains each of them, and how it captions
    "keywords": ([], ["--with", "keywords"]),
    "guided": (["audibility"], ["--with", "guided"]),
    "clap_prefix": (["clap_prefix"], ["--with", "clap_prefix", "--config", "strategy/nearest_neighbour"]),
    "dali_ot": (["dali_ot"], ["--with", "dali_ot"]),
}


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], dict[str, str]]:
    """A folder of thirty-two odd files: the good ones, and the reason of each bad one."""
    folder = tmp_path_factory.mktemp("odd")
    good = write_good(folder)
    return folder, good, write_bad(folder)


def caption(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    code = 0
    capfd.readouterr()
    try:
        main(["caption", *args])
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capfd.readouterr()


@pytest.mark.parametrize("kind", KINDS)
def test_all_good_files_are_captioned_and_all_bad_ones_named(
    kind: str, odd: tuple[Path, list[str], dict[str, str]], exports: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, good, bad = odd
    assert len(good) + len(bad) == 32
    monkeypatch.chdir(exports)
    table, lines = tmp_path / "out.csv", tmp_path / "out.jsonl"
    outputs = ["--output", str(table), "--output", str(lines)]
    code, out, err = caption(capfd, str(folder), *KINDS[kind][1], *outputs)
    assert code == 1 and "Traceback" not in err
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    captioned = {row["file"]: row for row in rows if not row["error"]}
    assert sorted(captioned) == good and all(row["caption"] for row in captioned.values())
    failed = {row["file"]: row["error"].partition(":")[0] for row in rows if row["error"]}
    assert failed == bad
    for name, reason in bad.items():
        assert f"  {name}: {reason}" in err
    assert f"{len(bad)} of 32 files" in err and "miniature" in err
    assert len(out.splitlines()) == len(good) and all("\t" in line for line in out.splitlines())
    assert [json.loads(line)["caption"] for line in lines.read_text().splitlines()] == [row["caption"] for row in rows]
    longest = float(captioned["3 minutes.mp3"]["end"])
    if kind == "dali_ot":
        assert longest == pytest.approx(2.575) and captioned["3 minutes.mp3"]["cut"] == "True"
        assert "3 minutes.mp3 [first 2.6 s]" in out
    else:
        assert longest == pytest.approx(60) and "3 minutes.mp3 [first 60.0 s]" in out


def test_windows_cover_the_file(exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Each part is captioned as the same part in a file of its own."""
    monkeypatch.chdir(exports)
    samples = np.concatenate([tone(2, 16000, frequency=f) for f in (200, 900, 3000)])[: 5 * 16000]
    soundfile.write(tmp_path / "long.wav", samples, 16000, subtype="FLOAT")
    output = tmp_path / "out.jsonl"
    code, out, _ = caption(
        capfd, str(tmp_path / "long.wav"), "--with", "dali_ot", "--window", "2", "--output", str(output)
    )
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert code == 0 and [(row["start"], row["end"]) for row in rows] == [(0, 2), (2, 4), (4, 5)]
    captioner = Captioner.from_pretrained("dali_ot")
    for row in rows:
        part = samples[int(row["start"] * 16000) : int(row["end"] * 16000), 0]
        soundfile.write(tmp_path / "part.wav", part, 16000, subtype="FLOAT")
        assert row["caption"] == captioner(tmp_path / "part.wav") == captioner(part, 16000)
    assert [line.partition("]")[0] for line in out.splitlines()] == [
        f"{tmp_path / 'long.wav'} [{times} s" for times in ("0.0-2.0", "2.0-4.0", "4.0-5.0")
    ]


@pytest.mark.parametrize("kind", ["dali_ot", "clap_prefix"])
def test_candidates_are_ranked_and_scored(
    kind: str, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As many as were asked for, each another, the best first; a score is the mean log-likelihood of the tokens."""
    monkeypatch.chdir(exports)
    soundfile.write(tmp_path / "a.wav", tone(2, 16000), 16000)
    code, out, _ = caption(capfd, str(tmp_path / "a.wav"), *KINDS[kind][1], "--candidates", "3")
    found = [line.split("\t")[1:] for line in out.splitlines()]
    scores = [float(score) for score, _ in found]
    assert code == 0 and len({text for _, text in found}) == 3
    assert scores == sorted(scores, reverse=True) and scores[0] < 0


def test_candidates_of_a_captioner_that_has_none(
    tmp_path: Path, in_tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2, 16000), 16000)
    code, _, err = caption(capfd, "a.wav", "--candidates", "2")
    assert code == 2 and "error: expected one caption of each, as GuidedCaptioner finds no others" in err


def test_without_an_export_it_takes_the_one_that_needs_no_training(
    in_tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("a.wav", tone(2, 16000), 16000)
    code, out, err = caption(capfd, "a.wav")
    assert code == 0 and out.startswith("a.wav\t") and "captioning 1 files with keywords" in err


def test_odd_names_and_silent_parts_cost_nothing_else(
    in_tmp_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A name in Latin-1, and a file of three seconds of which the middle one is silent."""
    Path("folder").mkdir()
    samples = tone(3, 16000)
    soundfile.write("a.wav", samples, 16000)
    Path("a.wav").rename("folder/caf\udce9.wav")
    samples[16000:32000] = 0
    soundfile.write("folder/b.wav", samples, 16000)
    code, out, err = caption(capfd, "folder", "--window", "1", "--output", "out.jsonl")
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert code == 1 and [(row["file"], row["start"], bool(row["error"])) for row in rows] == [
        *(("b.wav", start, start == 1) for start in (0, 1, 2)), *(("caf?.wav", start, False) for start in (0, 1, 2))
    ]  # fmt: skip
    assert len(out.splitlines()) == 5 and "  b.wav: 1.0-2.0 s: silent" in err and "1 of 2 files" in err


def test_images_are_captioned_by_a_captioner_of_images(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exports)
    write_video(tmp_path / "mute.mp4", "libx264", None)
    soundfile.write(tmp_path / "blind.wav", tone(1, 16000), 16000)
    code, out, err = caption(capfd, str(tmp_path), "--with", "dali_ot", "--config", "inputs/image")
    assert code == 1 and out.startswith("mute.mp4\t") and "  blind.wav: no images" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["missing.wav"], "expected a media file or a folder of them, found no missing.wav; correct the path"),
        (["a.wav", "--with", "audibility"], "expected an export with a stage.yaml in exports/audibility, found none"),
        (["a.wav", "--with", "nonsense"], "expected an export or a configuration, found no nonsense"),
        (["a.wav", "--with", "distillation"], "run: python train.py fit --config configs/dali_ot.yaml --config "),
        (["a.wav", "--with", "dali_ot", "--window", "50"], "expected a window above 0 and of at most 2.575 s"),
        (["a.wav", "--output", "captions.txt"], "expected a new file that ends with .csv or .jsonl as --output"),
        (["a.wav", "--candidates", "0"], "expected --candidates and --batch-size of at least 1"),
        (["a.wav", "--with", "dali_ot", "--config", "strategy/projection"], "inference_strategy"),
        (["a.wav", "--with", "keywords", "--window", "0"], "expected a window above 0, found 0 s"),
        (["a.wav", "--with", "keywords", "--window", "nan"], "expected a window above 0, found nan s"),
        (["a.wav", "--config", "strategy/nonsense"], "expected a YAML as --config, found no strategy/nonsense"),
        (["a.wav", "--with", "nonsense"], "name one of clap_prefix, dali_ot, keywords, mils, or make the export: "),
        (["a.wav", "--with", "keywords", "--device", "cuda:99"], "expected the device cuda:99, found: "),
        (["nothing"], "expected media files (.3gp"),
        (["a.wav", "--with", "broken.yaml"], "expected a configuration in broken.yaml, found: "),
        (["a.wav", "--with", "stageless.yaml"], "expected the configuration of a stage that captions, found none in"),
    ],
)
def test_mistakes_end_with_one_line(
    args: list[str], message: str, exports: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exports)
    soundfile.write("a.wav", tone(1, 16000), 16000)
    Path("nothing").mkdir(exist_ok=True)
    Path("broken.yaml").write_text("model: [")
    Path("stageless.yaml").write_text("data: {}")
    code, out, err = caption(capfd, *args)
    last = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(last) == 1 and message in last[0] and "Traceback" not in err


def test_a_files_name_does_not_steer_the_terminal(in_tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    soundfile.write("\x1b[31mred\x07.wav", tone(1, 16000), 16000)
    Path("\x1b[2Jbad.wav").touch()
    code, out, err = caption(capfd, "\x1b[31mred\x07.wav", "\x1b[2Jbad.wav", "--with", "keywords")
    assert code == 1 and out.startswith("�[31mred�.wav\t") and "  �[2Jbad.wav: broken" in err
    assert not {"\x1b", "\x07"} & set(out + err)


@pytest.mark.parametrize("end", [".csv", ".jsonl"])
def test_a_refused_command_leaves_no_output_in_the_way(
    end: str, in_tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("a.wav", tone(1, 16000), 16000)
    for wrong in (["--window", "0"], ["--candidates", "2"], []):
        code, _, err = caption(capfd, "a.wav", "--with", "keywords", "--output", f"out{end}", *wrong)
        assert code == (2 if wrong else 0) and Path(f"out{end}").exists() is not bool(wrong), err


def test_ctrl_c_ends_quietly_and_keeps_the_captions_so_far(in_tmp_path: Path) -> None:
    soundfile.write("0.wav", tone(1, 16000), 16000)
    for number in range(1, 300):
        Path(f"{number}.wav").hardlink_to("0.wav")
    command = [sys.executable, "-m", "earshot", "caption", ".", "--with", "keywords", "--output", "out.jsonl"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [*command, "--batch-size", "1"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and "\t" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err and "Loading weights" not in err  # a bar is for terminals alone
    assert 0 < len([json.loads(line)["caption"] for line in Path("out.jsonl").read_text().splitlines()]) < 300


def test_help_needs_no_torch() -> None:
    code = "import sys; from earshot.__main__ import main\ntry: main(['caption', '--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], cwd=REPOSITORY)
    assert done.returncode == 0
