"""How much faster batched guided decoding is: `python -m benchmarks.guided_decoding {miniature,full}`.

Measures CPU seconds and encoded text positions per token, in one run, for our version and for a plain one, which pads
candidates to 77 tokens and encodes them one clip and one gradient step at a time. Both must give the same captions, and
scores within 1e-5. `miniature` takes the small models that ship and the constants of configs/guided.yaml: one clip with
64 candidates, and 100 clips with 8. `full` takes random weights of the real widths (GPT-2 medium, ImageBind's text
tower, DistilBERT) and 512 candidates, for one clip and tokens from the middle of a caption of eight.

The plain version is slow, so it is timed on the first --plain-clips clips. It encodes only --plain-candidates of the
candidates of each step, and their time is scaled up to all of them; the others get our scores. In `miniature` these are
all candidates.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from lightning_modules.decoding.audibility import AudibilityGuidance
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.contracts import TextFunction
from lightning_modules.decoding.text_memo import TextMemo
from lightning_modules.networks.clap.encoder import ClapEncoder, cleaned
from lightning_modules.networks.imagebind.towers import AudioTower, ImageBind, TextTower, pad
from lightning_modules.networks.sequence_classifier import SequenceClassifier
from miniature import world
from miniature.world import AUDIOCAPS

CONTEXT = 77


@dataclass
class Models:
    """The language model, matcher and classifier in both versions, and the positions that they have encoded."""

    lm: CausalLm
    match: Callable[[list[str]], Tensor]
    audible: Callable[[list[str]], Tensor]
    plain_match: Callable[[list[str]], Tensor]
    plain_audible: Callable[[list[str]], Tensor]
    watched: list[nn.Module]  # embeddings of tokens, whose positions count
    positions: int = 0

    def __post_init__(self) -> None:
        for embedding in self.watched:
            embedding.register_forward_hook(self.count)

    def count(self, _: nn.Module, args: tuple[Tensor], __: Tensor) -> None:
        """Add the positions of token ids."""
        self.positions += args[0].numel()


def classifier_functions(classifier: SequenceClassifier) -> tuple[Callable, Callable]:
    """Ours, trimmed, and the plain one, padded."""

    def plain(texts: list[str]) -> Tensor:
        padded = classifier.tokenizer(texts, padding="max_length", max_length=CONTEXT, return_tensors="pt")
        return classifier.model(padded["input_ids"], padded["attention_mask"]).logits.softmax(-1)[:, 1]

    return (lambda texts: classifier.probability(texts, "audible")), plain


def miniature(folder: Path, classifier: Path) -> tuple[Models, Tensor]:
    """The models that ship, and the audio embeddings of 100 clips, (100, D)."""
    clap = ClapEncoder.from_pretrained(folder / "matcher").requires_grad_(False)
    model = AutoModelForCausalLM.from_pretrained(folder / "gpt2").eval().requires_grad_(False)
    classifier_model = SequenceClassifier.from_pretrained(classifier).eval().requires_grad_(False)

    def plain_match(texts: list[str]) -> Tensor:
        tokens = clap.tokenizer(
            [cleaned(text) for text in texts], padding="max_length", max_length=CONTEXT,
            return_tensors="pt",
        )  # fmt: skip
        out = clap.text_encoder(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        return F.normalize(clap.text_proj(out.last_hidden_state[:, 0]), dim=-1)

    audible, plain_audible = classifier_functions(classifier_model)
    lm = CausalLm(model, AutoTokenizer.from_pretrained(folder / "gpt2"))
    watched = [part.get_input_embeddings() for part in (clap.text_encoder, classifier_model.model)]
    found = Models(lm, clap.embed_text, audible, plain_match, plain_audible, watched)
    waveforms = []
    for index in range(100):
        clip = world.make_clip(world.generator(2, "benchmark", index, "clip"), AUDIOCAPS)
        waveforms.append(world.sound(clip, AUDIOCAPS, world.generator(2, "benchmark", index, "sound")))
    audio = torch.from_numpy(np.stack(waveforms))
    with torch.no_grad():
        return found, clap.embed_audio(audio, torch.full((100,), audio.shape[1]))


def word_tokenizer(number: int, template: str = "$A") -> PreTrainedTokenizerFast:
    """A tokenizer with a vocabulary of `number` words; the real ones make slightly longer sequences."""
    vocabulary = {word: i for i, word in enumerate(("[PAD]", "[CLS]", "[SEP]", ".", *(f"w{i}" for i in range(number))))}
    vocabulary = dict(list(vocabulary.items())[:number])
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[PAD]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", bos_token="[CLS]", eos_token="[SEP]")


def full(depth: int) -> tuple[Models, Tensor]:
    """Real widths, random weights."""
    config = GPT2Config(vocab_size=50257, n_embd=1024, n_layer=depth, n_head=16, n_positions=128)
    lm = CausalLm(GPT2LMHeadModel(config).eval().requires_grad_(False), word_tokenizer(50257))
    tower = TextTower(depth=depth).eval().requires_grad_(False)
    with torch.device("meta"):
        unused = AudioTower(width=64, depth=1)
    matcher = ImageBind(unused, tower, word_tokenizer(49408, "[CLS] $A [SEP]"))
    classifier_model = SequenceClassifier.from_scratch(
        ["inaudible", "audible"], depth=6, width=768, num_heads=12, vocab_size=30522
    )
    classifier_model.tokenizer = word_tokenizer(30522, "[CLS] $A [SEP]")
    classifier_model.eval().requires_grad_(False)

    def plain_match(texts: list[str]) -> Tensor:
        rows = matcher.token_ids(texts)
        padded = pad([(*row, *[0] * (CONTEXT - len(row))) for row in rows], torch.device("cpu"))
        return F.normalize(tower.pool(tower.states(padded)[0], torch.tensor([len(row) for row in rows])), dim=-1)

    audible, plain_audible = classifier_functions(classifier_model)
    watched = [tower.token_embedding, classifier_model.model.get_input_embeddings()]
    found = Models(lm, matcher.embed_text, audible, plain_match, plain_audible, watched)
    return found, F.normalize(torch.randn(1, 1024), dim=-1)


class PlainGuidance(AudibilityGuidance):
    """Guidance, with the settings of another, that encodes every candidate of every step, padded.

    It times a sample of the candidates and takes our values for the others.

    Attributes:
        extra: seconds that the candidates outside the sample would have taken.
        skipped: positions that they would have taken.
        apart: the largest difference between a score and ours.
    """

    def __init__(self, settings: dict[str, Any], found: Models, memos: tuple[TextMemo, TextMemo], sample: int) -> None:
        super().__init__(**settings)
        self.found, self.memos, self.sample = found, memos, sample
        self.extra, self.skipped, self.apart = 0.0, 0, 0.0

    def candidate_scores(
        self, lm: CausalLm, tokens: Tensor, match: TextFunction, audible: TextFunction | None, audio: Tensor
    ) -> Callable[[Tensor], Tensor]:
        """The plain scores of the candidates after one clip's `tokens`, (1, L)."""
        return partial(self.plain_scores, tokens[0, 1:].tolist(), audio[0])

    @torch.no_grad()
    def plain_scores(self, before: list[int], audio: Tensor, candidates: Tensor) -> Tensor:
        """(1, K), of K candidates after the tokens `before`."""
        texts = self.found.lm.decode([[*before, token] for token in candidates[0].tolist()])
        start, positions = time.process_time(), self.found.positions
        some = texts[: self.sample]
        value = (self.found.plain_match(some) * audio).sum(-1) + self.lambda_2 * self.found.plain_audible(some)
        more = len(texts) / len(some) - 1
        self.extra += (time.process_time() - start) * more
        self.skipped += int((self.found.positions - positions) * more)
        start, positions = time.process_time(), self.found.positions
        known = (self.memos[0](texts) * audio).sum(-1) + self.lambda_2 * self.memos[1](texts)
        self.extra -= time.process_time() - start  # of the benchmark, not of the version
        self.found.positions = positions
        self.apart = max(self.apart, float((known[: len(some)] - value).abs().max()))
        return torch.cat((value, known[len(some) :]))[None]


