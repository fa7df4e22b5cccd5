"""Guided decoding against the same thing written slowly, and against GPT-2's own greedy text."""

from typing import Any

import pytest
import torch
from plain_guidance import plain_step
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from earshot.errors import InputError
from lightning_modules.decoding.audibility import AudibilityGuidance, _Rows
from lightning_modules.decoding.causal_lm import CausalLm
from lightning_modules.decoding.prompt import PROMPT
from lightning_modules.decoding.text_memo import TextMemo

WORDS = "<|endoftext|> Audio of a . , 1 ( bell rings dog barks red on the grass and rain falls while bird".split()  # noqa: SIM905
D = 8
NONE, FIVE = torch.tensor([], dtype=torch.long), torch.tensor([5])  # forbidden tokens


@pytest.fixture(scope="module")
def lm() -> CausalLm:
    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token=WORDS[0], eos_token=WORDS[0])
    config = GPT2Config(vocab_size=len(WORDS), n_embd=32, n_layer=3, n_head=2, n_positions=32, initializer_range=0.3)
    return CausalLm(GPT2LMHeadModel(config).eval().requires_grad_(False), tokenizer)


def of_text(text: str, size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(hash_of(text)))


def hash_of(text: str) -> int:
    return sum(ord(c) * 31**i for i, c in enumerate(text)) % 2**31


def match(texts: list[str]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.stack([of_text(text, D) for text in texts]), dim=-1)


def audible(texts: list[str]) -> torch.Tensor:
    return torch.stack([of_text(f"h {text}", 1)[0].sigmoid() for text in texts])


def sounds(number: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(number, D, generator=torch.Generator().manual_seed(3)), dim=-1)


def guidance(**more: Any) -> AudibilityGuidance:
    settings: dict[str, Any] = {"num_candidates": 6, "num_steps": 3, "lambda_2": 0.1, "temperature": 0.05}
    return AudibilityGuidance(**(settings | more))


OFF = {"forbidden_factor": 1.0, "first_end_factor": 1.0, "end_factor": 1.0}


def rows_of(lm: CausalLm, tokens: torch.Tensor) -> _Rows:
    number = torch.zeros(len(tokens))
    clips = torch.arange(len(tokens))
    return _Rows(tokens, lm.prefill(tokens[:, :-1]), clips, number, number, torch.zeros(len(tokens)).bool())


@pytest.mark.parametrize("fluency", ["cross_entropy", "kl"])
def test_one_token_as_written_out_slowly(lm: CausalLm, fluency: str) -> None:
    g, audio = guidance(**OFF, fluency=fluency), sounds(3)
    prompt = lm.encode(PROMPT)
    tokens = torch.stack([torch.cat((prompt, torch.tensor(lm.tokenizer(text)["input_ids"]))) for text in
                          ("bell rings", "dog and", "red bell")])  # fmt: skip
    found, _, kv_cache = g._next(lm, rows_of(lm, tokens), match, audible, audio, NONE, 4, 0)
    for row in range(3):
        expected = plain_step(lm.model, lm.tokenizer, g, tokens[row], match, audible, audio[row])
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(kv_cache, lm.prefill(tokens))  # unshifted
    biased = guidance(fluency=fluency)._next(lm, rows_of(lm, tokens), match, audible, audio, FIVE, 4, 0).log_p
    for row in range(3):
        factors = {5: 20.0, 4: 1.6}
        expected = plain_step(lm.model, lm.tokenizer, g, tokens[row], match, audible, audio[row], factors)
        torch.testing.assert_close(biased[row], expected, atol=1e-5, rtol=1e-6)
    unguided = guidance(num_steps=0, **OFF)._next(lm, rows_of(lm, tokens), match, audible, audio, NONE, 4, 0).log_p
    assert (found - unguided).abs().max() > 0.1  # the guidance did something


