"""PLS-SVD against scikit-learn's, and COMET's truncation against the formula in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.cross_decomposition import PLSSVD

from earshot.errors import InputError
from lightning_modules.contracts import Embed, Embedded
from lightning_modules.strategies.comet import CometAudio, CometText
from lightning_modules.strategies.paired_axes import paired, pls_svd

CLIPS = ["a", "b", "c", "d", "e", "f", "g"]
GENERATOR = torch.Generator().manual_seed(5)
AUDIO = Embedded(torch.randn(7, 5, generator=GENERATOR), CLIPS[::-1])
TEXT = Embedded(torch.randn(9, 5, generator=GENERATOR) + 1, [*CLIPS, "a", "c"])  # two captions of a and of c


def prepared(strategy: CometText | CometAudio) -> CometText | CometAudio:
    strategy.prepare(given(TEXT), given(AUDIO))
    return strategy.eval()


def given(embedded: Embedded) -> Embed:
    return lambda split, num_clips=None: {"wavcaps/train": embedded}[split]


def plain_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Every caption with its clip's audio, by hand."""
    audio = dict(zip(AUDIO.clip_ids, AUDIO.embeddings.double().numpy()))
    return TEXT.embeddings.double().numpy(), np.stack([audio[clip_id] for clip_id in TEXT.clip_ids])


def plain_axes(rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The axes by eigenvectors of M M', and of M' from these, without an SVD."""
    texts, audio = plain_pairs()
    covariance = sum(np.outer(t - texts.mean(0), a - audio.mean(0)) for t, a in zip(texts, audio)) / len(texts)
    values, vectors = np.linalg.eigh(covariance @ covariance.T)
    u = vectors[:, np.argsort(-values)[:rank]]
    v = covariance.T @ u
    return u, v / np.linalg.norm(v, axis=0)


def test_each_caption_is_paired_with_its_own_clip() -> None:
    texts, audio = paired(TEXT, AUDIO)
    wanted = plain_pairs()
    np.testing.assert_array_equal(texts.numpy(), wanted[0])
    np.testing.assert_array_equal(audio.numpy(), wanted[1])


def test_axes_are_those_of_scikit_learn() -> None:
    texts, audio = plain_pairs()
    u, values, v = pls_svd(torch.from_numpy(texts), torch.from_numpy(audio))
    published = PLSSVD(n_components=4, scale=False).fit(texts, audio)
    for ours, theirs in ((u, published.x_weights_), (v, published.y_weights_)):
        np.testing.assert_allclose(np.abs((ours[:, :4].numpy() * theirs).sum(0)), 1, rtol=1e-9)  # up to both signs
    scores = published.transform(texts, audio)
    covariances = [abs(float(t @ a)) / len(texts) for t, a in zip(scores[0].T, scores[1].T)]
    np.testing.assert_allclose(values[:4].numpy(), covariances, rtol=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_truncation_is_the_formula(rank: int) -> None:
    """t to U U'(t - mean) + mean, a to U V'(a - mean of A) + mean of T; scaled as the pairs' coefficients are."""
    texts, audio = plain_pairs()
    u, v = plain_axes(rank)
    few_texts, few_audio = np.random.default_rng(0).normal(size=(2, 3, 5))
    wanted_text = np.stack(
        [texts.mean(0) + sum(((t - texts.mean(0)) @ u[:, j]) * u[:, j] for j in range(rank)) for t in few_texts]
    )
    of_audio = np.stack([[(a - audio.mean(0)) @ v[:, j] for j in range(rank)] for a in few_audio])  # (3, rank)
    longer = np.linalg.norm((texts - texts.mean(0)) @ u) / np.linalg.norm((audio - audio.mean(0)) @ v)
    found_text = prepared(CometText(rank))(torch.from_numpy(few_texts).float())
    np.testing.assert_allclose(found_text.numpy(), wanted_text, atol=1e-5)
    for match_scale, factor in ((False, 1.0), (True, longer)):
        found = prepared(CometAudio(rank, match_scale=match_scale))(torch.from_numpy(few_audio).float())
        np.testing.assert_allclose(found.numpy(), texts.mean(0) + factor * of_audio @ u.T, atol=1e-5)


def test_text_strategy_leaves_truncated_audio_as_it_is() -> None:
    """So audio may go through the strategies of training after that of inference."""
    moved = prepared(CometAudio(3, match_scale=True))(torch.randn(4, 5))
    torch.testing.assert_close(prepared(CometText(3))(moved), moved)


def test_all_axes_leave_texts_as_they_are() -> None:
    texts = torch.randn(4, 5)
    torch.testing.assert_close(prepared(CometText(5))(texts), texts)


def test_axes_are_kept_and_of_their_rank(tmp_path: Path) -> None:
    audio = torch.randn(2, 5)
    first = prepared(CometAudio(2))
    again = CometAudio(2)
    again.load_state_dict(first.state_dict())
    assert torch.equal(again(audio), first(audio))
    with pytest.raises(InputError, match="expected 3 axes of pairs, found 2"):
        CometAudio(3).load_state_dict(first.state_dict())
    path = tmp_path / "inference_strategy.safetensors"
    save_file(first.state_dict(), path)
    of_file = CometAudio(2, path=str(path))
    assert not of_file.splits and torch.equal(of_file(audio), first(audio))
    path.write_bytes(b"other")
    with pytest.raises(InputError, match="expected axes of pairs in"):
        CometAudio(2, path=str(path))


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(InputError, match="a rank of at least 1, found 0"):
        CometText(0)
    with pytest.raises(InputError, match="at most 5, for 7 clips of wavcaps/train in 5 dimensions, found 6"):
        prepared(CometText(6))
    few = Embedded(TEXT.embeddings, list("aaabbbccc"))  # nine captions of three clips: a covariance of rank 2
    assert int(torch.linalg.matrix_rank(torch.diag(pls_svd(*paired(few, AUDIO))[1]))) == 2
    CometText(2).prepare(given(few), given(AUDIO))
    with pytest.raises(InputError, match="at most 2, for 3 clips of wavcaps/train in 5 dimensions, found 3"):
        CometText(3).prepare(given(few), given(AUDIO))
    with pytest.raises(InputError, match="axes of pairs in 5 dimensions, found none"):
        CometAudio(2)(torch.zeros(1, 5))
    with pytest.raises(InputError, match="axes of pairs in 4 dimensions, found those of 5"):
        prepared(CometAudio(2))(torch.zeros(1, 4))