def compare(
    found: Models, audio: Tensor, settings: dict[str, Any], plain_clips: int, sample: int, floor: float
) -> None:
    """Time both versions and print their ratio; ends the benchmark where they differ, or the ratio is below `floor`."""
    memos = TextMemo(found.match), TextMemo(found.audible)
    AudibilityGuidance(**settings | {"max_new_tokens": 1, "num_steps": 1})(  # warms up
        found.lm, found.match, found.audible, audio[:1]
    )
    guidance, plain_guidance = AudibilityGuidance(**settings), PlainGuidance(settings, found, memos, sample)
    found.positions, start = 0, time.process_time()
    captions = guidance(found.lm, *memos, audio)
    seconds, positions = time.process_time() - start, found.positions
    found.positions, start = 0, time.process_time()
    plain = [plain_guidance(found.lm, *memos, one)[0] for one in audio[:plain_clips].split(1)]
    plain_seconds = time.process_time() - start + plain_guidance.extra
    plain_positions = found.positions + plain_guidance.skipped
    tokens, plain_tokens = (sum(len(found.lm.encode(text)) - 1 for text in texts) for texts in (captions, plain))
    seconds, plain_seconds = seconds / tokens, plain_seconds / plain_tokens
    positions, plain_positions = positions / tokens, plain_positions / plain_tokens
    alike, ratio = plain == captions[: len(plain)], plain_seconds / seconds
    print(
        f"{len(audio)} clips, {guidance.num_candidates} candidates, {guidance.num_steps} steps; a token costs ours "
        f"{seconds:.4f} s and {positions:.0f} positions, the plain version {plain_seconds:.4f} s and "
        f"{plain_positions:.0f} ({len(plain)} clips): {ratio:.1f}x less time (floor {floor}x), "
        f"{plain_positions / positions:.1f}x fewer positions; captions {'the same' if alike else 'DIFFERENT'}, scores "
        f"{plain_guidance.apart:.1e} apart",
        flush=True,
    )
    if not alike or plain_guidance.apart > 1e-5 or ratio < floor:
        raise SystemExit("expected the same captions, scores within 1e-5 and a ratio above the floor, found otherwise")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["miniature", "full"])
    parser.add_argument("--models", type=Path, default=Path("assets/miniature"), help="folder (%(default)s)")
    parser.add_argument("--classifier", type=Path, default=Path("exports/audibility"), help="folder (%(default)s)")
    parser.add_argument("--plain-clips", type=int, default=5, help="%(default)s")
    parser.add_argument("--plain-candidates", type=int, default=64, help="%(default)s")
    parser.add_argument("--depth", type=int, default=6, help="layers of GPT-2 and ImageBind's text tower (%(default)s)")
    parser.add_argument("--tokens", type=int, default=3, help="of the caption, in `full` (%(default)s)")
    options = parser.parse_args()
    torch.manual_seed(0)
    small: dict[str, Any] = {"num_steps": 6, "step_size": 0.25, "max_new_tokens": 10, "lambda_2": 0.06}
    if options.what == "miniature":
        found, audio = miniature(options.models, options.classifier)
        for clips, candidates, floor in ((1, 64, 4), (100, 8, 30)):
            settings = {"num_candidates": candidates, **small}
            compare(found, audio[:clips], settings, options.plain_clips, options.plain_candidates, floor)
    else:
        found, audio = full(options.depth)
        # three words are the prompt's, two the caption's so far: the lengths are those of the middle of a caption
        settings = {"prompt": "w7 w8 w9 w10 w11", "max_new_tokens": options.tokens}
        compare(found, audio, settings, 1, options.plain_candidates, 10)


if __name__ == "__main__":
    main()
