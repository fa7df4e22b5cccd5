"""earshot caption and earshot.Captioner: any files, by every kind of captioner."""

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import REPOSITORY, arguments
from odd_media import tone, write_bad, write_good, write_video

from earshot import Captioner, InputError
from earshot.__main__ import main
from earshot.stage import default_captioner
from train import main as train

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


@pytest.fixture(scope="module")
def exports(world_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export of each stage, of one step."""
    folder = tmp_path_factory.mktemp("exports")
    (folder / "assets").symlink_to(REPOSITORY / "assets")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for config in ("audibility", "clap_prefix", "dali_ot"):
            few = ["--data.batch_size", "8", "--trainer.max_steps", "1", "--trainer.max_epochs", "1"]
            if config == "audibility":
                train(["fit", "--config", config, *few])
            else:
                train(["fit", *arguments(world_root, *few, config=f"{config}.yaml")])
    finally:
        os.chdir(before)
    return folder


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


def test_what_guided_a_caption(exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keywords that the prompt has; the nearest caption, which nearest-neighbour decoding reads; audibility."""
    monkeypatch.chdir(exports)
    soundfile.write(tmp_path / "a.wav", tone(2, 16000), 16000)
    soundfile.write(tmp_path / "b.wav", tone(2, 16000, frequency=3000), 16000)
    soundfile.write(tmp_path / "c.wav", np.zeros(16000), 16000)
    files = {name: tmp_path / f"{name}.wav" for name in "acb"}

    def guided(name: str, *overlays: str) -> tuple[Captioner, list[dict[str, dict[str, float]]]]:
        captioner = Captioner.from_pretrained(name, overlays, device="cpu")
        found = list(captioner.caption_listed(files, explain=True))
        assert found[1].error and not found[1].explanation
        assert [each.caption for each in found] == [each.caption for each in captioner.caption_listed(files)]
        assert not any(each.explanation for each in captioner.caption_listed(files))
        (alone,) = captioner.caption_listed({"a": files["a"]}, explain=True)
        for one, other in zip(*(each.explanation.get("reasons", []) for each in (found[0], alone)), strict=True):
            assert dict(one.texts) == pytest.approx(dict(other.texts), abs=1e-4)
        if tokens := found[0].explanation.get("tokens"):
            chosen = "".join(candidates[0][0] for candidates in tokens["tokens"])
            assert chosen.replace(" ", "") == found[0].caption.replace(" ", "")
        reasons = [each.explanation.get("reasons", []) for each in found if not each.error]
        return captioner, [{what: dict(texts) for what, texts in each} for each in reasons]

    captioner, (first, second) = guided("keywords")
    audio = captioner.embed([files["a"], files["b"]])
    for row, found in zip(audio, (first, second)):
        keywords, caption = found.values()
        (prompt,) = captioner.stage.guidance.prompts(captioner.stage.match, row[None])
        assert prompt == f"Objects: {', and a '.join(keywords)}. This is a sound of "
        assert list(caption) == ["cosine similarity with the audio"]
    captioner, found = guided("guided")
    assert all(0 <= each["The caption itself"]["probability that it is audible"] <= 1 for each in found)
    captioner, found = guided("clap_prefix", "strategy/nearest_neighbour")
    audio = captioner.embed([files["a"], files["b"]])
    for row, each in zip(audio, found):
        (nearest,) = each.values()
        texts = captioner.stage.clap.network.embed_text(list(nearest))
        assert len(nearest) == 5 and list(nearest.values()) == pytest.approx((texts @ row).tolist(), abs=1e-4)
        decoded = captioner.stage.searched.strategy(row[None])[0]  # Eq. 3: the nearest caption's embedding
        torch.testing.assert_close(decoded, texts[0], atol=1e-4, rtol=0)
    _, found = guided("clap_prefix")
    assert found == [{}, {}]


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


def test_the_newest_export_that_hears_is_taken(exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLaVA's prefix captions images alone, as a stage that does not embed audio."""
    shutil.copytree(exports / "exports", tmp_path / "exports")
    monkeypatch.chdir(tmp_path)
    prefix = Path("exports/llava_prefix/stage.yaml")
    prefix.parent.mkdir()
    prefix.write_text("model: {class_path: lightning_modules.llava_prefix_tuning.LlavaPrefixTuning}\nhears: false\n")
    for newest, older in (("dali_ot", "clap_prefix"), ("clap_prefix", "dali_ot")):
        for age, name in enumerate(("llava_prefix", newest, older)):
            os.utime(f"exports/{name}/stage.yaml", (1e9 - age, 1e9 - age))
        assert default_captioner() == f"exports/{newest}"


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
        (["a.wav", "--with", "nonsense"], "name one of clap_prefix, dali_ot, keywords, or make the export: "),
        (["a.wav", "--with", "keywords", "--device", "cuda:99"], "expected the device cuda:99, found: "),
        (["nothing"], "expected media files (.3gp"),
    ],
)
def test_mistakes_end_with_one_line(
    args: list[str], message: str, exports: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exports)
    soundfile.write("a.wav", tone(1, 16000), 16000)
    Path("nothing").mkdir(exist_ok=True)
    code, out, err = caption(capfd, *args)
    last = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(last) == 1 and message in last[0] and "Traceback" not in err


