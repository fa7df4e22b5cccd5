"""Zero-shot captioning without any training: a language model, guided by a matcher of sounds and texts."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from datamodules.clips import AudibleCaptionRows, CaptionRows, ClipBatch, ClipFormat
from earshot.errors import InputError, require_folder
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.prompt import PROMPT, prompted
from lightning_modules.decoding.text_memo import TextMemo
from lightning_modules.networks.frozen import Frozen
from lightning_modules.networks.sequence_classifier import SequenceClassifier


class GuidedCaptioner(L.LightningModule):
    """Test, predict: captions by an injected guidance. Nothing trains, so there is no fit.

    Args:
        guidance: called with a `CausalLm`, the matcher's and the classifier's functions of texts, and the sounds'
            embeddings (B, D); returns B captions (`decoding.audibility`, `decoding.keywords`). Its `needs_classifier`
            and its `prompt`, None where it makes its own, say what goes with it.
        matcher: `embed_audio` and `embed_text`, to one space, of norm 1 (`networks.clap`, `networks.imagebind`).
        language_model: folder or hub id of a causal language model.
        classifier: folder or hub id of an audibility classifier; None does without it, and without metric A.
        positive: the classifier's label for what can be heard.
    """

    def __init__(
        self,
        guidance: nn.Module,
        matcher: nn.Module,
        language_model: str = "gpt2-medium",
        classifier: str | None = None,
        positive: str = "audible",
    ) -> None:
        super().__init__()
        self.guidance = guidance
        self.matcher = Frozen(matcher)
        self.language_model = language_model
        self.classifier = classifier
        self.positive = positive
        self.prompt = PROMPT  # of metric A: what the classifier's sentences began with
        self.frozen = nn.ModuleList()  # the language model and the classifier, once loaded
        self.lm: CausalLm | None = None
        self.match = TextMemo(self.matcher.network.embed_text)
        self.audible: TextMemo | None = None

    def clip_format(self, stage: str) -> ClipFormat:
        """Sounds as the matcher hears them."""
        encoder = self.matcher.network
        return ClipFormat(sampling_rate=encoder.sampling_rate, max_seconds=encoder.max_seconds)

    def setup(self, stage: str) -> None:
        """Load the language model and the classifier."""
        if self.lm is None:
            model, tokenizer = load_language_model(self.language_model)
            self.frozen.append(Frozen(model))
            self.lm = CausalLm(model, tokenizer)
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

    def embed_sounds(self, batch: ClipBatch) -> Tensor:
        """(B, D), of norm 1."""
        return self.matcher.network.embed_audio(batch.waveforms, batch.num_samples)

    def caption(self, batch: ClipBatch) -> CaptionRows:
        """Captions of a batch, beside its ids, references and labels, and how audible each is."""
        if not batch.valid:
            return batch.rows([])
        assert self.lm is not None
        # guidance takes gradients, which tensors of inference mode do not
        with torch.inference_mode(False), torch.no_grad():
            captions = self.guidance(self.lm, self.match, self.audible, self.embed_sounds(batch))
            rows = batch.rows(captions)
            if self.audible is None:
                return rows
            audibility = self.audible([prompted(caption, self.prompt) for caption in captions]).tolist()
            return AudibleCaptionRows(**rows, audibility=audibility)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions with their references, for the evaluation callback."""
        return self.caption(batch)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> CaptionRows:
        """Captions, for the callback that writes them."""
        return self.caption(batch)


def load_language_model(name: str) -> tuple[Any, Any]:
    """A causal language model and its tokenizer.

    Raises:
        InputError: there is none of that name.
    """
    require_folder(name, "a causal language model")
    try:
        return AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        raise InputError(
            f"expected a causal language model in {name!r}, found none ({reason}); check the folder or hub id"
        ) from error
