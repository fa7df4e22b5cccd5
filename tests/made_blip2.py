"""A small BLIP-2 with random weights, in a folder as the hub has it."""

from pathlib import Path

import torch
from conftest import MINIATURE
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

SIZE = 28  # of its images, in pixels


def write_blip2(path: Path) -> None:
    """BLIP-2 over OPT."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MINIATURE / "gpt2")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    text = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64,
        word_embed_proj_dim=32, max_position_embeddings=64, bos_token_id=0, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**small, image_size=SIZE, patch_size=7).to_dict(),
        qformer_config=Blip2QFormerConfig(**small, encoder_hidden_size=32, vocab_size=99).to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(1)
    model = Blip2ForConditionalGeneration(config).eval()
    with torch.no_grad():  # so that captions depend on the image
        for value in model.parameters():
            if value.ndim > 1:
                value.copy_(torch.randn_like(value))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    BlipImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(path)
