"""What guided decoding saves: `python -m benchmarks.guided_decoding {miniature,full}`.

In one run, CPU seconds and encoded text positions per token of the plain version, which pads candidates to 77 tokens
and encodes them one clip and one gradient step at a time, and of ours. Both must give the same captions, and scores
within 1e-5. `miniature` has the small models that ship, with the constants of configs/guided.yaml: a single clip at 64
candidates, 100 clips at 8. `full` has random weights of the real widths (GPT-2 medium, ImageBind's text tower,
DistilBERT) at 512 candidates, one clip, tokens from the middle of a caption of eight.

The plain version is slow: it is timed on the first --plain-clips clips, and of the candidates of each step only
--plain-candidates are encoded, their time multiplied by how many there were; the values of the others are ours. All 64
and 8 of the miniature are.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from lightning_modules.decoding import audibility
from lightning_modules.decoding.audibility import AudibilityGuidance
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.text_memo import TextMemo
from lightning_modules.networks.clap.encoder import NO_PUNCTUATION, ClapEncoder
from lightning_modules.networks.imagebind.towers import ImageBind, TextTower, pad
from lightning_modules.networks.sequence_classifier import SequenceClassifier
from miniature import world
from miniature.world import AUDIOCAPS

CONTEXT = 77


@dataclass
class Models:
    """The language model, and the texts' functions in both versions, with the positions that they encode."""

    lm: CausalLm
    match: Callable[[list[str]], Tensor]
    audible: Callable[[list[str]], Tensor]
    plain_match: Callable[[list[str]], Tensor]
    plain_audible: Callable[[list[str]], Tensor]
    positions: dict[str, int] = field(default_factory=lambda: {"ours": 0, "plain": 0})
    version: str = "ours"  # for which positions count

    def count(self, ids: Tensor) -> None:
        """Add the positions of token ids."""
        self.positions[self.version] += ids.numel()

    def watch(self, module: torch.nn.Module) -> None:
        """Count what a transformers model is given."""
        module.register_forward_pre_hook(lambda _, __, named: self.count(named["input_ids"]), with_kwargs=True)


def classifier_functions(classifier: SequenceClassifier) -> tuple[Callable, Callable]:
    """Ours, trimmed, and the plain one, padded."""

    def plain(texts: list[str]) -> Tensor:
        return classifier.model(**classifier.encode(texts, CONTEXT)).logits.softmax(-1)[:, 1]

    return (lambda texts: classifier.probability(texts, "audible")), plain


