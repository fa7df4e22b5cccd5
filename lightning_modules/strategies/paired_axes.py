"""What texts and audio have in common in CLAP's space: PLS-SVD of pairs, as in COMET (Zhu et al., arXiv 2605.29628)."""

from typing import Any

import torch
from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.contracts import Embed, Embedded

CHUNK = 8192  # pairs in float64 at once: a corpus has hundreds of thousands


class PairedAxes(nn.Module):
    """The mean of each modality, and pairs of axes, one in each, along which paired embeddings vary together most.

    Of N pairs with the text embeddings T and the audio embeddings A, (N, D) each and without their means, the singular
    vectors of T'A / N = U diag(s) V' are the axes: the text t has the coefficients U'(t - mean of T), the audio a has
    V'(a - mean of A), and the j-th coefficients of the two are of one concept. The first `rank` are kept.

    Args:
        rank: how many pairs of axes, K.
        split: with pairs of audio and captions, by default of a corpus that is not captioned. Every caption makes a
            pair with its clip.
        num_clips: a sample of so many of its clips is enough; None takes all.

    Raises:
        InputError: a rank below 1.
    """

    text_mean: Tensor
    audio_mean: Tensor
    text_axes: Tensor
    audio_axes: Tensor
    scale: Tensor

    def __init__(self, rank: int = 100, split: str = "wavcaps/train", num_clips: int | None = None) -> None:
        super().__init__()
        if rank < 1:
            raise InputError(f"expected a rank of at least 1, found {rank}; correct it")
        self.rank = rank
        self.split = split
        self.num_clips = num_clips
        self.register_buffer("text_mean", torch.zeros(0))  # (D,)
        self.register_buffer("audio_mean", torch.zeros(0))  # (D,)
        self.register_buffer("text_axes", torch.zeros(0, 0))  # (D, K)
        self.register_buffer("audio_axes", torch.zeros(0, 0))  # (D, K)
        self.register_buffer("scale", torch.ones(()))  # how much longer texts are than audio, in these axes

    @property
    def splits(self) -> set[str]:
        """The split whose pairs the axes are computed from."""
        return {self.split}

    def prepare(self, text: Embed, audio: Embed) -> None:
        """Compute the axes; nothing where they are known, as those of an export.

        Raises:
            InputError: there are not as many axes.
        """
        if len(self.text_mean):
            return
        captions = text(self.split, self.num_clips)
        texts, sounds = paired(captions, audio(self.split, self.num_clips))  # (N, D) each
        clips = len(set(captions.clip_ids))
        most = min(clips - 1, texts.shape[1])  # the covariance's rank: all captions of a clip have its one embedding
        if self.rank > most:
            raise InputError(
                f"expected a rank of at most {most}, for {clips} clips of {self.split} in {texts.shape[1]} dimensions, "
                f"found {self.rank}; lower it"
            )
        text_axes, values, audio_axes = pls_svd(texts, sounds)
        found = {
            "text_mean": mean(texts),
            "audio_mean": mean(sounds),
            "text_axes": text_axes[:, : self.rank],
            "audio_axes": audio_axes[:, : self.rank],
        }
        squares = [
            sum(((part - found[f"{name}_mean"]) @ found[f"{name}_axes"]).square().sum() for part in side.split(CHUNK))
            for name, side in (("text", texts), ("audio", sounds))
        ]
        found["scale"] = torch.as_tensor(squares[0] / squares[1]).sqrt()
        for name, value in found.items():
            setattr(self, name, value.to(getattr(self, name)).contiguous())
        print(
            f"paired axes: {self.rank} of {len(values)}, with {values[: self.rank].sum() / values.sum():.1%} of the "
            f"singular values; texts {self.scale:.2f} times as long as audio; from {len(texts)} pairs of {self.split}",
            flush=True,
        )

    def _require(self, width: int) -> None:
        """Check that the axes are known, and of embeddings (B, `width`)."""
        if len(self.text_mean) != width:
            found = f"those of {len(self.text_mean)} dimensions" if len(self.text_mean) else "none"
            raise InputError(
                f"expected axes of pairs in {width} dimensions, found {found}; give a split with pairs, or train with "
                "this strategy: an export keeps the axes"
            )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, own in self.named_buffers(recurse=False):
            setattr(self, name, torch.empty_like(state_dict.get(f"{prefix}{name}", own), device=own.device))
        if (rank := self.text_axes.shape[1]) not in (0, self.rank):
            raise InputError(
                f"expected {self.rank} axes of pairs, found {rank}; give the rank that they were made with"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


def paired(text: Embedded, audio: Embedded) -> tuple[Tensor, Tensor]:
    """Each caption's embedding and that of its clip's audio, (N, D) each."""
    row_of = {clip_id: row for row, clip_id in enumerate(audio.clip_ids)}
    rows = torch.tensor([row_of[clip_id] for clip_id in text.clip_ids])
    return text.embeddings, audio.embeddings[rows]


def mean(embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) to (D,), in float64."""
    return embeddings.mean(0, dtype=torch.float64)


def pls_svd(texts: Tensor, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Axes of paired embeddings (N, D), in the order of their covariance, in float64.

    Returns:
        Axes of the texts (D, D) in columns, the covariances along them (D,), axes of the audio (D, D).
    """
    of_text, of_audio = mean(texts), mean(audio)
    covariance = torch.zeros(texts.shape[1], audio.shape[1], dtype=torch.float64)
    for some_texts, some_audio in zip(texts.split(CHUNK), audio.split(CHUNK)):
        covariance += (some_texts - of_text).T @ (some_audio - of_audio)
    u, values, v = torch.linalg.svd(covariance / len(texts))
    return u, values, v.T
