"""Decoding: what a clip's caption may depend on."""

import pytest
import torch
from conftest import MINIATURE

from earshot.errors import InputError
from lightning_modules.contracts import Sampling
from lightning_modules.networks.llava.generation import Generation
from lightning_modules.networks.llava.language_model import QUESTION, LlavaLanguageModel
from lightning_modules.networks.llava.prompted_clips import PromptedClips
from lightning_modules.seeded_sampling import SeededSampling

IDS = ["a", "b", "c", "d", "e", "f"]


@pytest.fixture(scope="module")
def captioner() -> LlavaLanguageModel:
    return LlavaLanguageModel.from_pretrained(MINIATURE / "llava", MINIATURE / "prefix").eval()


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randn(6, 64, 96, generator=torch.Generator().manual_seed(0))


def test_sampling_draws_from_the_distribution() -> None:
    """Against softmax: 20,000 draws of 5 tokens."""
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -torch.inf])
    sampling = SeededSampling(0, [str(clip) for clip in range(200)])
    drawn = torch.cat([sampling(torch.empty(0), logits.expand(200, -1)).argmax(1) for _ in range(100)])
    shares = torch.bincount(drawn, minlength=5) / len(drawn)
    assert torch.allclose(shares, logits.softmax(0), atol=0.015)
    assert shares[4] == 0


def test_a_sampled_caption_depends_on_seed_and_clip_alone(captioner: LlavaLanguageModel, tokens: torch.Tensor) -> None:
    warm = Generation(temperature=1.5, max_new_tokens=12)
    whole = captioner.generate(None, tokens, QUESTION, warm, IDS)
    torch.manual_seed(5)  # of the global generator nothing may be drawn
    parts = [captioner.generate(None, tokens[at], QUESTION, warm, IDS[at]) for at in (slice(4, 6), slice(0, 4))]
    assert parts[1] + parts[0] == whole
    other = captioner.generate(None, tokens, QUESTION, Generation(temperature=1.5, max_new_tokens=12, seed=1), IDS)
    assert other != whole


def test_the_settings_reach_the_decoder(captioner: LlavaLanguageModel, tokens: torch.Tensor) -> None:
    greedy = captioner.generate(None, tokens)
    nucleus = Generation(temperature=2.0, top_p=1e-6)  # of the likeliest token alone
    assert captioner.generate(None, tokens, QUESTION, nucleus, IDS) == greedy
    assert all(
        len(caption.split()) <= 2
        for caption in captioner.generate(None, tokens, QUESTION, Generation(max_new_tokens=2))
    )
    beams = captioner.generate(None, tokens, QUESTION, Generation(num_beams=4))
    sums = [(-captioner.nll(None, tokens, captions)[0]) for captions in (greedy, beams)]
    lengths = [captioner.nll(None, tokens, captions)[1] for captions in (greedy, beams)]
    assert (sums[1] / lengths[1] >= sums[0] / lengths[0] - 1e-4).float().mean() > 0.8  # what beams are for
    assert beams != greedy


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": 0},
        {"num_beams": 0},
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"num_beams": 2, "temperature": 0.2},
    ],
)
def test_bad_settings_are_named(settings: dict) -> None:
    with pytest.raises(InputError, match="model.captioner.generation"):
        Generation(**settings)


def test_rows_that_do_not_fit_at_once_are_decoded_in_parts(
    captioner: LlavaLanguageModel, tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = PromptedClips(captioner, captioner(None, tokens), Generation(max_new_tokens=6), IDS)
    whole = clips.beams(3), clips.samples(2, Sampling(1.0, 1.0, 0))
    monkeypatch.setattr("lightning_modules.networks.llava.prompted_clips.ROWS", 6)
    rows: list[int] = []
    generate = captioner.llava.generate
    monkeypatch.setattr(
        captioner.llava, "generate", lambda **given: rows.append(len(given["inputs_embeds"])) or generate(**given)
    )
    parts = clips.beams(3), clips.samples(2, Sampling(1.0, 1.0, 0))
    assert rows == [2, 2, 2, 6, 6]  # clips of three beams, then samples
    assert [[text for text, _ in best] for best in parts[0]] == [[text for text, _ in best] for best in whole[0]]
    assert parts[1] == whole[1]