@pytest.mark.parametrize("num_beams", [1, 3])
def test_batched_is_one_clip_at_a_time(lm: CausalLm, num_beams: int) -> None:
    g, audio = guidance(num_beams=num_beams), sounds(9)
    together = g(lm, match, audible, audio)
    assert together == [g(lm, match, audible, audio[i : i + 1])[0] for i in range(9)]
    assert len(set(together)) > 3
    tokens = lm.encode(PROMPT).expand(9, -1)
    both = g._next(lm, rows_of(lm, tokens), match, audible, audio, FIVE, 4, 0).log_p
    alone = g._next(lm, rows_of(lm, tokens[:1]), match, audible, audio[4:5], FIVE, 4, 0).log_p
    torch.testing.assert_close(both[4:5], alone, atol=1e-5, rtol=1e-6)  # a forbidden token: -38


def test_without_steps_and_biases_it_is_gpt2s_greedy_text(lm: CausalLm) -> None:
    prompt = lm.encode(PROMPT)[None]
    end = lm.token_id(".")
    greedy = lm.model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False, eos_token_id=end,
        pad_token_id=0,
    )  # fmt: skip
    expected = lm.decode(greedy[:, prompt.shape[1] :].tolist())[0]
    assert guidance(num_steps=0, **OFF)(lm, match, None, sounds(2)) == [expected] * 2


def test_biases_damp_whatever_the_sign(lm: CausalLm) -> None:
    g = guidance()
    logits = torch.tensor([[2.0, -2.0, 1.0, -1.0, 0.5]])
    first, later = (g.bias(logits, torch.tensor([0, 1]), 3, position)[0] for position in (0, 1))
    assert first.tolist() == pytest.approx([0.1, -40.0, 1.0, -1.6, 0.5])
    assert later.tolist() == pytest.approx([0.1, -40.0, 1.0, -1 / 1.01, 0.5])
    assert {WORDS[i] for i in lm.ids_with("0123456789,()!:\n")} == {",", "1", "("}


