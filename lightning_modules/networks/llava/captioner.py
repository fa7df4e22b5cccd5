"""DALI's captioner, which the three training stages share: each trains one part of it (section 3)."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal, Self

import torch
from torch import Tensor, distributed, nn

from earshot.errors import InputError
from lightning_modules.contracts import AudioEncoder, Media
from lightning_modules.networks.digests import files_digest, module_digest
from lightning_modules.networks.frozen import cast_weights
from lightning_modules.networks.llava.generation import Generation
from lightning_modules.networks.llava.image_encoder import ImageEncoder
from lightning_modules.networks.llava.language_model import QUESTION, LlavaLanguageModel
from lightning_modules.networks.llava.prompted_clips import PromptedClips
from lightning_modules.networks.step_draws import Part, changed

Inputs = Literal["audio", "image", "audio+image"]
Choose = Callable[[PromptedClips, Media], list[list[tuple[str, float]]]]
"""Finds captions of clips and ranks them, the best first, with their scores, as `decoding.contracts.Refine` does."""


class LlavaCaptioner(nn.Module):
    """Captions clips from their audio, an image, or both, by LLaVA, a tuned prefix and an aligned audio encoder.

    The constructor loads no part of LLaVA. `load` loads what is asked for, frozen; a stage that trains a part
    unfreezes it and registers it as its own.

    Args:
        llava: folder or hub id of LLaVA.
        audio_encoder: encodes audio in the space of the image tokens; needed for `inputs` with audio.
        prefix: folder of a tuned prefix, or the authors' `prefix.bin`; None captions without one.
        audio_projector: folder of a distilled projector for audio tokens, or the authors' `prefixMLP.bin`; None takes
            the image tokens' projector.
        inputs: what captions are made from.
        question: the text of the prompt, after the media and the prefix.
        generation: how captions are decoded.
        gradient_checkpointing: compute the language model's layers again in backward instead of keeping what they
            computed: much less memory for a second forward. The gradients are the same.
        image_first: whether image tokens come before audio tokens. The paper does not say; the authors' code: True.
        pad_images: fill images up to a square, as the authors do, who keep to LLaVA's training; False crops them at
            the centre, as LLaVA's processor in transformers. The paper does not say.
        system: what the prompt begins with. The paper does not say; the authors' code: LLaVA's system prompt.
        sharded: in fit without validation, the devices share the language model's weights, each holding a part.

    Raises:
        InputError: inputs with audio, and no audio encoder.
    """

    def __init__(
        self,
        llava: str = "llava-hf/llava-1.5-7b-hf",
        audio_encoder: AudioEncoder | None = None,
        prefix: str | None = None,
        audio_projector: str | None = None,
        inputs: Inputs = "audio",
        question: str = QUESTION,
        generation: Generation = Generation(),  # noqa: B008 (frozen)
        gradient_checkpointing: bool = False,
        image_first: bool = False,
        pad_images: bool = False,
        system: str = "",
        sharded: bool = False,
    ) -> None:
        super().__init__()
        if "audio" in inputs and audio_encoder is None:
            raise InputError(
                f"expected an audio_encoder for inputs {inputs!r}, found none; set model.captioner.audio_encoder to an "
                "aligned encoder"
            )
        self.llava = llava
        self.audio_encoder = audio_encoder
        self.prefix = prefix
        self.audio_projector = audio_projector
        self.inputs = inputs
        self.question = question
        self.generation = generation
        self.gradient_checkpointing = gradient_checkpointing
        self.image_first = image_first
        self.pad_images = pad_images
        self.system = system
        self.sharded = sharded
        self.image_encoder: ImageEncoder | None = None
        self.language_model: LlavaLanguageModel | None = None

    def wants(self, inputs: Inputs | None = None) -> dict[str, Any]:
        """What to read of every clip, as arguments of a `ClipFormat`, for `inputs` or those that are captioned."""
        wanted = inputs or self.inputs
        encoder = self.audio_encoder if "audio" in wanted else None
        return {
            "sampling_rate": encoder.sampling_rate if encoder else None,
            "max_seconds": encoder.max_seconds if encoder else None,
            "image_size": ImageEncoder.image_size_of(self.llava) if "image" in wanted else None,
            "pad_images": self.pad_images,
        }

    def load(self, inputs: Inputs | None = None, language_model: bool = True, dtype: torch.dtype | None = None) -> None:
        """Load the frozen parts for `inputs`, or those that are captioned, that are not loaded yet.

        Args:
            inputs: what the stage reads.
            language_model: whether it is needed.
            dtype: of all frozen weights, the audio encoder's too unless it trains; None takes those of the files.

        Raises:
            InputError: a folder is missing, or holds something else.
        """
        if self.image_encoder is None and "image" in (inputs or self.inputs):
            self.image_encoder = ImageEncoder.from_pretrained(self.llava, dtype).eval().requires_grad_(False)
        if self.language_model is None and language_model:
            model = LlavaLanguageModel.from_pretrained(
                self.llava, self.prefix, self.audio_projector, dtype, self.image_first, self.system
            )
            self.language_model = model.eval().requires_grad_(False)
            if self.gradient_checkpointing:
                self.language_model.checkpoint_gradients()
        if self.audio_encoder is not None:
            cast_weights(self.audio_encoder, dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Follow the stage to a device and not to a dtype, which `load` has set: a cast would round what stays float32.

        In bfloat16 the frequencies of LLaMA's positions are wrong by up to 1 in 256, which is a turn after some hundred
        tokens. A stage registers what it trains, so that a cast reaches it there.
        """

        def moved(tensor: Tensor) -> Tensor:
            found = fn(tensor)
            return found if found.dtype == tensor.dtype else tensor.to(found.device)

        return super()._apply(moved, recurse)

    def shard(self, validates: bool) -> None:
        """Share the language model among the devices, once it is on them, if that was asked for.

        Raises:
            InputError: fit validates, where devices take different numbers of clips and would wait for each other.
        """
        if self.sharded and validates:
            raise InputError(
                "expected no validation beside model.captioner.sharded, found a val split; set data.val to null and "
                "trainer.limit_val_batches to 0"
            )
        if self.sharded and distributed.is_initialized():
            self.loaded.shard()

    @property
    def loaded(self) -> LlavaLanguageModel:
        """The language model, once `load` has brought it."""
        assert self.language_model is not None, "call load(language_model=True) first"
        return self.language_model

    def audio_tokens(self, media: Media, part: Part | None = None) -> Tensor:
        """(B, N, D); in training the features are augmented, each clip's by its place in the step."""
        assert self.audio_encoder is not None and media.waveforms is not None and media.num_samples is not None
        features = self.audio_encoder.features(media.waveforms, media.num_samples)
        if self.audio_encoder.training:
            features = changed(self.audio_encoder.augment, features, part)
        return self.audio_encoder(features)

    @torch.no_grad()
    def image_tokens(self, media: Media) -> Tensor:
        """(B, M, D)."""
        assert self.image_encoder is not None and media.images is not None
        return self.image_encoder(media.images)

    def caption(self, media: Media, inputs: Inputs | None = None, choose: Choose | None = None) -> list[str]:
        """Captions of B clips, from the captioner's `inputs` or from others; of no clip, no caption.

        `choose` finds and ranks candidates from the captioner's own inputs; the best is the caption.
        """
        if not media.clip_ids:
            return []
        if choose is not None:
            return [ranked[0][0] for ranked in choose(self.ready(media), media)]
        return self.loaded.generate(*self._tokens(media, inputs), self.question, self.generation, media.clip_ids)

    def candidates(self, choose: Choose | None, media: Media, number: int) -> list[list[tuple[str, float]]]:
        """See `datamodules.contracts.RankingStage`."""
        ready = self.ready(media)
        return [best[:number] for best in (choose(ready, media) if choose else ready.beams(number))]

    @torch.inference_mode()
    def ready(self, media: Media) -> PromptedClips:
        """B clips, none of them a filler, to be captioned in more than one way."""
        prompt = self.loaded(*self._tokens(media), self.question)  # (B, L, width)
        return PromptedClips(self.loaded, prompt, self.generation, media.clip_ids)

    def _tokens(self, media: Media, inputs: Inputs | None = None) -> tuple[Tensor | None, Tensor | None]:
        wanted = inputs or self.inputs
        return (
            self.audio_tokens(media) if "audio" in wanted else None,
            self.image_tokens(media) if "image" in wanted else None,
        )

    def loss(
        self, media: Media, audio_tokens: Tensor | None = None, image_tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood of the tokens in each clip's first caption; the number of these tokens."""
        captions = media.first_references()
        nll, tokens = self.loaded.nll(audio_tokens, image_tokens, captions, self.question)
        return nll.sum() / tokens.sum(), tokens.sum()

    def made_by(self) -> dict[str, Any]:
        """Everything that decides a caption, as JSON: names, settings and digests; of a model on the hub the name."""
        return {
            "llava": [self.llava, files_digest(self.llava)],
            "prefix": self.prefix and files_digest(self.prefix),
            "audio_projector": self.audio_projector and files_digest(self.audio_projector),
            "audio_encoder": self.audio_encoder and module_digest(self.audio_encoder),
            "inputs": self.inputs,
            "question": self.question,
            "generation": asdict(self.generation),
            "image_first": self.image_first,
            "pad_images": self.pad_images,
            "system": self.system,
        }
