"""Metrics that a sentence encoder or a fluency classifier computes: the parts of FENSE (Zhou et al. 2022).

Both are aac-metrics' own functions, given a model of one's own. aac-metrics is imported when they are called: that
takes five seconds. Nothing here stops an evaluation: every failure is a `NotComputed`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from earshot.errors import InputError, require_folder
from evaluation.caption_metrics import SentenceMetric
from evaluation.metric import NotComputed

SENTENCES = "paraphrase-TinyBERT-L6-v2"  # FENSE's, of sentence-transformers
FLUENCY = ("echecker_clotho_audiocaps_base", "echecker_clotho_audiocaps_tiny")  # FENSE's is the first
INSTALL = "python -m pip install 'earshot[metrics]'"


class SentenceSimilarity:
    """Cosine of a caption's embedding and those of its references, their mean, by Sentence-BERT.

    Args:
        model: folder or hub id of a sentence-transformers model.
    """

    name = "sbert_sim"

    def __init__(self, model: str = SENTENCES) -> None:
        require_folder(model, "a sentence-transformers model")
        self.model = model

    def per_clip(self, captions: list[str], references: list[list[str]]) -> np.ndarray:
        """The scores (N,) of N tokenized captions; on the GPU where there is one."""
        with not_computed(f"expected a sentence encoder by the name {self.model}", "sbert_sim=FOLDER"):
            from aac_metrics.functional import sbert_sim

            found: Any = sbert_sim(captions, references, sbert_model=self.model)
            return np.asarray(found[1]["sbert_sim"], dtype=np.float64)


class FluencyErrors:
    """Whether a classifier finds an error in a caption (probability over 0.9): 1 or 0. The less, the better.

    Args:
        model: one of FENSE's, `echecker_clotho_audiocaps_base` or `_tiny`, which aac-metrics downloads, or a folder
            that holds such a .ckpt file beside the model and the tokenizer of its encoder, such as bert-base-uncased.
    """

    name = "fer"

    def __init__(self, model: str = FLUENCY[0]) -> None:
        self.model = model
        if model not in FLUENCY and len(list(Path(model).glob("*.ckpt"))) != 1:
            raise InputError(
                f"expected {' or '.join(FLUENCY)}, or a folder with one .ckpt file, found {model!r}; correct the name"
            )

    def per_clip(self, captions: list[str], references: list[list[str]]) -> np.ndarray:
        """The scores (N,) of N tokenized captions; on the GPU where there is one."""
        with not_computed(f"expected a fluency classifier by the name {self.model}", "fer=FOLDER"):
            from aac_metrics.functional import fer

            found: Any = fer(captions, echecker=self.model if self.model in FLUENCY else self._own())
            return np.asarray(found[1]["fer"], dtype=np.float64)

    def _own(self) -> Any:
        import torch
        from aac_metrics.functional.fer import BERTFlatClassifier

        (path,) = Path(self.model).glob("*.ckpt")
        states = torch.load(path, map_location="cpu", weights_only=True)
        classifier = BERTFlatClassifier(self.model, states["num_classes"])
        weights = states["state_dict"]
        weights.pop("encoder.embeddings.position_ids", None)  # transformers keeps them in no file any more
        classifier.load_state_dict(weights)
        return classifier.to("cuda" if torch.cuda.is_available() else "cpu")


PARTS: dict[str, tuple[Callable[..., SentenceMetric], ...]] = {
    "sbert_sim": (SentenceSimilarity,),
    "fer": (FluencyErrors,),
    "fense": (SentenceSimilarity, FluencyErrors),
    "spider_fl": (FluencyErrors,),
}


def named_models(names: str) -> list[SentenceMetric]:
    """The models of metrics, `NAME[=MODEL],...`; FENSE and SPIDEr-FL stand for those that they are made of.

    Raises:
        InputError: another name, or a model that is not there.
    """
    found: dict[str, SentenceMetric] = {}
    for part in filter(None, names.split(",")):
        name, _, model = part.partition("=")
        if name not in PARTS or (model and len(PARTS[name]) > 1):
            raise InputError(
                f"expected --metrics {', '.join(PARTS)}, or sbert_sim=MODEL, fer=MODEL, found {part!r}; correct it"
            )
        for metric in PARTS[name]:
            made = metric(model) if model else metric()
            if model or made.name not in found:
                found[made.name] = made
    return list(found.values())


@contextmanager
def not_computed(expected: str, option: str) -> Iterator[None]:
    """Turn whatever goes wrong in the block into a `NotComputed` that says how the metric is had."""
    try:
        yield
    except ImportError as error:
        raise NotComputed(f"it needs {error.name or 'aac-metrics'}; {INSTALL}") from error
    except Exception as error:  # of the network, of a model's files, of a GPU's memory
        reason = " ".join(str(error).split())[:150]
        raise NotComputed(
            f"{expected}, found none ({type(error).__name__}: {reason}); name a folder: --metrics {option}"
        ) from error
