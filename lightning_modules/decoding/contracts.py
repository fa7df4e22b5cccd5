"""What `GuidedCaptioner` asks of a guidance, and offers it; and what every captioning stage asks of a refine.

Shapes are as in `lightning_modules.contracts`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from torch import Tensor

from lightning_modules.contracts import EmbeddingModel, Media, Module, ReadsAudio, ReadyClips
from lightning_modules.decoding.causal_lm import CausalLm

TextFunction = Callable[[list[str]], Tensor]
"""Called with N texts; returns a value of each, (N, ...), that does not depend on the others."""


@runtime_checkable
class NamesKeywords(Protocol):
    """A guidance that finds keywords for the audio."""

    def keywords_of(self, match: TextFunction, audio: Tensor) -> list[list[tuple[str, float]]]:
        """The keywords of B audio embeddings (B, D), with their cosine similarities, the highest first."""


Choices = list[list[tuple[str, list[float]]]]
"""For each token of a caption its candidates with their scores, the chosen one first."""


@runtime_checkable
class TellsChoices(Protocol):
    """A guidance that tells what it chose the tokens of its captions from; a candidate's scores have names."""

    choice_scores: list[str]

    def choices(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor, number: int
    ) -> list[Choices]:
        """Caption B clips as `forward` does, and tell each token's choice and `number` of its best candidates."""


@runtime_checkable
class RanksCaptions(Protocol):
    """A guidance that finds several captions of a clip."""

    def candidates(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor, number: int
    ) -> list[list[tuple[str, float]]]:
        """At most `number` captions of each of B clips, the best first, each with a score: higher is better."""


@runtime_checkable
class ShiftsKeys(Protocol):
    """A guidance that changes the language model's keys and values by gradient steps; it gets one in float32."""

    num_steps: int


class Proposer(Protocol):
    """Has a language model write descriptions, given some with their scores."""

    def propose(self, lm: CausalLm, scored: list[list[tuple[str, float]]], number: int, round: int) -> list[list[str]]:
        """About `number` descriptions for each of B clips, none of which depends on the other clips.

        Args:
            lm: the language model.
            scored: the best descriptions of each clip so far with their scores, the highest first; there may be none.
            number: how many are wanted.
            round: counts the calls for a clip, from 0, so that each can draw other samples.
        """


@runtime_checkable
class TellsRounds(Protocol):
    """A guidance that improves captions round by round."""

    def rounds(
        self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor
    ) -> list[list[tuple[str, float]]]:
        """The best caption of each of B clips after each round, with its cosine with the audio, the first one first."""


class Guidance(Module, Protocol):
    """How a language model is made to caption audio.

    Attributes:
        needs_classifier: whether `audible` is called.
        prompt: what all texts begin with; None where each clip has its own prompt.
    """

    @property
    def needs_classifier(self) -> bool: ...

    @property
    def prompt(self) -> str | None: ...

    def forward(self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor) -> list[str]:
        """Caption B clips, each as if it were alone.

        Args:
            lm: the language model.
            match: texts to embeddings (N, D) of norm 1.
            audible: texts to the probability (N,) that they are audible; None where there is no classifier.
            audio: embeddings (B, D) of norm 1.

        Returns:
            B captions without the prompt.
        """

    if TYPE_CHECKING:

        def __call__(
            self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor
        ) -> list[str]: ...


class HardPrompt(Module, Protocol):
    """Finds what a decoder of embeddings reads, as text, between its prefix and the caption.

    Attributes:
        what: what it finds, for a report.
        max_tokens: P, how many tokens a prompt has.
    """

    @property
    def what(self) -> str: ...

    @property
    def max_tokens(self) -> int: ...

    def tokens(self, clap: EmbeddingModel, embeddings: Tensor) -> Tensor:
        """The prompts of B embeddings (B, D) of texts, in training, or of audio: tokens of `clap` (B, P), padded."""

    def keywords_of(self, match: TextFunction, audio: Tensor) -> list[list[tuple[str, float]]]:
        """See `NamesKeywords`."""


OwnClap = tuple[TextFunction, Tensor]
"""A stage's own CLAP for N texts, to (N, D) of norm 1, and its embeddings (B, D) of the audio of B clips."""


class Refine(Module, Protocol):
    """Chooses among several captions of a clip.

    Attributes:
        what: what it finds, for a report.
        clap: the model that it reads the audio by; None where it takes the stage's own.
    """

    what: str

    @property
    def clap(self) -> ReadsAudio | None: ...

    def require_clap(self) -> Self:
        """This, unless it has no CLAP of its own.

        Raises:
            InputError: it has none.
        """

    def forward(self, clips: ReadyClips, media: Media, own: OwnClap | None = None) -> list[list[tuple[str, float]]]:
        """The captions of each of B clips with their scores, the best first; at least one."""

    if TYPE_CHECKING:

        def __call__(
            self, clips: ReadyClips, media: Media, own: OwnClap | None = None
        ) -> list[list[tuple[str, float]]]: ...

    def made_by(self, own: Any = None) -> dict[str, Any]:
        """What decides the choice, as JSON; `own` is the stage's CLAP. `chosen_by` names the CLAP."""
