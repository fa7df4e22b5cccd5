"""The band of similarity in DRCap's training, against a plain version in float64."""

import math

import pytest
import torch
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.embeddings.memory import Memory
from lightning_modules.embeddings.similar_captions import SimilarityBand


def around(cosines: list[float]) -> Tensor:
    """Embeddings (N, 3) of these cosines with the first axis, of different norms."""
    rows = [[cosine, math.sqrt(1 - cosine**2), 0.0] for cosine in cosines]
    return torch.tensor(rows) * torch.arange(1, len(rows) + 1)[:, None]


def plain(embedding: Tensor, stored: Memory, lowest: float, highest: float) -> set[str]:
    """sim_min < cosine < sim_max, over distinct texts."""
    found = set()
    for text, other in zip(stored.texts, stored.embeddings.double()):
        query = embedding.double()
        cosine = float(query @ other / math.sqrt(query @ query) / math.sqrt(other @ other))
        if lowest < cosine < highest:
            found.add(text)
    return found


def test_what_is_drawn_is_in_the_band_and_all_that_is_there_can_be() -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(600, 6)  # more than one chunk
    texts = [f"caption {row % 250}" for row in range(600)]
    stored = Memory(torch.nn.functional.normalize(embeddings, dim=1), texts)
    stored.embeddings[250:] = stored.embeddings[:250].repeat(2, 1)[:350]  # equal texts have equal embeddings
    band, seen = SimilarityBand(0.75, 0.85), [set() for _ in range(5)]
    captions = Memory(embeddings, [f"another {row}" for row in range(600)])
    drawn = band.draw(captions, stored, 3)
    sizes = set()
    for embedding, found in zip(embeddings, drawn):
        inside = plain(embedding, stored, 0.75, 0.85)
        assert set(found) <= inside and len(found) == len(set(found)) == min(3, len(inside))
        sizes.add(len(found))
    assert len(drawn) == 600 and sizes == {0, 1, 2, 3}
    few = Memory(embeddings[:5], captions.texts[:5])
    for seed in range(60):
        for row, found in enumerate(SimilarityBand(0.75, 0.85, seed).draw(few, stored, 3)):
            seen[row] |= set(found)
    assert seen == [plain(embedding, stored, 0.75, 0.85) for embedding in embeddings[:5]]
    assert drawn == band.draw(captions, stored, 3) != SimilarityBand(0.75, 0.85, 1).draw(captions, stored, 3)


def test_a_caption_is_never_in_its_own_prompt_and_few_are_better_than_none() -> None:
    stored = Memory(around([1.0, 0.9, 0.86, 0.80, 0.74]), ["itself", "almost", "near", "inside", "far"])
    caption = Memory(torch.tensor([[2.0, 0.0, 0.0]]), ["itself"])
    assert SimilarityBand().draw(caption, stored, 3) == [["inside"]]
    assert SimilarityBand(0.95, 0.99).draw(caption, stored, 3) == [[]]
    assert SimilarityBand().draw(caption, stored, 0) == [[]]


def test_a_wide_band_leaves_out_a_caption_by_its_text() -> None:
    """Its cosine with itself may be below 1; captions that are not stored have all of the band."""
    torch.manual_seed(0)
    embeddings = torch.randn(600, 6)
    texts = [f"caption {row % 400}" for row in range(600)]
    embeddings[400:] = embeddings[:200]
    texts[500:] = [f"other {row}" for row in range(100)]
    stored = Memory(embeddings[:500].clone(), texts[:500])
    directions = torch.nn.functional.normalize(embeddings, dim=1)
    assert bool(((directions * directions).sum(1) < 1).any())
    drawn = SimilarityBand(-1.0, 1.0).draw(Memory(embeddings, texts), stored, 400)
    for text, found in zip(texts[:500], drawn):
        assert set(found) == {*stored.texts} - {text}
    assert all(len(found) >= 399 for found in drawn[500:])


def test_a_band_is_from_low_to_high() -> None:
    with pytest.raises(InputError, match="expected a band from lowest to highest"):
        SimilarityBand(0.85, 0.75)
    with pytest.raises(InputError, match="between -1 and 1, found 0.75 to 1.01"):
        SimilarityBand(0.75, 1.01)
