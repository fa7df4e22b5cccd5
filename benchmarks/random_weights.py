"""The papers' networks by their names in configs/paper, with random weights in place of a download."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoProcessor,
    AutoTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    OPTConfig,
    PretrainedConfig,
)

from benchmarks.networks import llava_config
from earshot.paths import shipped
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.clap import encoder as clap
from lightning_modules.networks.imagebind import towers as imagebind
from lightning_modules.networks.llava.image_encoder import VisionTower

WORDS = {  # of each tokenizer, and the small one that is made as large
    "llava-hf/llava-1.5-7b-hf": (32002, "llava"),
    "Salesforce/blip2-opt-2.7b": (50265, "gpt2"),
    "bert-base-uncased": (30522, "clap"),
    "distilbert-base-uncased": (30522, "clap"),
    "facebook/opt-1.3b": (50265, "gpt2"),
    "gpt2": (50257, "gpt2"),
    "gpt2-medium": (50257, "gpt2"),
    "lmsys/vicuna-7b-v1.5": (32000, "vicuna"),
    "openai/clip-vit-large-patch14": (49408, "clap"),
}


def configs(layers: int | None) -> dict[str, PretrainedConfig]:
    """Those of the models on the hub, where given with so many layers in language models and in BLIP-2."""

    def depth(full: int) -> int:
        return full if layers is None else min(layers, full)

    opt = {"vocab_size": 50272, "max_position_embeddings": 2048, "num_attention_heads": 32}
    blip2_lm = OPTConfig(hidden_size=2560, ffn_dim=10240, word_embed_proj_dim=2560, num_hidden_layers=depth(32), **opt)
    return {
        "llava-hf/llava-1.5-7b-hf": llava_config(depth(32)),
        "Salesforce/blip2-opt-2.7b": Blip2Config(
            vision_config=Blip2VisionConfig(num_hidden_layers=depth(39)).to_dict(),
            qformer_config=Blip2QFormerConfig(num_hidden_layers=depth(12)).to_dict(),
            text_config=blip2_lm.to_dict(), image_token_index=50265,
        ),
        "distilbert-base-uncased": DistilBertConfig(),
        "facebook/opt-1.3b": OPTConfig(
            hidden_size=2048, ffn_dim=8192, word_embed_proj_dim=2048, num_hidden_layers=depth(24), **opt
        ),
        "gpt2": GPT2Config(n_layer=depth(12)),
        "gpt2-medium": GPT2Config(n_embd=1024, n_layer=depth(24), n_head=16),
        "lmsys/vicuna-7b-v1.5": LlamaConfig(
            max_position_embeddings=4096, rms_norm_eps=1e-5, num_hidden_layers=depth(32)
        ),
    }  # fmt: skip


@functools.cache
def reader(kind: Any, name: str) -> Any:
    """A tokenizer or processor of the small model, with as many words as that of this name."""
    words, small = WORDS[name]
    found = kind.from_pretrained(shipped(f"assets/miniature/{small}"))
    tokenizer = getattr(found, "tokenizer", found)
    tokenizer.add_tokens([f"word{number}" for number in range(words - len(tokenizer))])
    return found


@contextmanager
def random_weights(layers: int | None = None) -> Iterator[None]:
    """Inside, what configs/paper names is made instead of loaded; other names are loaded as always.

    Args:
        layers: of the language models, BLIP-2 and ImageBind's text tower, at most; None is all of them.
    """

    def model(cls: Any, name: str, config: Any = None, dtype: Any = None, output_loading_info: bool = False,
              **changes: Any) -> Any:  # fmt: skip
        config = config or configs(layers)[name]
        config.update({key: value for key, value in changes.items() if key in ("id2label", "label2id")})
        make = cls.from_config if hasattr(cls, "from_config") else cls._from_config
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):  # 7 billion draws take a CPU minutes
            made = make(config, dtype=dtype if isinstance(dtype, torch.dtype) else torch.float32).eval()
        return (made, {"missing_keys": []}) if output_loading_info else made

    def replace(owner: Any, make: Callable[..., Any]) -> None:
        load = owner.from_pretrained.__func__

        def choose(cls: Any, name: Any, *args: Any, **kwargs: Any) -> Any:
            return make(cls, name, *args, **kwargs) if name in WORDS else load(cls, name, *args, **kwargs)

        stack.enter_context(patch.object(owner, "from_pretrained", classmethod(choose)))

    def towers(path: Any) -> tuple[dict[str, dict[str, int]], dict[str, Tensor]]:
        sizes = {"audio": {}, "text": {} if layers is None else {"depth": layers}}
        state = {f"audio.{name}": value for name, value in imagebind.AudioTower().state_dict().items()}
        text = imagebind.TextTower(**sizes["text"])
        return sizes, state | {f"text.{name}": value for name, value in text.state_dict().items()}

    with ExitStack() as stack:
        for owner in (AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, VisionTower,
                      Blip2ForConditionalGeneration, LlavaForConditionalGeneration):  # fmt: skip
            replace(owner, model)
        for owner in (AutoConfig, LlavaConfig):
            replace(owner, lambda cls, name: configs(layers)[name])
        replace(AutoImageProcessor, lambda cls, name: SimpleNamespace(image_mean=[0.5] * 3, image_std=[0.5] * 3))
        for owner in (AutoProcessor, AutoTokenizer):
            replace(owner, reader)
        # the authors' files
        whole = functools.wraps(CavMaeEncoder.from_checkpoint)(lambda path, **_: CavMaeEncoder())
        stack.enter_context(patch.object(CavMaeEncoder, "from_checkpoint", whole))
        kinds = {True: {"patch_embed": torch.empty(0)}, False: {}}
        stack.enter_context(patch.object(clap, "read_authors", lambda path: (kinds["HTSAT" in str(path)], [])))
        stack.enter_context(patch.object(clap, "load_authors", lambda *_: None))
        stack.enter_context(patch.object(imagebind, "read_towers", towers))
        yield