def miniature(folder: Path, classifier: Path) -> tuple[Models, Tensor]:
    """The models that ship, and the sounds of 100 clips, (100, D)."""
    clap = ClapEncoder.from_pretrained(folder / "matcher").requires_grad_(False)
    model = AutoModelForCausalLM.from_pretrained(folder / "gpt2").eval().requires_grad_(False)
    judge = SequenceClassifier.from_pretrained(classifier).eval().requires_grad_(False)

    def plain_match(texts: list[str]) -> Tensor:
        tokens = clap.tokenizer(
            [text.lower().translate(NO_PUNCTUATION) for text in texts], padding="max_length", max_length=CONTEXT,
            return_tensors="pt",
        )  # fmt: skip
        out = clap.text_encoder(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        return F.normalize(clap.text_proj(out.last_hidden_state[:, 0]), dim=-1)

    audible, plain_audible = classifier_functions(judge)
    lm = CausalLm(model, AutoTokenizer.from_pretrained(folder / "gpt2"))
    found = Models(lm, clap.embed_text, audible, plain_match, plain_audible)
    found.watch(clap.text_encoder)
    found.watch(judge.model)
    sounds = []
    for index in range(100):
        clip = world.make_clip(world.generator(2, "benchmark", index, "clip"), AUDIOCAPS)
        sounds.append(world.sound(clip, AUDIOCAPS, world.generator(2, "benchmark", index, "sound")))
    waveforms = torch.from_numpy(np.stack(sounds))
    with torch.no_grad():
        return found, clap.embed_audio(waveforms, torch.full((100,), waveforms.shape[1]))


def words(number: int, template: str = "$A") -> PreTrainedTokenizerFast:
    """A tokenizer of `number` tokens, one a word; the real ones make slightly longer sequences."""
    vocabulary = {word: i for i, word in enumerate(("[PAD]", "[CLS]", "[SEP]", ".", *(f"w{i}" for i in range(number))))}
    vocabulary = dict(list(vocabulary.items())[:number])
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[PAD]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", bos_token="[CLS]", eos_token="[SEP]")


def full(depth: int) -> tuple[Models, Tensor]:
    """Real widths, random weights."""
    config = GPT2Config(vocab_size=50257, n_embd=1024, n_layer=depth, n_head=16, n_positions=128)
    lm = CausalLm(GPT2LMHeadModel(config).eval().requires_grad_(False), words(50257))
    tower = TextTower(depth=depth).eval().requires_grad_(False)
    matcher = SimpleNamespace(text=tower, tokenizer=words(49408, "[CLS] $A [SEP]"))
    judge = SequenceClassifier.from_scratch(
        ["inaudible", "audible"], depth=6, width=768, num_heads=12, vocab_size=30522
    )
    judge.tokenizer = words(30522, "[CLS] $A [SEP]")
    judge.eval().requires_grad_(False)

    def ids(texts: list[str]) -> list[tuple[int, ...]]:
        return ImageBind.token_ids(matcher, texts)  # type: ignore[arg-type] (it has what is asked)

    def plain_match(texts: list[str]) -> Tensor:
        rows = ids(texts)
        padded = pad([(*row, *[0] * (CONTEXT - len(row))) for row in rows], torch.device("cpu"))
        return F.normalize(tower.pool(tower.states(padded)[0], torch.tensor([len(row) for row in rows])), dim=-1)

    audible, plain_audible = classifier_functions(judge)
    found = Models(lm, lambda texts: F.normalize(tower(ids(texts)), dim=-1), audible, plain_match, plain_audible)
    found.watch(judge.model)
    states = tower.states

    def counted(tokens: Tensor, *more: Any) -> Any:
        found.count(tokens)
        return states(tokens, *more)

    tower.states = counted  # type: ignore[method-assign] (to count is why)
    return found, F.normalize(torch.randn(1, 1024), dim=-1)


class PlainScores(audibility._Scores):
    """Encodes every candidate of every step, padded; times a sample of them and takes our values for the others."""

    sample: int
    extra: float  # seconds that the candidates outside the sample would have taken
    skipped: int  # positions likewise
    apart: float  # the largest difference between the versions
    ours: tuple[TextMemo, TextMemo]
    found: Models

    @torch.no_grad()
    def __call__(self, candidates: Tensor) -> Tensor:
        """Scores of a clip's candidates, (1, K)."""
        kind = type(self)
        said = [[*self.said[0], t] for t in candidates[0].tolist()]
        texts = self.lm.decode(said)
        start, before = time.process_time(), kind.found.positions["plain"]
        some = texts[: kind.sample]
        value = (self.match(some) * self.audio[0]).sum(-1) + self.lambda_2 * self.audible(some)  # type: ignore[misc] (not None)
        more = len(texts) / len(some) - 1
        kind.extra += (time.process_time() - start) * more
        kind.skipped += int((kind.found.positions["plain"] - before) * more)
        start = time.process_time()
        known = (kind.ours[0](texts) * self.audio[0]).sum(-1) + self.lambda_2 * kind.ours[1](texts)
        kind.extra -= time.process_time() - start  # of the benchmark, not of the version
        kind.apart = max(kind.apart, float((known[: len(some)] - value).abs().max()))
        return torch.cat((value, known[len(some) :]))[None]


def compare(
    found: Models, audio: Tensor, guidance: AudibilityGuidance, plain_clips: int, sample: int, floor: float
) -> None:
    """Time both versions and print their ratio; ends the benchmark where they differ, or the ratio is below `floor`."""
    memos = TextMemo(found.match), TextMemo(found.audible)
    short = AudibilityGuidance(guidance.prompt, max_new_tokens=1, num_steps=1, num_candidates=guidance.num_candidates)
    short(found.lm, found.match, found.audible, audio[:1])  # warms up
    found.positions.update(ours=0, plain=0)
    start = time.process_time()
    captions = guidance(found.lm, *memos, audio)
    ours = time.process_time() - start
    PlainScores.sample, PlainScores.extra, PlainScores.skipped, PlainScores.apart = sample, 0.0, 0, 0.0
    PlainScores.ours, PlainScores.found = memos, found
    kept, audibility._Scores = audibility._Scores, PlainScores  # type: ignore[misc] (for a while)
    found.version = "plain"
    start = time.process_time()
    number = min(plain_clips, len(audio))
    plain = [guidance(found.lm, found.plain_match, found.plain_audible, audio[i : i + 1])[0] for i in range(number)]
    seconds = time.process_time() - start + PlainScores.extra
    found.version, audibility._Scores = "ours", kept  # type: ignore[misc]
    tokens, plain_tokens = (sum(len(found.lm.encode(text)) - 1 for text in texts) for texts in (captions, plain))
    positions = found.positions["ours"] / tokens, (found.positions["plain"] + PlainScores.skipped) / plain_tokens
    alike = plain == captions[:number]
    ratio = seconds / plain_tokens / (ours / tokens)
    print(
        f"{len(audio)} clips, {guidance.num_candidates} candidates, {guidance.num_steps} steps; a token costs ours "
        f"{ours / tokens:.4f} s and {positions[0]:.0f} positions, the plain version {seconds / plain_tokens:.4f} s and "
        f"{positions[1]:.0f} ({number} clips): {ratio:.1f}x less time (floor {floor}x), "
        f"{positions[1] / positions[0]:.1f}x fewer positions; captions {'the same' if alike else 'DIFFERENT'}, scores "
        f"{PlainScores.apart:.1e} apart",
        flush=True,
    )
    if not alike or PlainScores.apart > 1e-5 or ratio < floor:
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
    parser.add_argument("--tokens", type=int, default=3, help="that are said, in `full` (%(default)s)")
    options = parser.parse_args()
    torch.manual_seed(0)
    small: dict[str, Any] = {"num_steps": 6, "step_size": 0.25, "max_new_tokens": 10, "lambda_2": 0.06}
    if options.what == "miniature":
        found, audio = miniature(options.models, options.classifier)
        for clips, candidates, floor in ((1, 64, 4), (100, 8, 30)):
            guidance = AudibilityGuidance(num_candidates=candidates, **small)
            compare(found, audio[:clips], guidance, options.plain_clips, options.plain_candidates, floor)
    else:
        found, audio = full(options.depth)
        # three words are the prompt's, two have been said: the lengths are those of the middle of a caption
        guidance = AudibilityGuidance(prompt="w7 w8 w9 w10 w11", max_new_tokens=options.tokens)
        compare(found, audio, guidance, 1, options.plain_candidates, 10)


if __name__ == "__main__":
    main()
