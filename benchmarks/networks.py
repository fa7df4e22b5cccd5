"""The papers' networks at full width with random weights: no download, and as few layers as are asked for."""

import torch
from torch import nn
from transformers import (
    AutoProcessor,
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from earshot.paths import shipped
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.clap.cnn14 import Cnn14
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.networks.llava.captioner import Inputs, LlavaCaptioner
from lightning_modules.networks.llava.image_encoder import ImageEncoder, VisionTower
from lightning_modules.networks.llava.language_model import LlavaLanguageModel

LAYERS = 32  # of LLaMA-7B
WORDS = 32002  # of LLaVA-1.5's tokenizer; the embedding table has 62 rows more


def llava_config(layers: int = LAYERS) -> LlavaConfig:
    """llava-hf/llava-1.5-7b-hf's, but for the id of the image token: the small tokenizer has it elsewhere."""
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14, projection_dim=768, vocab_size=32000,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=32064, max_position_embeddings=4096, rms_norm_eps=1e-5, num_hidden_layers=layers
    )  # else LLaMA-7B's defaults
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=4, vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_seq_length=576,
    )  # fmt: skip


def language_model(layers: int = LAYERS) -> LlavaLanguageModel:
    """LLaVA-1.5-7B's language model and projector in bfloat16, with the small tokenizer made as large."""
    config = llava_config(layers)
    config.vision_config.num_hidden_layers = 1  # the tower is thrown away
    processor = AutoProcessor.from_pretrained(shipped("assets/miniature/llava"))
    processor.tokenizer.add_tokens([f"word{number}" for number in range(WORDS - len(processor.tokenizer))])
    llava = LlavaForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    return LlavaLanguageModel(llava, processor, []).eval().requires_grad_(False)


def image_encoder() -> ImageEncoder:
    """CLIP ViT-L/14 at 336 pixels in bfloat16, without its last layer, as LLaVA-1.5 uses it."""
    config = llava_config().vision_config
    config.num_hidden_layers -= 1
    tower = VisionTower._from_config(config, dtype=torch.bfloat16)
    return ImageEncoder(tower, [0.5] * 3, [0.5] * 3).eval().requires_grad_(False)


def captioner(inputs: Inputs, layers: int | None = LAYERS, images: bool = False) -> LlavaCaptioner:
    """DALI's captioner: CAV-MAE scale++ for audio, the language model unless `layers` is None, a tower for `images`."""
    made = LlavaCaptioner(audio_encoder=CavMaeEncoder() if "audio" in inputs else None, inputs=inputs)
    made.language_model = None if layers is None else language_model(layers)
    made.image_encoder = image_encoder() if images else nn.Identity()  # type: ignore[assignment]  # nothing is loaded
    return made


def clap() -> ClapEncoder:
    """WavCaps' CLAP with CNN14."""
    return ClapEncoder(Cnn14(), BertModel(BertConfig(), add_pooling_layer=False), None)


def distilbert() -> DistilBertForSequenceClassification:
    """distilbert-base-uncased with a head for two classes."""
    return DistilBertForSequenceClassification(DistilBertConfig(num_labels=2))
