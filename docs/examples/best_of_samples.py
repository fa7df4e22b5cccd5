"""A guidance: of many texts that the language model writes, each clip gets the one that matches it best."""

import torch
from torch import Tensor, nn

from lightning_modules.decoding.causal_lm import CausalLm, stack_kv_cache
from lightning_modules.decoding.contracts import TextFunction


class BestOfSamples(nn.Module):
    """Samples texts from the language model and lets the matcher choose among them.

    The texts do not depend on the audio, so they are sampled once for a batch, and seeded, so that a clip's caption
    does not depend on its batch.

    Args:
        num_samples: K, how many texts are sampled.
        prompt: how each text begins; captions are returned without it.
        max_new_tokens: length of the texts.
        seed: of the samples.
    """

    needs_classifier = False

    def __init__(
        self, num_samples: int = 64, prompt: str = "Audio of a", max_new_tokens: int = 8, seed: int = 0
    ) -> None:
        super().__init__()
        self.num_samples = num_samples
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.seed = seed

    @torch.no_grad()
    def forward(self, lm: CausalLm, match: TextFunction, audible: TextFunction | None, audio: Tensor) -> list[str]:
        """Caption B clips, given by their audio embeddings (B, D)."""
        generator = torch.Generator(audio.device).manual_seed(self.seed)
        prompt = lm.encode(self.prompt).expand(self.num_samples, -1)  # (K, L)
        kv_cache, last = lm.prefill(prompt[:, :-1]), prompt[:, -1]
        tokens = []
        for _ in range(self.max_new_tokens):
            logits, cache = lm.step(last, kv_cache)
            kv_cache = stack_kv_cache(cache)
            last = logits.softmax(-1).multinomial(1, generator=generator)[:, 0]  # (K,)
            tokens.append(last)
        captions = [text.strip() for text in lm.decode(torch.stack(tokens, dim=1).tolist())]
        similarity = audio @ match([f"{self.prompt} {caption}" for caption in captions]).T  # (B, K)
        return [captions[index] for index in similarity.argmax(dim=1).tolist()]
