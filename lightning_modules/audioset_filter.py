"""DALI's filter of AudioSet: how far what is seen in a clip is from its labels (appendix C and Figure 8)."""

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.clips import ClipBatch, ClipFormat, LabelDistance
from lightning_modules.contracts import ImageCaptioner
from lightning_modules.decoding.text_memo import TextMemo
from lightning_modules.networks.digests import files_digest
from lightning_modules.networks.frozen import Frozen, frozen_dtype
from lightning_modules.networks.mean_hidden_state import MeanHiddenState

DECIMALS = 7  # of a distance; float32 has no more


class AudioSetFilter(L.LightningModule):
    """Predict: the distance between captions of a clip's images and its labels. Nothing trains, so there is no fit.

    Each image is captioned (the packed ones: the first of each second, ten at most). A clip's labels are joined to one
    text. The distance is 1 - the cosine of the embeddings of the two texts, averaged over the images. The paper names
    GPT-2 and leaves open which of its states is the embedding, which distance it takes and how labels become a text.

    Args:
        captioner: says what is seen; the paper's is `Blip2Captioner`, for its concise captions.
        language_model: folder or hub id of a causal language model, whose mean last hidden state embeds texts.
        between: what stands between two labels.
    """

    def __init__(self, captioner: ImageCaptioner, language_model: str = "gpt2", between: str = ", ") -> None:
        super().__init__()
        self.captioner = Frozen(captioner)
        self.language_model = language_model
        self.between = between
        self.frozen = nn.ModuleList()  # the language model, once loaded
        self.embed: TextMemo | None = None

    def clip_format(self, stage: str) -> ClipFormat:
        """All images as the captioner takes them, and no audio."""
        return ClipFormat(image_size=self.captioner.network.image_size, all_images=True)

    def setup(self, stage: str) -> None:
        """Load the captioner and the language model.

        Raises:
            InputError: there is none of that name.
        """
        self.captioner.network.load(frozen_dtype(self._trainer))
        if self.embed is None:
            network = MeanHiddenState.from_pretrained(self.language_model)
            self.frozen.append(Frozen(network))
            self.embed = TextMemo(network)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> list[LabelDistance]:
        """The distance of each clip, with its labels and the captions of its images."""
        if not batch.valid:
            return []
        assert batch.images is not None and batch.num_images is not None
        captions = self.captioner.network.caption_images(batch.images) if len(batch.images) else []
        distances = self.distances(captions, batch.num_images, [self.between.join(some) for some in batch.labels])
        rows, start = [], 0
        for clip_id, labels, number, distance in zip(
            batch.clip_ids, batch.labels, batch.num_images.tolist(), distances.tolist(), strict=True
        ):
            known = round(distance, DECIMALS) if labels and number else None
            rows.append(LabelDistance(clip_id, known, labels, captions[start : start + number]))
            start += number
        return rows

    def distances(self, captions: list[str], num_images: Tensor, labels: list[str]) -> Tensor:
        """1 - the cosine of I captions and the B texts of labels, averaged over the captions of each clip.

        Args:
            captions: those of the first clip, then of the second ...
            num_images: (B,), the number of each clip's captions, I in all.
            labels: B texts.

        Returns:
            (B,) float32; not a number where a clip has no caption.
        """
        assert self.embed is not None
        embedded = self.embed([*labels, *captions])  # (B + I, D)
        of_labels, of_captions = embedded[: len(labels)], embedded[len(labels) :]
        clips = torch.arange(len(labels), device=embedded.device)
        clips = clips.repeat_interleave(num_images.to(embedded.device))  # (I,)
        apart = 1 - F.cosine_similarity(of_captions, of_labels[clips])  # (I,)
        sums = apart.new_zeros(len(labels)).index_add_(0, clips, apart)  # (B,)
        return sums / num_images.to(sums)

    def captions_made_by(self) -> dict[str, Any]:
        """See `datamodules.contracts.CaptioningStage`."""
        return {
            "captioner": [type(self.captioner.network).__qualname__, self.captioner.network.made_by()],
            "language_model": [self.language_model, files_digest(self.language_model)],
            "between": self.between,
        }
