"""earshot.Captioner: from Python, and what it says of a caption."""

import ast
import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import REPOSITORY
from odd_media import tone, write_bad
from safetensors.torch import save

from earshot import Captioner, InputError
from earshot.stage import default_captioner
from train import main as train


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


@pytest.mark.parametrize(
    ("file", "damaged", "found"),
    [
        ("memory.safetensors", b"half", "header"),
        ("memory.safetensors", save({"embeddings": torch.ones(3, 7)}), r"\[3, 7\]"),  # of another CLAP
        ("memory.safetensors", None, r"no memory\.safetensors"),
        ("model.safetensors", b"half", "header"),
        ("trained_with.json", b"[]", "a list"),
        ("config.json", b"{", "property name"),
        ("stage.yaml", b"{", "parsing"),
    ],
)
def test_a_damaged_export_is_named(
    file: str, damaged: bytes | None, found: str, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(exports / "exports/clap_prefix", tmp_path / "exports/damaged")
    (tmp_path / "assets").symlink_to(REPOSITORY / "assets")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exports/damaged" / file).unlink()
    if damaged is not None:
        (tmp_path / "exports/damaged" / file).write_bytes(damaged)
    with pytest.raises(InputError, match=f"expected .*exports/damaged.*, found.*{found}"):
        Captioner.from_pretrained("damaged", ["strategy/nearest_neighbour"], device="cpu")
    if file == "stage.yaml":
        with pytest.raises(InputError, match=r"expected a configuration in exports/damaged/stage\.yaml"):
            default_captioner()


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
