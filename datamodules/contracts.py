"""What datamodules, stages and callbacks ask of one another; a type checker reads it, and nothing else is asked.

Each side names the contract that it relies on and never the class behind it. A stage finds its datamodule, and a
datamodule or a callback its stage, by `expect`, which says in one line what does not fit.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import lightning as L
from torch import Tensor

from datamodules.clips import Captions, ClipBatch, ClipFormat, Coupling, Explanation
from earshot.errors import InputError

T = TypeVar("T")


@runtime_checkable
class ClipStage(Protocol):
    """A stage that reads clips."""

    def clip_format(self, stage: str) -> ClipFormat:
        """What is read of every clip in `stage`, one of "fit", "validate", "test", "predict"."""


@runtime_checkable
class CaptionStage(ClipStage, Protocol):
    """A stage that reads captions without their audio in fit, and clips otherwise."""

    def more_splits(self, stage: str) -> set[str]:
        """Splits that the stage reads beside the datamodule's own."""


@runtime_checkable
class NamedClips(Protocol):
    """A batch that says whose it is."""

    clip_ids: list[str]


@runtime_checkable
class ExportingStage(Protocol):
    """A stage that exports what it learnt."""

    def export(self, folder: Path) -> None:
        """Write it into an empty folder."""

    def load_export(self, folder: Path) -> None:
        """Read it from a folder that `export` wrote."""


@runtime_checkable
class CaptioningStage(Protocol):
    """A stage whose test and predict steps return `CaptionRows`, or rows made from captions."""

    def captions_made_by(self) -> dict[str, Any]:
        """Everything that decides a row, as JSON: digests of weights, prompt, decoding.

        `trained_on`, where it is there, lists the data that pretrained parts say they were trained on; `chosen_by`
        names the model that chose a caption among several (`earshot.digests.model_name`).
        """


