"""The candidates that DRCap's language model has for CLAP-Refine."""

import pytest
import torch
from conftest import MINIATURE

from lightning_modules.contracts import Sampling
from lightning_modules.networks.prompted_captions import PromptedCaptions
from lightning_modules.networks.prompted_lm import PromptedLm

SIMILAR = [["a bell rings", "rain falls and a dog barks"], [], ["wind blows"]]
EMBEDDINGS = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def lm() -> PromptedLm:
    torch.manual_seed(0)
    made = PromptedLm(str(MINIATURE / "vicuna"), "USER: What sound can be heard ? ASSISTANT:", hidden_dim=24)
    made.load(embedding_dim=10)
    return made.eval()


def ready(lm: PromptedLm, *rows: int, num_beams: int = 1) -> PromptedCaptions:
    ids = [f"clip {row}" for row in rows]
    return PromptedCaptions(lm, EMBEDDINGS[list(rows)], [SIMILAR[row] for row in rows], 6, num_beams, ids)


def test_one_beam_is_the_caption_that_is_made_by_default(lm: PromptedLm) -> None:
    for num_beams in (1, 3):
        captions = ready(lm, 0, 1, 2, num_beams=num_beams).captions()
        assert ready(lm, 0, 1, 2, num_beams=num_beams).beams(1) == [[(caption, 0.0)] for caption in captions]
    assert [best[0][0] for best in ready(lm, 0, 1, 2).beams(3)] == captions
    assert all(len(found) == 3 and found[0][1] > found[2][1] for found in ready(lm, 0, 1, 2).beams(3))


def test_samples_are_of_the_clip_and_the_seed(lm: PromptedLm) -> None:
    together = ready(lm, 0, 1, 2).samples(3, Sampling(1.0, 0.9, 0))
    assert [len(found) for found in together] == [3, 3, 3] and len(set(together[0])) > 1
    assert ready(lm, 2, 0).samples(3, Sampling(1.0, 0.9, 0)) == [together[2], together[0]]
    assert ready(lm, 0, 1, 2).samples(3, Sampling(1.0, 0.9, 1)) != together
