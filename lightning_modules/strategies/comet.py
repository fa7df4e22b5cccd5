"""COMET's spectral truncation: text and audio keep what they share, without a memory (Zhu et al., arXiv 2605.29628).

In training the decoder gets texts, at inference audio, both by their coefficients along the shared axes. A text's
coefficients are put back along the texts' axes, and so are an audio's: `CometAudio` puts audio among the texts, and
what `CometText` does to texts in training leaves it as it is.
"""

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.strategies.paired_axes import PairedAxes


class CometText(PairedAxes):
    """Takes from a text embedding, in training, all that it does not share with audio: t to U U'(t - mean) + mean.

    To a decoder these D numbers say what the K coefficients say that the paper gives it, as its first layer is linear.
    """

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        self._require(embeddings.shape[1])
        with torch.autocast(embeddings.device.type, enabled=False):
            coefficients = (embeddings - self.text_mean) @ self.text_axes  # (B, K)
            return coefficients @ self.text_axes.T + self.text_mean


class CometAudio(PairedAxes):
    """Puts an audio embedding among the texts by what it shares with them: a to U V'(a - mean of A) + mean of T.

    It also helps a decoder that was trained without `CometText`.

    Args:
        rank: how many pairs of axes, K.
        split: with pairs of audio and captions, by default of a corpus that is not captioned.
        num_clips: a sample of so many of its clips is enough; None takes all.
        match_scale: multiply the coefficients by how much longer those of the pairs' texts are; ours. The paper does
            not speak of it: in its CLAP the two are about as long.
        path: a safetensors file with the axes, as exports have; nothing is computed then.

    Raises:
        InputError: a rank below 1, no such file, or another kind of file.
    """

    def __init__(
        self,
        rank: int = 100,
        split: str = "wavcaps/train",
        num_clips: int | None = None,
        match_scale: bool = False,
        path: str | None = None,
    ) -> None:
        super().__init__(rank, split, num_clips)
        self.match_scale = match_scale
        self.path = path
        if path is not None:
            try:
                self.load_state_dict(load_file(path))
            except (OSError, SafetensorError, RuntimeError) as error:
                raise InputError(
                    f"expected axes of pairs in {path!r}, found {error}; name the inference_strategy.safetensors of an "
                    "export"
                ) from error

    @property
    def splits(self) -> set[str]:
        """The split that the axes are computed from, where they are."""
        return {self.split} if self.path is None else set()

    def forward(self, audio: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        self._require(audio.shape[1])
        with torch.autocast(audio.device.type, enabled=False):
            coefficients = (audio - self.audio_mean) @ self.audio_axes  # (B, K)
            if self.match_scale:
                coefficients = self.scale * coefficients
            return coefficients @ self.text_axes.T + self.text_mean