@runtime_checkable
class EmbeddingStage(Protocol):
    """A stage that decodes text embeddings, and whose test step returns `EmbeddedCaptionRows`."""

    def text_embeddings(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, D) of B texts, without and with what the training strategies change."""


@runtime_checkable
class RankingStage(Protocol):
    """A stage that finds several captions of a clip and ranks them."""

    def candidates(self, batch: ClipBatch, number: int) -> list[list[tuple[str, float]]]:
        """`number` (2 or more) captions of each of B clips, the best first, each with its score: higher is better.

        Where a refine chooses among candidates, these by its score, and fewer where it has fewer.
        """


@runtime_checkable
class ExplainingStage(ClipStage, Protocol):
    """A stage that says how it captions a clip.

    `clip_format("explain")` is what it reads for that; where no clip has all of it, that of "test" is.
    """

    def explain(self, batch: ClipBatch, captions: list[str]) -> list[Explanation]:
        """How B clips got these captions, which the stage made of them; without a medium, what can be said without."""


@runtime_checkable
class ValidationCaptioner(Protocol):
    """A stage that can caption what it validates on."""

    def validation_captions(self, batch: Any, number: int) -> list[tuple[str, str]]:
        """Captions of the first `number` items of a validation batch, each with the one that was wanted."""


@runtime_checkable
class AligningStage(ClipStage, Protocol):
    """A stage that aligns audio tokens with image tokens, and whose validation step returns `AlignedTokens`."""

    criterion: Any

    def coupling(self, audio_tokens: Tensor, image_tokens: Tensor) -> Coupling | None:
        """How the criterion couples tokens (B, N, D) and (B, M, D); None where it does not."""


@runtime_checkable
class AudioEmbedder(Protocol):
    """A stage that embeds audio."""

    def embed(self, batch: ClipBatch) -> Tensor:
        """Embeddings (B, D) or tokens (B, N, D) of the audio of B clips."""


@runtime_checkable
class CaptionSource(Protocol):
    """A datamodule that gives all captions, or all clips, of a split by name."""

    train: str | None
    val: str | None

    def captions_of(self, split: str) -> Captions:
        """All captions of a split or table, in order."""

    def clips_of(self, split: str, clip_ids: Collection[str] | None = None) -> Iterable[ClipBatch]:
        """All clips of a packed split, or those of these ids, each on one of the ranks."""

    def audio_digest(self, split: str) -> str:
        """A digest of the ids and the audio of a packed split, without reading the audio."""


@runtime_checkable
class FewShotSource(Protocol):
    """A datamodule that may train on a few clips alone, with one image of each.

    Attributes:
        few_clips: these clips, decoded; None where fit reads a whole split.
    """

    @property
    def few_clips(self) -> list[Any] | None: ...


@runtime_checkable
class TestSource(Protocol):
    """A datamodule that names the split that it tests on."""

    test: str | None


@runtime_checkable
class TestFolder(Protocol):
    """A datamodule whose test split is a folder of shards."""

    def test_folder(self) -> Path:
        """The folder, once the datamodule is set up."""


@runtime_checkable
class TestClips(Protocol):
    """A datamodule that gives test clips as a metric or an explanation wants them, whatever `test` reads."""

    def test_clips(self, clip_ids: Collection[str], clip_format: ClipFormat) -> Iterable[ClipBatch]:
        """The test clips of these ids, on the rank that asks."""


@runtime_checkable
class CountedTest(Protocol):
    """A datamodule that knows how many clips a test has."""

    def num_test_clips(self) -> int:
        """How many, whether they can be read or not."""

    def num_broken_test_clips(self) -> int:
        """How many of them this rank could not read."""


class AudioTextModel(Protocol):
    """Embeds audio and texts in one space; `lightning_modules.contracts.Matcher` is one.

    Attributes:
        sampling_rate: of the waveforms, in Hz.
        max_seconds: longer clips are cut to their beginning; None takes any length.
    """

    @property
    def sampling_rate(self) -> int: ...

    @property
    def max_seconds(self) -> float | None: ...

    def embed_audio(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """Waveforms (B, T) and their lengths (B,) to embeddings (B, D) of norm 1."""

    def embed_text(self, texts: list[str]) -> Tensor:
        """B texts to embeddings (B, D) of norm 1."""


@runtime_checkable
class TextSource(Protocol):
    """A datamodule that gives the texts that fit trains on."""

    def training_texts(self) -> list[str]:
        """All that are in memory or in a table; of packed clips, those of the first."""


@runtime_checkable
class ReadingNoted(Protocol):
    """A datamodule that notes what it hands to the stage."""

    def media_read(self) -> dict[str, list[str]]:
        """By split or file, some of "sounds", "pictures", "captions" and "sentences"; nothing of the test split."""


@runtime_checkable
class HoldsFrozen(Protocol):
    """A module that holds a network which is none of its submodules."""

    @property
    def network(self) -> Any: ...


@runtime_checkable
class SentenceSource(Protocol):
    """A datamodule of sentences in classes."""

    labels: list[str]

    def sentences(self, part: str) -> list[str]:
        """All sentences of "train", "val" or "test"."""


@runtime_checkable
class PredictSource(Protocol):
    """A datamodule whose predict split can be resumed where an earlier run stopped."""

    def num_predict_clips(self) -> int:
        """How many clips the predict split has, those left out among them."""

    def num_broken_clips(self) -> int:
        """How many of them this rank could not read."""

    def predict_digest(self) -> str:
        """A digest of these clips."""

    def leave_out(self, clip_ids: Collection[str]) -> None:
        """Do not read these clips in predict."""


def expect(contract: type[T], found: object, what: str) -> T:
    """`found`, where it keeps the contract.

    Raises:
        InputError: it does not.
    """
    if not isinstance(found, contract):
        wanted = " ".join((contract.__doc__ or contract.__name__).splitlines()[0].split()).rstrip(".")
        raise InputError(
            f"expected {wanted[0].lower() + wanted[1:]} as {what}, found {type(found).__name__}; "
            f"correct its class_path in the YAML"
        )
    return found


def training_texts(trainer: L.Trainer) -> list[str]:
    """The texts that fit trains on; none where the datamodule does not give them, as a plain loader."""
    data = vars(trainer).get("datamodule")
    return data.training_texts() if isinstance(data, TextSource) else []


def datamodule_of(trainer: L.Trainer, contract: type[T]) -> T:
    """The trainer's datamodule, where it keeps the contract.

    Raises:
        InputError: it does not, or there is none.
    """
    return expect(contract, vars(trainer).get("datamodule"), "the datamodule")  # Lightning declares no such attribute
