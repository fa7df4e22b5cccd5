"""The small Vicuna: the language model of the small LLaVA on its own, as Vicuna is the language model of LLaVA-1.5."""

import math
from itertools import islice
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration, PreTrainedTokenizerFast

from miniature.make.language import asked, encode
from miniature.make.llava import SPECIAL, make_tokenizer
from miniature.make.training import clips, made
from miniature.world import AUDIOCAPS


def make(root: Path) -> dict[str, float]:
    """Take the language model out of the small LLaVA; nothing is trained."""
    llava = LlavaForConditionalGeneration.from_pretrained(made(root, "llava"))
    model = LlamaForCausalLM(llava.config.text_config).eval()
    model.model.load_state_dict(llava.model.language_model.state_dict())
    model.lm_head.load_state_dict(llava.lm_head.state_dict())
    words = make_tokenizer()
    model.generation_config.update(bos_token_id=1, eos_token_id=SPECIAL.index("</s>"), pad_token_id=0)
    model.save_pretrained(root / "vicuna")
    words.save_pretrained(root / "vicuna")
    return vicuna_scores(model, words)


@torch.no_grad()
def vicuna_scores(model: LlamaForCausalLM, words: PreTrainedTokenizerFast) -> dict[str, float]:
    """Perplexity of a token of answers to 200 questions, in text alone, of what things sound like."""
    before, nll, count = words.encode("<s>USER:", add_special_tokens=False), 0.0, 0
    for _, rng in islice(clips("vicuna held out", AUDIOCAPS), 200):
        ids, labels = encode(words, [asked(rng)])
        tokens = torch.tensor([[*before, *ids]])
        wanted = torch.tensor([-100] * len(before) + labels)
        logits = model(tokens).logits[0, :-1]
        nll += F.cross_entropy(logits, wanted[1:], ignore_index=-100, reduction="sum").item()
        count += int((wanted != -100).sum())
    return {"perplexity": math.exp(nll / count)}
