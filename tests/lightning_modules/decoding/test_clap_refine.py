"""CLAP-Refine against its arithmetic in Python's floats; `tests/lightning_modules/test_refined.py` has the stages."""

from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from torch import Tensor, nn

from datamodules.clips import ClipBatch, ClipFormat
from earshot.errors import InputError
from lightning_modules.contracts import Sampling
from lightning_modules.decoding.clap_refine import ClapRefine

OVERLAYS = REPOSITORY / "configs/refine"
POINTS = {"rain": (1.0, 0.0), "wind": (0.6, 0.8), "a dog": (0.0, 1.0), "a bell": (-0.8, 0.6), "": (-1.0, 0.0)}


class Made:
    """Candidates of two clips that were made up; notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def beams(self, number: int) -> list[list[tuple[str, float]]]:
        self.asked.append(number)
        best = {1: ("a bell", "a bell"), 2: ("rain", "wind"), 3: ("a dog", "rain"), 4: ("rain", "a bell")}[number]
        return [[(text, 0.0), ("wind", -1.0), ("a dog", -2.0)][:number] for text in best]

    def samples(self, number: int, sampling: Sampling) -> list[list[str]]:
        self.asked.append((number, sampling))
        return [["", "rain"][:number], ["a bell", "wind"][:number]]


class Planar(nn.Module):
    """Embeds the texts above as points, and a waveform as the point of its first two samples."""

    sampling_rate, max_seconds = 100, 1.0

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[list[str]] = []
        self.heard = 0

    def embed_text(self, texts: list[str]) -> Tensor:
        self.texts.append(texts)
        return torch.tensor([POINTS[text] for text in texts])

    def embed_audio(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        self.heard += 1
        return nn.functional.normalize(waveforms[:, :2].float(), dim=-1)


def clips() -> ClipBatch:
    waveforms = torch.tensor([[60, 80, 0], [-100, 0, 0]], dtype=torch.int16)  # (.6, .8) and (-1, 0)
    return ClipBatch(["x", "y"], waveforms, torch.tensor([3, 3]), None, [[], []], [[], []])


def plain(candidates: list[str], audio: tuple[float, float]) -> list[tuple[str, float]]:
    """Each text once, by its cosine, a sum of two products in Python's floats; equal ones as they came."""
    scored = {text: audio[0] * POINTS[text][0] + audio[1] * POINTS[text][1] for text in candidates}
    return sorted(scored.items(), key=lambda pair: pair[1], reverse=True)


def test_the_nearest_candidate_first() -> None:
    clap, made = Planar(), Made()
    ranked = ClapRefine(clap, beams=(2, 3, 4))(made, clips())
    for found, wanted in zip(
        ranked, (plain(["rain", "a dog"], (0.6, 0.8)), plain(["wind", "rain", "a bell"], (-1, 0)))
    ):
        assert [text for text, _ in found] == [text for text, _ in wanted]
        assert [score for _, score in found] == pytest.approx([score for _, score in wanted], abs=1e-6)
    assert ranked[0][0][0] == "a dog" and ranked[1][0][0] == "a bell" and made.asked == [2, 3, 4]
    assert clap.heard == 1 and clap.texts == [["rain", "a dog", "wind", "a bell"]]  # one call, each text once


def test_half_precision_around_it_makes_no_ties() -> None:
    """Cosines of the candidates that differ by less than bfloat16 tells apart."""
    near = {"rain": (0.8, 0.6), "wind": (0.7998, 0.60027), "a dog": (0.8002, 0.59973), "a bell": (0.0, 1.0)}
    heard = torch.tensor([[0.7998, 0.60027], [0.8002, 0.59973]])

    def match(texts: list[str]) -> Tensor:
        return torch.tensor([near[text] for text in texts])

    refine = ClapRefine(beams=(2, 3, 4))
    found = refine(Made(), clips(), (match, heard))
    with torch.autocast("cpu", torch.bfloat16):
        assert refine(Made(), clips(), (match, heard)) == found


def test_more_of_each_search_the_own_caption_and_samples() -> None:
    made = Made()
    refine = ClapRefine(Planar(), beams=(1, 3), per_search=2, samples=2, temperature=0.7, top_p=0.9, seed=5)
    found = [dict(ranked) for ranked in refine(made, clips())]
    assert [set(of_clip) for of_clip in found] == [{"a bell", "a dog", "wind", "", "rain"}, {"a bell", "rain", "wind"}]
    assert made.asked == [1, 3, (2, Sampling(0.7, 0.9, 5))]


def test_the_stage_s_own_clap_is_taken_unless_another_is_named() -> None:
    own, other = Planar(), Planar()
    heard = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert ClapRefine(beams=(2, 3, 4))(Made(), clips(), (own.embed_text, heard))[1][0][0] == "rain"
    assert ClapRefine(other, beams=(2, 3, 4))(Made(), clips(), (own.embed_text, heard))[1][0][0] == "a bell"
    assert len(own.texts) == len(other.texts) == other.heard == 1


def test_the_audio_is_that_of_the_clap() -> None:
    batch = clips()
    batch.also = (torch.tensor([[50, 0], [50, 0]], dtype=torch.int16), torch.tensor([2, 2]))
    assert [ranked[0][0] for ranked in ClapRefine(Planar(), beams=(2, 3, 4))(Made(), batch)] == ["rain", "rain"]
    own = ClipFormat(sampling_rate=100, max_seconds=2.0)
    assert own.with_audio_for(Planar()).also == (100, 1.0) and own.with_audio_for(None) == own
    assert ClipFormat(sampling_rate=100, max_seconds=1.0).with_audio_for(Planar()).also is None
    images = ClipFormat(image_size=8).with_audio_for(Planar())
    assert images == ClipFormat(sampling_rate=100, max_seconds=1.0, image_size=8)


@pytest.mark.parametrize(
    "values", [{"beams": (0,)}, {"per_search": 0}, {"samples": -1}, {"temperature": 0}, {"top_p": 0}, {"beams": ()}]
)
def test_values_that_make_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        ClapRefine(Planar(), **values)


def test_the_authors_widths_are_the_default() -> None:
    assert ClapRefine().made_by(Planar()) == {
        "refine": {"beams": (2, 3, 4, 5, 6, 7, 8), "per_search": 1, "samples": 0}, "chosen_by": "Planar",
        "trained_on": [],
    }  # fmt: skip
