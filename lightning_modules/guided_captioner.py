"""Captioning without training: a language model guided by how well its text matches the audio."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from transformers import AutoModelForCausalLM, AutoTokenizer

from datamodules.clips import CaptionRows, ClipBatch, ClipFormat, Explanation, Reason, TokenChoices
from earshot.digests import trained_on
from earshot.errors import InputError
from lightning_modules.contracts import Matcher
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.contracts import (
    Guidance,
    NamesKeywords,
    RanksCaptions,
    Refine,
    ShiftsKeys,
    TellsChoices,
    TellsRounds,
)
from lightning_modules.decoding.guided_clips import GuidedClips
from lightning_modules.decoding.prompt import PROMPT, prompted
from lightning_modules.decoding.text_memo import TextMemo
from lightning_modules.networks.digests import files_digest, module_digest
from lightning_modules.networks.frozen import Frozen, frozen_dtype, refuse_true_half
from lightning_modules.networks.pretrained import pretrained
from lightning_modules.networks.sequence_classifier import SequenceClassifier

CANDIDATES_TOLD = 5  # of each token, beside the chosen one


@contextmanager
def normal_mode() -> Iterator[None]:
    """Without gradients, but with tensors that guidance may take gradients of: those of inference mode have none.

    In the precision of the weights: cosines that autocast rounds would be alike, and candidates chosen by chance.
    """
    with (
        torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False),
        torch.inference_mode(False), torch.no_grad(),
    ):  # fmt: skip
        yield


class GuidedCaptioner(L.LightningModule):
    """Test, predict: captions by an injected guidance. Nothing trains, so there is no fit.

    Args:
        guidance: makes captions of the language model, the matcher and the classifier.
        matcher: embeds audio and texts in one space.
        language_model: folder or hub id of a causal language model.
        classifier: folder or hub id of an audibility classifier; None does without it, and without metric A.
        positive: the classifier's label of audible sentences.
        keep_prompt: whether captions begin with the guidance's prompt, where it has one. The paper does not say; the
            captions of its authors' code do.
        refine: chooses among several captions of a guidance that finds them, by a CLAP of its own or the matcher; None
            takes the guidance's one.

    Raises:
        InputError: refine asks for what the guidance has not.
    """

    def __init__(
        self,
        guidance: Guidance,
        matcher: Matcher,
        language_model: str = "gpt2-medium",
        classifier: str | None = None,
        positive: str = "audible",
        keep_prompt: bool = False,
        refine: Refine | None = None,
    ) -> None:
        super().__init__()
        if refine is not None and isinstance(guidance, RanksCaptions):
            self.candidates = self._candidates  # datamodules.contracts.RankingStage
        elif refine is not None:
            raise InputError(
                f"expected a guidance that finds several captions to choose among, found {type(guidance).__name__}; "
                "set model.refine to null"
            )
        self.refine = refine
        self.guidance = guidance
        self.matcher = Frozen(matcher)
        self.language_model = language_model
        self.classifier = classifier
        self.positive = positive
        self.kept_prompt = guidance.prompt if keep_prompt else None
        self.prompt = PROMPT  # of metric A: how the classifier's training sentences begin
        self.frozen = nn.ModuleList()  # the language model and the classifier, once loaded
        self.test_audibility = MeanMetric()  # metric A
        self.lm: CausalLm | None = None
        self.match = TextMemo(self.matcher.network.embed_text)
        self.audible: TextMemo | None = None

    def clip_format(self, stage: str) -> ClipFormat:
        """Audio as the matcher takes it."""
        encoder = self.matcher.network
        own = ClipFormat(sampling_rate=encoder.sampling_rate, max_seconds=encoder.max_seconds)
        return own.with_audio_for(self.refine.clap if self.refine else None)

    def setup(self, stage: str) -> None:
        """Load the language model and the classifier.

        Raises:
            InputError: there is none of that name, or they do not go together.
        """
        if self.lm is None:
            with pretrained(self.language_model, "a causal language model") as name:
                # gradient steps that are added to keys and values in half precision are rounded away
                if exact := isinstance(self.guidance, ShiftsKeys):
                    refuse_true_half(self._trainer, "guidance by gradient steps")
                dtype = torch.float32 if exact else frozen_dtype(self._trainer) or "auto"
                model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
                self.lm = CausalLm(model, AutoTokenizer.from_pretrained(name))
            self.frozen.append(Frozen(model))
        if self.audible is None and self.classifier is not None:
            classifier = SequenceClassifier.from_pretrained(self.classifier)
            classifier.label_index(self.positive)
            self.prompt = PROMPT if classifier.prompt is None else classifier.prompt
            if self.guidance.prompt not in (None, self.prompt):
                raise InputError(
                    f"expected a classifier of texts that begin with {self.guidance.prompt!r}, as guidance's do, found "
                    f"one of {self.prompt!r}; give both the same prompt"
                )
            self.frozen.append(Frozen(classifier))
            self.audible = TextMemo(lambda texts: classifier.probability(texts, self.positive))
        if self.audible is None and self.guidance.needs_classifier:
            raise InputError("expected a classifier for a lambda_2 that is not 0, found none; set model.classifier")

    @normal_mode()
    def predict_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions."""
        if not batch.valid:
            return batch.rows([])
        captions = [best[0][0] for best in self._ranked(batch, self.embed(batch))]
        if self.kept_prompt is not None:
            captions = [prompted(caption, self.kept_prompt) for caption in captions]
        return batch.rows(captions)

    def _ranked(self, batch: ClipBatch, audio: Tensor, number: int = 1) -> list[list[tuple[str, float]]]:
        """Captions without the prompt, the best first: `number` of the guidance, or all candidates of `refine`."""
        assert self.lm is not None
        ready = GuidedClips(self.guidance, self.lm, self.match, self.audible, audio)
        return self.refine(ready, batch, (self.match, audio)) if self.refine else ready.beams(number)

    @normal_mode()
    def _candidates(self, batch: ClipBatch, number: int) -> list[list[tuple[str, float]]]:
        return [best[:number] for best in self._ranked(batch, self.embed(batch), number)]

    @normal_mode()
    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions with their references; logs metric A, the mean probability that a caption is audible."""
        rows = self.predict_step(batch, batch_idx)
        if self.audible is not None:
            before = self.prompt if self.kept_prompt is None else ""
            if texts := [prompted(caption, before) for caption in rows["captions"]]:
                self.test_audibility.update(self.audible(texts))
            self.log("test/audibility", self.test_audibility, batch_size=len(texts))
        return rows

    def embed(self, batch: ClipBatch) -> Tensor:
        """The matcher's embeddings of the audio (B, D), of norm 1."""
        assert batch.waveforms is not None and batch.num_samples is not None
        return self.matcher.network.embed_audio(batch.waveforms, batch.num_samples)

    @normal_mode()
    def explain(self, batch: ClipBatch, captions: list[str]) -> list[Explanation]:
        """The keywords where there are any, how the caption does by the networks that guided it, and its tokens."""
        if not batch.valid:
            return []
        assert self.lm is not None
        audio = self.embed(batch)
        found: list[list[Reason]] = [[] for _ in captions]
        if isinstance(self.guidance, NamesKeywords):
            for reasons, keywords in zip(found, self.guidance.keywords_of(self.match, audio)):
                reasons.append(Reason("Keywords in the prompt (cosine similarity with the audio)", keywords))
        has_prompt = self.kept_prompt is not None
        texts = [prompted(caption, "" if has_prompt else self.guidance.prompt or "") for caption in captions]
        scores = {"cosine similarity with the audio": (self.match(texts) * audio).sum(-1).tolist()}
        if self.audible is not None:
            judged = self.audible([prompted(caption, "" if has_prompt else self.prompt) for caption in captions])
            scores["probability that it is audible"] = judged.tolist()
        for reasons, *values in zip(found, *scores.values()):
            reasons.append(Reason("The caption itself", list(zip(scores, values))))
        if isinstance(self.guidance, TellsRounds):
            for reasons, best in zip(found, self.guidance.rounds(self.lm, self.match, self.audible, audio)):
                reasons.append(Reason("The best of each round (cosine similarity with the audio)", best))
        if self.refine is not None:
            for reasons, ranked in zip(found, self._ranked(batch, audio)):
                reasons.append(Reason(self.refine.what, ranked))
        explanations = [Explanation(reasons=reasons) for reasons in found]
        if isinstance(self.guidance, TellsChoices) and self.refine is None:
            # captions once more; the matcher remembers most of the texts
            told = self.guidance.choices(self.lm, self.match, self.audible, audio, CANDIDATES_TOLD)
            for explanation, tokens in zip(explanations, told):
                explanation["tokens"] = TokenChoices(scores=self.guidance.choice_scores, tokens=tokens)
        return explanations

    def captions_made_by(self) -> dict[str, Any]:
        """See `datamodules.contracts.CaptioningStage`."""
        return {
            "guidance": module_digest(self.guidance),
            "matcher": module_digest(self.matcher.network),
            "language_model": [self.language_model, files_digest(self.language_model)],
            "classifier": self.classifier and [self.classifier, files_digest(self.classifier)],
            "positive": self.positive,
            "kept_prompt": self.kept_prompt,
            "trained_on": trained_on(self.matcher.network),
            **(self.refine.made_by(self.matcher.network) if self.refine else {}),
        }
