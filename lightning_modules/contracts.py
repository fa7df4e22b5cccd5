"""What stages ask of the objects that the YAML gives them; `datamodules.contracts` has the other side.

Any class that has these methods fits, whatever it derives from. The command line compares the signatures when it reads
the YAML, a type checker when it reads the code. Shapes: B clips, T samples, F frames, N audio tokens, M image tokens,
D width.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

Measures = dict[str, Tensor | float]
"""What a criterion or a solver logs, by name."""


class Module(Protocol):
    """The part of `torch.nn.Module` that stages use of what they are given; every contract below has it."""

    training: bool

    if TYPE_CHECKING:  # at run time torch defines these, and the command line does not compare them

        def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...

        def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...

        def train(self, mode: bool = True) -> Self: ...

        def eval(self) -> Self: ...

        def requires_grad_(self, requires_grad: bool = True) -> Self: ...

        def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self: ...

        def state_dict(self) -> dict[str, Any]: ...

        def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any: ...


class Criterion(Module, Protocol):
    """A distance between two sets of tokens, as `TokenAlignment` minimises it."""

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> Any:
        """Compute the loss.

        Args:
            audio_tokens: (B, N, D).
            image_tokens: (B, M, D).

        Returns:
            The mean over the clips, a float32 scalar (float64 for float64 tokens), and what is to be logged by name.
        """

    if TYPE_CHECKING:  # at run time torch defines it, for any arguments

        def __call__(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Measures]: ...


@runtime_checkable
class ScheduledCriterion(Protocol):
    """A criterion that changes with the epochs."""

    def set_epoch(self, epoch: int) -> None:
        """Called before every training step with the number of the epoch, from 0."""


@runtime_checkable
class TransportCriterion(Protocol):
    """A criterion that moves the mass of audio tokens onto image tokens."""

    def couple(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, N, D) and (B, M, D) to a dense plan (B, N, M) and the weights (B, N) and (B, M), no gradients."""


class ReadsAudio(Module, Protocol):
    """A network that reads audio.

    Attributes:
        sampling_rate: of the waveforms, in Hz.
        max_seconds: longer clips are cut to their beginning; None takes any length.
    """

    @property
    def sampling_rate(self) -> int: ...

    @property
    def max_seconds(self) -> float | None: ...


