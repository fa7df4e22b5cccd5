"""LLaVA's language model over audio tokens, image tokens or both, with a tuned prefix (DALI, section 3.1)."""

from pathlib import Path
from typing import Any, Self

import torch
from peft import PeftConfig, PeftModel
from torch import Tensor, nn
from transformers import AutoProcessor, LlavaForConditionalGeneration

from errors import InputError
from lightning_modules.networks.llava_checkpoint import llava_config

QUESTION = "What sound can be heard in this scene ?"  # DALI, appendix E


class AudiovisualCaptioner(nn.Module):
    """Captions from media tokens that stand where LLaVA's image token is; audio tokens come before image tokens.

    The vision tower is not here: image tokens come from `ImageEncoder`, audio tokens from an aligned encoder.

    Args:
        llava: the model.
        processor: its tokenizer and chat template.
        prefix_ids: ids of the soft tokens, written right after the media; empty for none.
    """

    def __init__(self, llava: LlavaForConditionalGeneration, processor: Any, prefix_ids: list[int]) -> None:
        super().__init__()
        self.llava = llava
        self.processor = processor
        self.prefix_ids = prefix_ids
        del self.llava.model.vision_tower

    @classmethod
    def from_pretrained(cls, llava: str | Path, prefix: str | Path | None = None) -> Self:
        """Load LLaVA and, where given, a prefix: a peft adapter of trainable tokens.

        Raises:
            InputError: when a folder is missing, or the adapter is of another kind.
        """
        llava_config(llava)
        model = LlavaForConditionalGeneration.from_pretrained(llava)
        prefix_ids: list[int] = []
        if prefix is not None:
            try:
                kind = PeftConfig.from_pretrained(str(prefix))
                prefix_ids = list(kind.token_indices)
            except (ValueError, OSError, AttributeError) as error:
                raise InputError(
                    f"expected a tuned prefix (a peft adapter of trainable tokens) in {str(prefix)!r}, "
                    f"found {str(error).splitlines()[0]}; set model.prefix to such a folder, or to null"
                ) from error
            model = PeftModel.from_pretrained(model, prefix).merge_and_unload()  # exact: it sets rows of the table
        return cls(model, AutoProcessor.from_pretrained(llava), prefix_ids)

    def prompt_ids(self, question: str) -> tuple[list[int], list[int]]:
        """Token ids before the media tokens and after them, by the processor's chat template."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        ids = self.processor.tokenizer(text)["input_ids"]
        at = ids.index(self.llava.config.image_token_id)
        return ids[:at], [*self.prefix_ids, *ids[at + 1 :]]

    def forward(self, audio_tokens: Tensor | None, image_tokens: Tensor | None, question: str = QUESTION) -> Tensor:
        """Embed a prompt: audio tokens (B, N, D), image tokens (B, M, D) or both, to (B, L, width)."""
        media = torch.cat([tokens for tokens in (audio_tokens, image_tokens) if tokens is not None], 1)
        projector = self.llava.model.multi_modal_projector
        media = projector(media.to(projector.linear_1.weight.dtype))  # (B, N + M, width)
        embed = self.llava.get_input_embeddings()
        before, after = (
            embed(torch.tensor(ids, device=media.device)).expand(len(media), -1, -1)
            for ids in self.prompt_ids(question)
        )
        return torch.cat([before, media, after], 1)

    @torch.inference_mode()
    def generate(
        self,
        audio_tokens: Tensor | None,
        image_tokens: Tensor | None,
        question: str = QUESTION,
        max_new_tokens: int = 64,
        **arguments: Any,
    ) -> list[str]:
        """B captions; greedy with a KV cache unless `arguments` (of transformers' `generate`) say otherwise."""
        prompt = self(audio_tokens, image_tokens, question)
        mask = torch.ones(prompt.shape[:2], dtype=torch.long, device=prompt.device)  # every prompt is equally long
        settings = {"do_sample": False, "num_beams": 1, **arguments}
        ids = self.llava.generate(
            inputs_embeds=prompt,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            use_cache=True,
            **settings,
        )
        return [text.strip() for text in self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]