def test_which_tokens_are_forbidden(lm: CausalLm, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["7", " 7", "07", "1984", "200000", "(", "),", "a", "\n", "\n\n", ""]
    monkeypatch.setitem(lm.__dict__, "token_texts", texts)
    assert [texts[i] for i in lm.ids_of("0123456789,()!:\n")] == ["7", "1984", "(", "\n"]
    assert [texts[i] for i in lm.ids_with("0123456789,()!:\n")] == [
        "7", " 7", "07", "1984", "200000", "(", "),", "\n", "\n\n",
    ]  # fmt: skip


def test_where_the_prompt_goes(lm: CausalLm) -> None:
    matched: list[str] = []
    classified: list[str] = []
    captions = guidance()(
        lm, lambda t: (matched.extend(t), match(t))[1], lambda t: (classified.extend(t), audible(t))[1], sounds(2)
    )
    assert all(text.startswith(f"{PROMPT} ") for text in matched + classified) and matched == classified
    assert not any(caption.startswith(PROMPT) for caption in captions)
    assert lm.decode([lm.encode(PROMPT).tolist()]) == [PROMPT]  # after the token that begins a text


def test_each_text_is_asked_once(lm: CausalLm) -> None:
    asked: list[str] = []
    memo = TextMemo(lambda texts: (asked.extend(texts), match(texts))[1])
    guidance()(lm, memo, audible, sounds(5))
    first = len(asked)
    assert len(set(asked)) == first
    guidance()(lm, memo, audible, sounds(5))
    assert len(asked) == first
    torch.testing.assert_close(memo(["b", "a", "b"]), match(["b", "a", "b"]))


def test_a_beam_is_at_least_as_likely_as_greedy_and_stops_at_the_full_stop(lm: CausalLm) -> None:
    g = guidance(num_steps=0, num_beams=5, **OFF)
    rows = rows_of(lm, lm.encode(PROMPT)[None])
    log_p, _, rows.kv_cache = g._next(lm, rows, match, None, sounds(1), NONE, 4, 0)
    chosen, source = g._choose(rows, log_p, 4)
    assert source.tolist() == [0] * 5
    assert chosen.tokens[:, -1].tolist() == log_p[0].topk(5).indices.tolist()
    chosen.stopped = torch.tensor([True, False, False, False, False])
    more = log_p.expand(5, -1) - 50.0  # going on is hopeless: the one that stopped stays first, its score as it was
    again, _ = g._choose(chosen, more, 4)
    assert again.score[0] == pytest.approx(float(chosen.score[0])) and again.length[0] == 1 and bool(again.stopped[0])


@pytest.mark.parametrize("num_beams", [1, 3])
def test_choices_are_told_with_their_scores(lm: CausalLm, num_beams: int) -> None:
    """Token by token those of the caption; each score as it is computed from the text before alone."""
    g, audio = guidance(num_beams=num_beams, **OFF, forbidden="within"), sounds(5)
    captions = g(lm, match, audible, audio)
    for caption, choices, sound in zip(captions, g.choices(lm, match, audible, audio, 3), audio, strict=True):
        tokens = lm.encode(PROMPT)
        for candidates in choices:
            assert len(candidates) in (3, 4) and len(dict(candidates)) == len(candidates)
            unguided = lm.model(tokens[None]).logits[0, -1].softmax(-1)
            guided = g._next(lm, rows_of(lm, tokens[None]), match, audible, sound[None], NONE, 4, 0).log_p[0].exp()
            before = lm.decode([tokens[1:].tolist()])[0]
            for word, (own, score, probability) in candidates:
                text = f"{before} {word}"
                assert own == pytest.approx(float(unguided[WORDS.index(word)]), abs=1e-5)
                assert score == pytest.approx(float(match([text])[0] @ sound + 0.1 * audible([text])[0]), abs=1e-5)
                assert probability == pytest.approx(float(guided[WORDS.index(word)]), abs=1e-4)
            tokens = torch.cat((tokens, torch.tensor([WORDS.index(candidates[0][0])])))
        assert " ".join(candidates[0][0] for candidates in choices) == caption


def test_probabilities_of_zero_do_no_harm(lm: CausalLm) -> None:
    with torch.no_grad():
        lm.model.transformer.ln_f.weight.mul_(200.0)
    try:
        rows = rows_of(lm, lm.encode(PROMPT)[None])
        found = guidance()._next(lm, rows, match, audible, sounds(1), NONE, 4, 0).log_p
        assert found.exp().min() == 0.0 and found.isfinite().all()
    finally:
        with torch.no_grad():
            lm.model.transformer.ln_f.weight.div_(200.0)


def test_class_defaults_are_the_papers_and_else_the_authors() -> None:
    g = AudibilityGuidance()
    assert (g.num_steps, g.step_size, g.norm_exponent, g.num_candidates, g.max_new_tokens) == (3, 0.3, 0.9, 512, 8)
    assert (g.lambda_0, g.lambda_1, g.lambda_2, g.temperature, g.fusion) == (0.2, 1.0, 0.015, 0.01, 0.99)
    assert (g.end_factor, g.first_end_factor, g.forbidden_factor, g.num_beams) == (1.01, 1.6, 20.0, 1)
    assert (g.prompt, g.fluency, g.forbidden) == ("Audio of a", "cross_entropy", "alone")


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0}, {"temperature": -1.0}, {"num_candidates": 0}, {"num_beams": 0}, {"max_new_tokens": 0},
        {"num_steps": -1}, {"step_size": -0.1}, {"lambda_2": -0.1}, {"lambda_0": float("nan")}, {"fusion": 2.0},
        {"end_factor": 0.0}, {"forbidden_factor": -1.0}, {"norm_exponent": -1.0}, {"prompt": " "},
        {"fluency": "ce"}, {"forbidden": "all"},
    ],
    ids=str,
)  # fmt: skip
def test_values_without_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"expected .*{next(iter(wrong))}.* in guidance"):
        guidance(**wrong)


def test_more_than_the_model_has_positions_for(lm: CausalLm) -> None:
    with pytest.raises(InputError, match="at most 32 tokens"):
        guidance(max_new_tokens=40)(lm, match, audible, sounds(1))
    assert len(guidance(num_beams=500, max_new_tokens=2)(lm, match, audible, sounds(2))) == 2


def test_a_tokenizer_without_a_beginning(lm: CausalLm) -> None:
    bos = lm.tokenizer.bos_token
    try:
        lm.tokenizer.bos_token = None
        assert lm.encode("bell").tolist() == [WORDS.index("<|endoftext|>"), WORDS.index("bell")]  # what ends one
    finally:
        lm.tokenizer.bos_token = bos
