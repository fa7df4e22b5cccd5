"""LLaVA's language model over audio tokens, image tokens or both, with a tuned prefix (DALI, section 3.1)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import AutoProcessor, LlavaForConditionalGeneration

from earshot.errors import InputError
from lightning_modules.networks.llava.audio_projector import load_audio_projector
from lightning_modules.networks.llava.checkpoint import llava_config
from lightning_modules.networks.llava.generation import Generation
from lightning_modules.networks.llava.soft_prefix import require_prefix, with_prefix
from lightning_modules.networks.pretrained import pretrained

QUESTION = "What sound can be heard in this scene ?"  # DALI, appendix E
IGNORED = -100  # the label of padding


class LlavaLanguageModel(nn.Module):
    """Captions from media tokens, which take the place of LLaVA's image token.

    The vision tower is not here: image tokens come from `ImageEncoder`, audio tokens from an aligned encoder.

    Args:
        llava: the model.
        processor: its tokenizer and chat template.
        prefix_ids: ids of the soft tokens, written right after the media; empty for none.
        audio_projector: maps audio tokens to the language model; None takes the one that image tokens go through.
        image_first: whether image tokens come before audio tokens, where there are both.
        system: what the prompt begins with, before the chat template's first turn; LLaVA's template has nothing there.
    """

    def __init__(
        self,
        llava: LlavaForConditionalGeneration,
        processor: Any,
        prefix_ids: list[int],
        audio_projector: nn.Module | None = None,
        image_first: bool = False,
        system: str = "",
    ) -> None:
        super().__init__()
        self.llava = llava
        self.processor = processor
        self.prefix_ids = prefix_ids
        self.audio_projector = audio_projector
        self.image_first = image_first
        self.system = system
        self._prompts: dict[tuple[str, torch.device], tuple[Tensor, Tensor]] = {}  # token ids, made once
        self._answers: dict[tuple[str, str], list[int]] = {}  # likewise, by question and caption
        del self.llava.model.vision_tower

    @classmethod
    def from_pretrained(
        cls,
        llava: str | Path,
        prefix: str | Path | None = None,
        audio_projector: str | Path | None = None,
        dtype: torch.dtype | None = None,
        image_first: bool = False,
        system: str = "",
    ) -> Self:
        """Load LLaVA and, where given, a prefix and a projector of audio tokens: folders, or the authors' files.

        Args:
            llava: folder or hub id.
            prefix: folder of a peft adapter of trainable tokens, or the authors' `prefix.bin`.
            audio_projector: folder of the projector, or the authors' `prefixMLP.bin`.
            dtype: of all weights; None takes that of LLaVA's file, and of the projector's.

        Raises:
            InputError: when a folder is missing, or holds something else.
        """
        config = llava_config(llava)
        prefix_ids: list[int] = []
        if prefix is not None:
            require_prefix(prefix, config.text_config.hidden_size, config.text_config.vocab_size)
        projector = None if audio_projector is None else load_audio_projector(audio_projector, config).to(dtype)
        with pretrained(llava, "a LLaVA checkpoint") as name:
            model = LlavaForConditionalGeneration.from_pretrained(name, dtype=dtype or "auto")
            processor = AutoProcessor.from_pretrained(name)
        if prefix is not None:
            model, prefix_ids = with_prefix(model, processor.tokenizer, prefix)
        return cls(model, processor, prefix_ids, projector, image_first, system)

    def checkpoint_gradients(self) -> None:
        """Keep of each layer its input alone, and compute the layer again in backward.

        transformers has this for layers in training mode only, where LLaMA's dropout would act.
        """
        layers: Any = self.llava.get_decoder().layers
        for layer in layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)

    def shard(self) -> None:
        """Keep of each layer one part on each device, and fetch the others while the layer runs (FSDP).

        All devices must call the model as often, and must be done with moving it.
        """
        mesh = init_device_mesh(self.llava.device.type, (distributed.get_world_size(),))
        layers: Any = self.llava.get_decoder().layers
        for layer in layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)  # by default each, as its own root, stays whole

    def _template(self, question: str, answer: str | None = None) -> str:
        turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        if answer is not None:
            turns.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        text: str = self.processor.apply_chat_template(turns, add_generation_prompt=answer is None)
        return f"{self.system} {text}" if self.system else text

    def prompt_ids(self, question: str) -> tuple[list[int], list[int]]:
        """Token ids before the media tokens and after them, by the processor's chat template."""
        ids = self.processor.tokenizer(self._template(question))["input_ids"]
        at = ids.index(self.llava.config.image_token_id)
        return ids[:at], [*self.prefix_ids, *ids[at + 1 :]]

    def answer_ids(self, question: str, answer: str) -> list[int]:
        """Token ids that follow the prompt where `answer` is given: the same template, then the end of sequence.

        LLaVA-1.5's template writes a space, and no end, after an answer; its training data had the end.
        """
        tokenizer = self.processor.tokenizer
        end = tokenizer.eos_token
        text = self._template(question, answer).rstrip().removesuffix(end).rstrip() + end
        prompt, ids = (tokenizer(part)["input_ids"] for part in (self._template(question), text))
        if ids[: len(prompt)] != prompt:
            raise InputError(
                "expected a chat template whose answers follow its generation prompt, found another in the "
                "processor of model.captioner.llava; use LLaVA-1.5's"
            )
        return ids[len(prompt) :]

    def media(self, audio_tokens: Tensor | None, image_tokens: Tensor | None) -> Tensor:
        """Audio tokens (B, N, D), image tokens (B, M, D) or both to (B, N + M, width)."""
        projector = self.llava.model.multi_modal_projector
        embedded = []
        parts = [(audio_tokens, self.audio_projector or projector), (image_tokens, projector)]
        for tokens, project in reversed(parts) if self.image_first else parts:
            if tokens is not None:
                embedded.append(project(tokens.to(next(project.parameters()).dtype)).to(self.llava.dtype))
        return torch.cat(embedded, 1)

    def forward(self, audio_tokens: Tensor | None, image_tokens: Tensor | None, question: str = QUESTION) -> Tensor:
        """Embed a prompt: audio tokens (B, N, D), image tokens (B, M, D) or both, to (B, L, width)."""
        media = self.media(audio_tokens, image_tokens)
        embed = self.llava.get_input_embeddings()
        if (key := (question, media.device)) not in self._prompts:
            with torch.inference_mode(False):  # a step of training may be the next to read them
                before, after = (torch.tensor(ids, device=media.device) for ids in self.prompt_ids(question))
            self._prompts[key] = before, after
        before, after = (embed(ids).expand(len(media), -1, -1) for ids in self._prompts[key])
        return torch.cat([before, media, after], 1)

    def nll(
        self,
        audio_tokens: Tensor | None,
        image_tokens: Tensor | None,
        captions: Sequence[str],
        question: str = QUESTION,
    ) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of captions given the media (DALI, Eq. 1 and 2).

        Only the tokens of the caption and its end are counted, not the prompt, not the padding.

        Returns:
            (B,) summed over each caption's tokens, and (B,) the number of these.
        """
        prompt = self(audio_tokens, image_tokens, question)  # (B, P, width)
        for answer in {(question, caption) for caption in captions} - self._answers.keys():
            self._answers[answer] = self.answer_ids(*answer)
        ids = [torch.tensor(self._answers[question, caption]) for caption in captions]
        labels = pad_sequence(ids, batch_first=True, padding_value=IGNORED).to(prompt.device)  # (B, L)
        answers = self.llava.get_input_embeddings()(labels.clamp(min=0))  # (B, L, width)
        inputs = torch.cat([prompt, answers], 1)
        # causal attention never reaches the padding, which is at the end: it is not masked, so that flash attention,
        # which takes no mask, can run
        logits = self.llava(
            inputs_embeds=inputs, attention_mask=attended(inputs), use_cache=False, logits_to_keep=labels.shape[1] + 1
        ).logits[:, :-1]  # (B, L, V): the last of them is after the end
        losses = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
        return losses.sum(1), (labels != IGNORED).sum(1)

    @torch.inference_mode()
    def generate(
        self,
        audio_tokens: Tensor | None,
        image_tokens: Tensor | None,
        question: str = QUESTION,
        generation: Generation | None = None,
        clip_ids: Sequence[str] | None = None,
    ) -> list[str]:
        """B captions, with a KV cache.

        Args:
            audio_tokens: (B, N, D) or None.
            image_tokens: (B, M, D) or None.
            question: asked after the media and the prefix.
            generation: how to decode; greedy by default.
            clip_ids: B ids, which sampling is seeded by; their place in the batch where None.
        """
        prompt = self(audio_tokens, image_tokens, question)
        ids = clip_ids or [str(row) for row in range(len(prompt))]
        return self.captions(prompt, generation or Generation(), ids)

    @torch.inference_mode()
    def captions(self, prompt: Tensor, generation: Generation, clip_ids: Sequence[str]) -> list[str]:
        """The captions of B embedded prompts (B, L, width), of `forward`, for clips of B ids."""
        arguments = generation.arguments(clip_ids)
        return self._texts(self.llava.generate(inputs_embeds=prompt, attention_mask=attended(prompt), **arguments))

    @torch.inference_mode()
    def candidates(self, prompt: Tensor, number: int, generation: Generation) -> list[list[tuple[str, float]]]:
        """The `number` (2 or more) captions of a beam search for each of B embedded prompts, the best first.

        Args:
            prompt: (B, L, width), of `forward`.
            number: captions of each, and beams.
            generation: of which the longest caption counts.

        Returns:
            B lists of captions with the mean log-likelihood of their tokens.
        """
        found = self.llava.generate(
            inputs_embeds=prompt, attention_mask=attended(prompt), max_new_tokens=generation.max_new_tokens,
            num_beams=number, num_return_sequences=number, do_sample=False, return_dict_in_generate=True,
            output_scores=True,
        )  # fmt: skip
        pairs = list(zip(self._texts(found.sequences), found.sequences_scores.tolist()))
        return [pairs[row : row + number] for row in range(0, len(pairs), number)]

    def _texts(self, ids: Tensor) -> list[str]:
        return [text.strip() for text in self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def attended(prompt: Tensor) -> Tensor:
    """The attention mask of prompts (B, L, width), which are all equally long."""
    return torch.ones(prompt.shape[:2], dtype=torch.long, device=prompt.device)
