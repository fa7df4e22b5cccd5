"""Whatever decides a caption changes what it is said to be made by: old captions are never taken for new ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import MINIATURE
from tiny_encoder import TinyEncoder
from torch import nn

from datamodules.clips import Captions
from lightning_modules.audiovisual_distillation import AudiovisualDistillation
from lightning_modules.clap_prefix_decoder import ClapPrefixDecoder
from lightning_modules.decoding.audibility import AudibilityGuidance
from lightning_modules.decoding.keywords import KeywordDecoding
from lightning_modules.guided_captioner import GuidedCaptioner
from lightning_modules.llava_prefix_tuning import LlavaPrefixTuning
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.llava.generation import Generation
from lightning_modules.networks.prompted_lm import PromptedLm
from lightning_modules.retrieval_captioner import RetrievalCaptioner
from lightning_modules.strategies.embedding_shift import EmbeddingShift
from lightning_modules.strategies.nearest_neighbour import NearestNeighbour
from lightning_modules.strategies.noise_injection import NoiseInjection
from lightning_modules.strategies.projection import Projection
from lightning_modules.token_alignment import TokenAlignment


def all_differ(make: Callable[..., Any], given: dict[str, Any], *changes: dict[str, Any]) -> None:
    """Each of the changes gives another digest, and the same arguments the same one."""
    found = [json.dumps(make(**given | change).captions_made_by(), sort_keys=True) for change in ({}, *changes)]
    assert found[0] == json.dumps(make(**given).captions_made_by(), sort_keys=True)
    assert len(set(found)) == len(found), f"one of {[list(change) for change in changes]} changes nothing"


def encoder(seed: int = 0, **settings: Any) -> TinyEncoder:
    torch.manual_seed(seed)
    return TinyEncoder(**settings)


def other_copy(folder: Path, name: str) -> str:
    """The folder with one byte more in its file of that name, at the same path each time."""
    copy = Path("other") / folder.name
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    with open(copy / name, "ab") as file:
        file.write(b" ")
    return str(copy)


@pytest.fixture()
def captioner_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.chdir(tmp_path)
    for name, content in (("first", b"1"), ("second", b"2")):
        Path(name).mkdir()
        (Path(name) / "model.safetensors").write_bytes(content)
    return [
        {"llava": other_copy(MINIATURE / "llava", "config.json")},
        {"audio_encoder": encoder(1)},
        {"audio_encoder": encoder(gain=2.0)},  # the same weights
        {"inputs": "audio+image"},
        {"question": "What can you see ?"},
        {"generation": Generation(max_new_tokens=5)},
        {"generation": Generation(num_beams=2)},
        {"generation": Generation(temperature=0.2)},
        {"generation": Generation(temperature=0.2, top_p=0.5)},
        {"generation": Generation(temperature=0.2, seed=1)},
        {"image_first": True},
        {"pad_images": True},
        {"system": "a user"},
    ]


def test_alignment(captioner_changes: list[dict[str, Any]]) -> None:
    folders = [{name: folder} for name in ("prefix", "audio_projector") for folder in ("first", "second")]
    all_differ(
        lambda **given: TokenAlignment(None, LlavaCaptioner(**given)),
        {"llava": str(MINIATURE / "llava"), "audio_encoder": encoder()}, *captioner_changes, *folders,
    )  # fmt: skip


def test_distillation(captioner_changes: list[dict[str, Any]]) -> None:
    given = {"llava": str(MINIATURE / "llava"), "audio_encoder": encoder()}
    folders = [{"prefix": folder} for folder in ("first", "second")]
    all_differ(lambda **given: AudiovisualDistillation(LlavaCaptioner(**given)), given, *captioner_changes, *folders)
    stage = AudiovisualDistillation(LlavaCaptioner(**given))
    stage.setup("test")
    before = stage.captions_made_by()
    assert stage.audio_projector is not None
    with torch.no_grad():
        stage.audio_projector.linear_1.bias += 1
    assert stage.captions_made_by() != before


def test_prefix_tuning(captioner_changes: list[dict[str, Any]]) -> None:
    def make(num_tokens: int = 16, **given: Any) -> LlavaPrefixTuning:
        return LlavaPrefixTuning(LlavaCaptioner(**given), num_tokens)

    given = {"llava": str(MINIATURE / "llava"), "audio_encoder": encoder()}
    folders = [{"audio_projector": folder} for folder in ("first", "second")]
    all_differ(make, given, *captioner_changes, *folders, {"num_tokens": 4})
    stage = make(**given)
    stage.setup("test")
    before = stage.captions_made_by()
    assert stage.prefix is not None
    with torch.no_grad():
        stage.prefix += 1
    assert stage.captions_made_by() != before


class Nested(AudibilityGuidance):
    """A guidance with a part that has a setting and no weights."""

    def __init__(self, p: float, steps: list[int]) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Dropout(p))
        self.plan = SimpleNamespace(steps=steps)


def matcher(**settings: Any) -> ClapEncoder:
    clap = ClapEncoder.from_pretrained(MINIATURE / "matcher")
    for name, value in settings.items():
        setattr(clap, name, value)
    return clap


def moved(matcher: ClapEncoder) -> ClapEncoder:
    with torch.no_grad():
        matcher.text_proj[2].bias += 0.01
    return matcher


def test_guided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, words in (("few", "bell"), ("more", "bell\ndog"), ("swapped", "dog\nbell")):
        Path(name).write_text(words)
    for name in ("first", "second"):
        Path(name).mkdir()
        (Path(name) / "model.safetensors").write_text(name)
    guided = {
        "prompt": "A sound of", "max_new_tokens": 9, "num_steps": 4, "step_size": 0.2, "norm_exponent": 0.8,
        "num_candidates": 9, "temperature": 0.02, "lambda_0": 0.1, "lambda_1": 0.9, "lambda_2": 0.1, "fusion": 0.9,
        "forbidden_factor": 2.0, "first_end_factor": 2.0, "end_factor": 2.0, "num_beams": 2,
        "fluency": "kl", "forbidden": "within",
    }  # fmt: skip
    keywords = {
        "num_keywords": 3, "beginning": "Things: ", "between": ", ", "ending": ". It is ", "num_candidates": 4,
        "beta": 0.4, "scale": 9.0, "max_new_tokens": 3,
    }  # fmt: skip
    changes: list[dict[str, Any]] = [{"guidance": AudibilityGuidance(**{k: v})} for k, v in guided.items()]
    changes += [{"guidance": KeywordDecoding("few", **{k: v})} for k, v in keywords.items()]
    changes += [{"guidance": KeywordDecoding(bank)} for bank in ("few", "more", "swapped")]
    changes += [{"guidance": Nested(p, steps)} for p, steps in ((0.1, [1]), (0.2, [1]), (0.1, [2]))]
    changes += [{"matcher": moved(matcher())}, {"matcher": matcher(clean_text=False)}]
    tokenizer = matcher().tokenizer
    tokenizer.add_tokens(["xylophone"])
    changes += [{"matcher": matcher(max_text_tokens=7)}, {"matcher": matcher(tokenizer=tokenizer)}]
    changes += [{"language_model": "first"}, {"language_model": "second"}, {"language_model": "gpt2"}]
    changes += [{"classifier": "first"}, {"classifier": "second"}, {"positive": "loud"}]
    all_differ(GuidedCaptioner, {"guidance": AudibilityGuidance(), "matcher": matcher()}, *changes)


def test_a_retrained_classifier_in_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("exports").mkdir()
    stage = GuidedCaptioner(AudibilityGuidance(), matcher(), classifier="exports")
    found = []
    for weights in ("old", "new", "new"):
        (Path("exports") / "model.safetensors").write_text(weights)
        found.append(stage.captions_made_by())
    assert found[0] != found[1] == found[2]


def test_clap_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    data = SimpleNamespace(train="x", captions_of=lambda split: Captions(["a bell rings"], ["1"]))
    monkeypatch.setattr(ClapPrefixDecoder, "_data", data)

    def make(seed: int = 0, **given: Any) -> ClapPrefixDecoder:
        torch.manual_seed(seed)
        return ClapPrefixDecoder(**{"clap": ClapEncoder.from_pretrained(MINIATURE / "clap"), **given})

    def nearest(text: str) -> str:
        data.captions_of = lambda split: Captions([text], ["1"])
        return json.dumps(make(**small, inference_strategy=NearestNeighbour()).captions_made_by())

    small: dict[str, Any] = {"width": 16, "depth": 1, "num_heads": 2}
    all_differ(
        make, small, {"seed": 1}, {"clap": moved(ClapEncoder.from_pretrained(MINIATURE / "clap"))}, {"width": 32},
        {"depth": 2}, {"num_heads": 4}, {"prefix_length": 2}, {"mapping_layers": 1},
        {"max_new_tokens": 5}, {"caption_from": "reference"},
        {"training_strategies": [EmbeddingShift()]}, {"training_strategies": [EmbeddingShift(renormalise=True)]},
        {"training_strategies": [NoiseInjection()]}, {"training_strategies": [NoiseInjection(), EmbeddingShift()]},
        {"inference_strategy": NearestNeighbour()}, {"inference_strategy": Projection()},
        {"inference_strategy": Projection(temperature=0.1)}, {"inference_strategy": Projection(renormalise=True)},
    )  # fmt: skip
    assert nearest("a bell rings") == nearest("a bell rings") != nearest("a dog barks")


def test_retrieval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {"x": ["a bell rings"], "y": ["a dog barks"]}
    data = SimpleNamespace(train="x", captions_of=lambda split: Captions(texts[split], ["1"]))
    monkeypatch.setattr(RetrievalCaptioner, "_data", data)

    def make(seed: int = 0, lm: dict[str, Any] | None = None, **given: Any) -> RetrievalCaptioner:
        language_model = PromptedLm(**{"language_model": str(MINIATURE / "vicuna"), "hidden_dim": 8, **(lm or {})})
        torch.manual_seed(seed)
        language_model.load(128)
        clap = given.pop("clap", None) or ClapEncoder.from_pretrained(MINIATURE / "clap")
        return RetrievalCaptioner(clap, language_model, **given)

    all_differ(
        make, {}, {"seed": 1}, {"clap": moved(ClapEncoder.from_pretrained(MINIATURE / "clap"))},
        {"lm": {"language_model": other_copy(MINIATURE / "vicuna", "config.json")}}, {"lm": {"prompt": "USER:"}},
        {"lm": {"between": ", "}}, {"lm": {"hidden_dim": 9}}, {"lm": {"rank": 4}}, {"lm": {"alpha": 16}},
        {"lm": {"target_modules": ["k_proj", "v_proj"]}}, {"inference_strategy": NearestNeighbour()},
        {"inference_strategy": Projection()}, {"inference_strategy": Projection(temperature=0.1)}, {"num_similar": 2},
        {"datastore": "y"}, {"num_beams": 1}, {"max_new_tokens": 5},
    )  # fmt: skip
    before = json.dumps(make().captions_made_by())
    texts["x"] = ["a cow moos"]
    assert json.dumps(make().captions_made_by()) != before
