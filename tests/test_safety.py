"""No file that is read runs code: bombs in the place of every kind of weights, and models that bring code along."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MINIATURE, REPOSITORY
from made_blip2 import write_blip2
from transformers import AutoModelForCausalLM

from callbacks.checkpoint_file import read_checkpoint_file
from datamodules.shards import write_shards
from earshot.errors import InputError
from evaluation.metric import NotComputed
from evaluation.sentence_models import FLUENCY, FluencyErrors, SentenceSimilarity
from lightning_modules.networks.blip2 import Blip2Captioner
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.clap.checkpoint import read_authors
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.networks.imagebind.checkpoint import read_towers
from lightning_modules.networks.llava.authors_files import authors_prefix, authors_projector
from lightning_modules.networks.llava.image_encoder import ImageEncoder
from lightning_modules.networks.llava.language_model import LlavaLanguageModel
from lightning_modules.networks.llava.soft_prefix import tuned_prefix
from lightning_modules.networks.mean_hidden_state import MeanHiddenState
from lightning_modules.networks.pretrained import pretrained
from lightning_modules.networks.sequence_classifier import SequenceClassifier
from lightning_modules.networks.wsac_checkpoint import read_decoder

CODE = "from pathlib import Path\nPath('ran').touch()\n"


class Bomb:
    """Unpickled, it writes a file."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("touch ran",)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_bomb_goes_off_where_it_is_trusted() -> None:
    torch.save({"model": Bomb()}, "bomb.pt")
    torch.load("bomb.pt", weights_only=False)
    assert Path("ran").exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "read",
    [
        read_checkpoint_file,
        read_authors,
        read_towers,
        CavMaeEncoder.from_checkpoint,
        lambda path: read_decoder(path, {}),
        lambda path: authors_prefix(path, 4),
        lambda path: authors_projector(path, {}),
    ],
    ids=["checkpoint", "CLAP", "ImageBind", "CAV-MAE", "WSAC's decoder", "DALI's prefix", "DALI's projector"],
)
def test_a_bomb_in_the_place_of_a_file(read: Callable[[Path], Any], legacy: bool) -> None:
    torch.save({"model": Bomb(), "a": torch.zeros(1)}, "bomb.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=r"expected .* found (something else|another file)"):
        read(Path("bomb.pt"))
    assert not Path("ran").exists()


FOLDERS: dict[str, tuple[str, Callable[[str], Any]]] = {  # what is in assets/miniature, and what loads it
    "CAV-MAE": ("cav_mae", CavMaeEncoder.from_pretrained),
    "CLAP": ("clap", ClapEncoder.from_pretrained),
    "vision tower": ("llava", ImageEncoder.from_pretrained),
    "LLaVA": ("llava", LlavaLanguageModel.from_pretrained),
    "language model": ("gpt2", lambda name: load(AutoModelForCausalLM, name)),
    "sentences": ("gpt2", lambda name: SequenceClassifier.from_pretrained(name, ["a", "b"])),
    "hidden states": ("gpt2", MeanHiddenState.from_pretrained),
}


def load(family: Any, name: str) -> Any:
    with pretrained(name, "a language model") as found:
        return family.from_pretrained(found)


@pytest.mark.parametrize("what", FOLDERS)
def test_a_bomb_in_the_place_of_safetensors(what: str, folder: Path) -> None:
    source, read = FOLDERS[what]
    shutil.copytree(MINIATURE / source, "model")
    Path("model/model.safetensors").unlink()
    torch.save({"a": Bomb()}, "model/pytorch_model.bin")
    with pytest.raises(InputError):
        read(str(folder / "model"))
    assert not Path("ran").exists()


def test_a_bomb_in_the_place_of_blip2(folder: Path) -> None:
    write_blip2(folder / "model")
    Blip2Captioner(folder / "model").load()
    Path("model/model.safetensors").unlink()
    torch.save({"a": Bomb()}, "model/pytorch_model.bin")
    with pytest.raises(InputError, match="expected a BLIP-2 checkpoint"):
        Blip2Captioner(folder / "model").load()
    assert not Path("ran").exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("named", [False, True], ids=["a folder", "the name of FENSE's"])
def test_a_bomb_in_the_place_of_fenses_classifier(
    named: bool, legacy: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aac-metrics reads the file of its own name."""
    pytest.importorskip("aac_metrics.functional")
    from made_sentence_models import fluency_classifier

    file = fluency_classifier(folder / "fluency") / "echecker.ckpt"
    if named:
        file = file.rename(file.with_name(f"{FLUENCY[0]}.ckpt"))
        monkeypatch.setenv("FENSE_DATA", str(file.parent))  # where it is downloaded to
    metric = FluencyErrors(FLUENCY[0] if named else str(file.parent))
    assert len(metric.per_clip(["a dog barks"], [["a dog"]])) == 1
    states = torch.load(file, weights_only=True)
    torch.save(states | {"state_dict": Bomb()}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(NotComputed):
        metric.per_clip(["a dog barks"], [["a dog"]])
    assert not Path("ran").exists()


def test_a_bomb_in_the_place_of_a_sentence_encoder(folder: Path) -> None:
    pytest.importorskip("aac_metrics.functional")
    pytest.importorskip("sentence_transformers")
    from made_sentence_models import sentence_encoder

    sentence_encoder(folder / "sentences")
    metric = SentenceSimilarity(str(folder / "sentences"))
    assert len(metric.per_clip(["a dog barks"], [["a dog"]])) == 1
    (weights,) = (folder / "sentences").rglob("model.safetensors")
    weights.unlink()
    torch.save({"a": Bomb()}, weights.with_name("pytorch_model.bin"))
    with pytest.raises(NotComputed):
        metric.per_clip(["a dog barks"], [["a dog"]])
    assert not Path("ran").exists()


@pytest.mark.parametrize("known", [True, False], ids=["a known model", "an unknown model"])
@pytest.mark.parametrize("what", FOLDERS)
def test_code_that_comes_with_a_model(what: str, known: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not run, and nobody is asked whether to run it."""
    source, read = FOLDERS[what]
    shutil.copytree(MINIATURE / source, "model")
    Path("model/evil.py").write_text(CODE)
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoProcessor")
    config = json.loads(Path("model/config.json").read_text())
    config["auto_map"] = {name: "evil.Evil" for name in classes} | {"AutoTokenizer": ["evil.Evil", None]}
    if not known:
        config["model_type"] = "evil"
    Path("model/config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    try:
        read(str(folder / "model"))
    except InputError as error:
        assert (what == "CLAP" or not known) and "trust_remote_code" not in str(error), error
    assert not Path("ran").exists()


def test_a_bomb_in_the_place_of_a_prefix(folder: Path) -> None:
    shutil.copytree(MINIATURE / "prefix", "prefix")
    Path("prefix/adapter_model.safetensors").unlink()
    torch.save({"a": Bomb()}, "prefix/adapter_model.bin")
    with pytest.raises(InputError):
        tuned_prefix(folder / "prefix", 128)
    assert not Path("ran").exists()


@pytest.mark.parametrize("clip_id", ["../x", "/x", "a/../../x", ".."])
def test_no_clip_leaves_its_folder_when_a_tar_is_unpacked(clip_id: str, folder: Path) -> None:
    with pytest.raises(InputError, match="expected ids that are paths within a folder"):
        write_shards(folder, [(clip_id, {"wav": b"x"}, {})])


def test_nothing_in_the_project_trusts_what_it_reads() -> None:
    """The words are searched for, as no test can read every file."""
    for path in REPOSITORY.rglob("*.py"):
        parts = path.relative_to(REPOSITORY).parts
        if parts[0] in ("tests", "benchmarks") or parts[0].startswith((".", "build")):
            continue
        text = path.read_text(encoding="utf-8")
        for word in ("trust_remote_code=True", "weights_only=None", "import pickle", "yaml.load(", "eval(", "exec("):
            assert not re.search(rf"(?<![\w.]){re.escape(word)}", text.replace("def eval(", "")), (path, word)
        assert text.count("torch.load(") == len(re.findall(r"torch\.load\([^\n]*weights_only=True", text)), path