def test_from_python(exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a list, waveforms of any shape and rate give the same captions; embeddings have their shapes."""
    monkeypatch.chdir(tmp_path)  # an export is named from anywhere
    samples = tone(2, 32000, channels=2)
    soundfile.write("a.wav", samples, 32000, subtype="FLOAT")
    captioner = Captioner.from_pretrained(exports / "exports" / "clap_prefix", ["strategy/nearest_neighbour"])
    one = captioner("a.wav")
    assert isinstance(one, str) and captioner(["a.wav", Path("a.wav")]) == [one, one]
    assert captioner(samples.T, 32000) == one == captioner(samples.mean(1), sampling_rate=32000)
    embedded = captioner.embed(["a.wav", "a.wav"])
    assert embedded.shape == (2, 128) and torch.equal(embedded[0], embedded[1])
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(2))
    tokens = Captioner.from_pretrained(exports / "exports" / "dali_ot").embed(samples.T, 32000)
    assert tokens.ndim == 3 and len(tokens) == 1
    with pytest.raises(InputError, match="sampling_rate"):
        captioner(samples.T)
    with pytest.raises(InputError, match="not finite"):
        captioner(samples.T * np.nan, 32000)
    with pytest.raises(InputError, match=r"missing\.wav"):
        captioner("missing.wav")
    for wrong in (samples, (samples * 2**31).astype(np.int32), samples[None]):  # as soundfile gives it, for one
        with pytest.raises(InputError, match="convert it, or transpose"):
            captioner(wrong, 32000)
    with pytest.raises(InputError, match="out of range|full scale"):
        captioner(samples.T * 32768, 32000)
    with pytest.raises(InputError, match="NumPy arrays, found a Tensor"):
        captioner(torch.from_numpy(samples.T), 32000)


def test_the_captions_are_those_of_predict(exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`train.py predict` with a folder as its predict split; a bad file is left out, with a warning that names it."""
    monkeypatch.chdir(exports)
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number, frequency in enumerate((200, 900, 3000)):
        soundfile.write(folder / f"{number}.flac", tone(1 + number, 44100, frequency=frequency), 44100)
    write_bad(folder)
    for config, overlays in (("dali_ot", []), ("clap_prefix", ["strategy/nearest_neighbour"])):
        files = [arg for overlay in overlays for arg in ("--config", overlay)]
        more = ["--data.predict", str(folder), "--trainer.accelerator", "cpu", "--data.train", "null", "--run_name"]
        with pytest.warns(UserWarning, match="left out a file .* not finite"):
            train(["predict", "--config", config, *files, *more, config])
        runs = sorted(Path("runs").glob(f"{config}*/predict-1/captions.csv"))
        with runs[0].open(newline="", encoding="utf-8") as file:
            rows = {row["clip_id"]: row["caption"] for row in csv.DictReader(file)}
        captioner = Captioner.from_pretrained(config, overlays, device="cpu")
        found = {each.file: each.caption for each in captioner.caption_files([folder]) if not each.error}
        assert sorted(found) == ["0.flac", "1.flac", "2.flac"] and rows == found


def test_a_files_name_does_not_steer_the_terminal(in_tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    soundfile.write("\x1b[31mred\x07.wav", tone(1, 16000), 16000)
    Path("\x1b[2Jbad.wav").touch()
    code, out, err = caption(capfd, "\x1b[31mred\x07.wav", "\x1b[2Jbad.wav", "--with", "keywords")
    assert code == 1 and out.startswith("�[31mred�.wav\t") and "  �[2Jbad.wav: broken" in err
    assert not {"\x1b", "\x07"} & set(out + err)


def test_help_needs_no_torch() -> None:
    code = "import sys; from earshot.__main__ import main\ntry: main(['caption', '--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], cwd=REPOSITORY)
    assert done.returncode == 0


def test_the_notebook_runs(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its cells in order; the last expression of a cell is what it shows."""
    notebook = json.loads((REPOSITORY / "docs" / "own_sounds.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    shown = []
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        *body, last = ast.parse(cell["source"]).body
        exec(compile(ast.Module(body, []), "notebook", "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), "notebook", "eval"), names))
        else:
            exec(compile(ast.Module([last], []), "notebook", "exec"), names)
    one, two, shape = shown
    assert one and two == [one, one] and tuple(shape) == (2, 128)
    lines = [line for line in capsys.readouterr().out.splitlines() if "Loading" not in line]
    assert [line.partition(":")[0] for line in lines] == [
        "long.flac 0.0 to 2.0 s", "long.flac 2.0 to 4.0 s", "long.flac 4.0 to 6.0 s", "text.wav 0.0 to 0.0 s",
    ]  # fmt: skip
    assert "broken" in lines[-1]