class AudioEncoder(ReadsAudio, Protocol):
    """Audio to tokens of the width of the image tokens."""

    def features(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """Waveforms (B, T), int16, and their lengths (B,) before padding to what `forward` takes, (B, F, ...)."""

    def augment(self, features: Tensor) -> Tensor:
        """Features as they are changed in training; the same shape."""

    def forward(self, features: Tensor) -> Tensor:
        """Features to tokens (B, N, D)."""

    if TYPE_CHECKING:

        def __call__(self, features: Tensor) -> Tensor: ...

    def save_pretrained(self, save_directory: str | Path) -> Any:
        """Write a Hugging Face folder."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path) -> Any:
        """Read such a folder."""


@runtime_checkable
class HasTokenGrid(Protocol):
    """An audio encoder whose tokens stand for patches of a spectrogram."""

    def token_grid(self) -> tuple[int, int, float, tuple[float, float]]:
        """Rows (frequencies, low to high) and columns (time) of the N tokens, row by row; the seconds that the columns
        cover; the lowest and the highest frequency in Hz, with rows equally wide in mel."""


class Media(Protocol):
    """B clips, decoded. A medium that was not asked for is None.

    Attributes:
        clip_ids: B ids.
        waveforms: (B, T), int16.
        num_samples: (B,), the lengths before padding.
        images: (B, 3, H, W), uint8.
        captions: B lists of reference captions.
        also: the audio once more, as another model takes it: waveforms and their lengths.
    """

    clip_ids: list[str]
    waveforms: Tensor | None
    num_samples: Tensor | None
    images: Tensor | None
    captions: list[list[str]]
    also: tuple[Tensor, Tensor] | None

    def first_references(self) -> list[str]:
        """The first caption of every clip.

        Raises:
            InputError: a clip has none.
        """


@dataclass(frozen=True)
class Sampling:
    """How captions are sampled.

    Attributes:
        temperature: above 0; divides the logits.
        top_p: samples among the likeliest tokens that together have this probability.
        seed: beside a clip's id and the number of the sample it decides a sample, whatever the batch or the device.
    """

    temperature: float
    top_p: float
    seed: int


class ReadyClips(Protocol):
    """B clips whose media are embedded, ready to be captioned by each means that a captioner has."""

    def beams(self, number: int) -> list[list[tuple[str, float]]]:
        """The `number` captions of a beam search for each, the best first, with their scores: higher is better.

        One is the caption that the captioner makes by default, and its score is 0.
        """

    def samples(self, number: int, sampling: Sampling) -> list[list[str]]:
        """`number` sampled captions of each.

        Raises:
            InputError: the captioner does not sample.
        """


class ImageCaptioner(Module, Protocol):
    """Says what is seen in images.

    Attributes:
        image_size: height and width of the images that it takes, in pixels.
    """

    @property
    def image_size(self) -> int: ...

    def load(self, dtype: torch.dtype | None = None) -> None:
        """Load the weights, frozen, where that has not been done, in `dtype` or, with None, that of their file."""

    def caption_images(self, images: Tensor) -> list[str]:
        """Images (I, 3, H, W), uint8, to I captions; none depends on the others."""

    def made_by(self) -> dict[str, Any]:
        """Everything that decides a caption, as JSON; also before `load`."""


class Matcher(ReadsAudio, Protocol):
    """Embeds audio and texts in one space."""

    def embed_audio(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """Waveforms (B, T) and their lengths (B,) to embeddings (B, D) of norm 1."""

    def embed_text(self, texts: list[str]) -> Tensor:
        """B texts to embeddings (B, D) of norm 1; none depends on the others."""


class EmbeddingModel(Matcher, Protocol):
    """A matcher whose embeddings are decoded (WSAC), and cached under its fingerprint.

    Attributes:
        embedding_dim: D.
        tokenizer: a transformers tokenizer with the ids `cls_token_id`, `sep_token_id` and `pad_token_id`.
    """

    embedding_dim: int
    tokenizer: Any

    def fingerprint(self, part: str) -> str:
        """A digest of everything that decides the embeddings of `part`, "text" or "audio"."""


class Embedded(NamedTuple):
    """Embeddings (N, D) and the clip that each belongs to."""

    embeddings: Tensor
    clip_ids: list[str]


class Embed(Protocol):
    """Returns the embeddings of a split's captions, or of its audio."""

    def __call__(self, split: str | None, num_clips: int | None = None, /) -> Embedded:
        """All of them, or those of `num_clips` clips, drawn by their ids; None is the split that is trained on."""


@runtime_checkable
class Prepared(Protocol):
    """A strategy that learns something of whole splits first.

    Attributes:
        splits: those whose captions or audio `prepare` reads.
    """

    @property
    def splits(self) -> set[str]: ...

    def prepare(self, text: Embed, audio: Embed) -> None:
        """Called once before training; a strategy at inference that its export does not know, before a test."""


@runtime_checkable
class Renormalises(Protocol):
    """A strategy that can scale what it returns to norm 1; `renormalise` says whether it does."""

    renormalise: bool


class TrainingStrategy(Module, Prepared, Protocol):
    """Changes the text embeddings that WSAC's decoder is trained on."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Text embeddings (B, D) to (B, D)."""

    if TYPE_CHECKING:

        def __call__(self, embeddings: Tensor) -> Tensor: ...


@runtime_checkable
class SearchesCaptions(Protocol):
    """A strategy that searches in the training captions."""

    def remember(self, embeddings: Tensor) -> None:
        """Take the embeddings (N, D) of all training captions; called once."""


class InferenceStrategy(Module, Protocol):
    """Moves audio embeddings among the text embeddings that WSAC's decoder knows.

    What it needs for that it gets by `SearchesCaptions` or, of whole splits, by `Prepared`.
    """

    def forward(self, audio: Tensor) -> Tensor:
        """Audio embeddings (B, D) to (B, D)."""

    if TYPE_CHECKING:

        def __call__(self, audio: Tensor) -> Tensor: ...
