"""The captioner against LLaVA itself, and the prefix against peft itself."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MINIATURE
from peft import PeftModel
from transformers import AutoProcessor, LlavaForConditionalGeneration

from earshot.errors import InputError
from lightning_modules.networks.llava.audio_projector import save_audio_projector
from lightning_modules.networks.llava.generation import Generation
from lightning_modules.networks.llava.image_encoder import ImageEncoder
from lightning_modules.networks.llava.language_model import LlavaLanguageModel

LLAVA, PREFIX = MINIATURE / "llava", MINIATURE / "prefix"
QUESTION = "What can be seen in this scene ?"


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def image_tokens(pictures: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return ImageEncoder.from_pretrained(LLAVA).eval()(pictures)


def test_captions_of_pictures_are_llavas_own(pictures: torch.Tensor, image_tokens: torch.Tensor) -> None:
    """LLaVA through its processor, from pixels and text, says the same as the captioner from tokens."""
    processor = AutoProcessor.from_pretrained(LLAVA)
    llava = LlavaForConditionalGeneration.from_pretrained(LLAVA).eval()
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
    text = processor.apply_chat_template([turn], add_generation_prompt=True)
    inputs = processor(images=list(pictures), text=[text] * 4, return_tensors="pt")
    ids = llava.generate(**inputs, max_new_tokens=20, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    expected = [caption.strip() for caption in processor.batch_decode(ids, skip_special_tokens=True)]
    captioner = LlavaLanguageModel.from_pretrained(LLAVA)
    assert captioner.generate(None, image_tokens, QUESTION, Generation(max_new_tokens=20)) == expected


def test_prefix_equals_the_peft_adapter(image_tokens: torch.Tensor) -> None:
    """Merged rows of the embedding give the embeddings that the adapter computes."""
    plain = LlavaLanguageModel.from_pretrained(LLAVA, PREFIX)
    ids = plain.prefix_ids
    adapted = PeftModel.from_pretrained(LlavaForConditionalGeneration.from_pretrained(LLAVA), PREFIX)
    expected = adapted.get_input_embeddings()(torch.tensor(ids))
    torch.testing.assert_close(plain.llava.get_input_embeddings().weight[ids], expected)
    assert len(ids) == 16
    prompt = plain(None, image_tokens, QUESTION)
    before = len(plain.prompt_ids(QUESTION)[0])
    media = image_tokens.shape[1]
    torch.testing.assert_close(prompt[0, before + media : before + media + 16], expected)  # right after the media


def test_without_prefix_the_captioner_is_untouched(image_tokens: torch.Tensor) -> None:
    tuned, plain = (
        LlavaLanguageModel.from_pretrained(LLAVA, PREFIX),
        LlavaLanguageModel.from_pretrained(LLAVA),
    )
    tuned.prefix_ids = []
    with torch.no_grad():
        logits = [c.llava(inputs_embeds=c(None, image_tokens, QUESTION)).logits[:, -1] for c in (tuned, plain)]
    assert torch.equal(*logits)


def test_audio_tokens_come_before_image_tokens(image_tokens: torch.Tensor) -> None:
    captioner = LlavaLanguageModel.from_pretrained(LLAVA)
    audio_tokens = torch.randn(4, 128, 96)
    both = captioner(audio_tokens, image_tokens, QUESTION)
    audio, image = captioner(audio_tokens, None, QUESTION), captioner(None, image_tokens, QUESTION)
    before = len(captioner.prompt_ids(QUESTION)[0])
    torch.testing.assert_close(both[:, before : before + 128], audio[:, before : before + 128])
    torch.testing.assert_close(both[:, before + 128 :], image[:, before:])
    captioner.image_first = True
    media = image_tokens.shape[1]
    swapped = captioner(audio_tokens, image_tokens, QUESTION)
    torch.testing.assert_close(swapped[:, : before + media], image[:, : before + media])
    torch.testing.assert_close(swapped[:, before + media :], audio[:, before:])


def test_a_system_prompt_begins_the_prompt_and_nothing_else_changes() -> None:
    plain = LlavaLanguageModel.from_pretrained(LLAVA)
    told = LlavaLanguageModel.from_pretrained(LLAVA, system="the user can be heard .")
    (before, after), (longer, same) = plain.prompt_ids(QUESTION), told.prompt_ids(QUESTION)
    said = plain.processor.tokenizer("the user can be heard .", add_special_tokens=False)["input_ids"]
    begin = len(before) - len(plain.processor.tokenizer("USER:", add_special_tokens=False)["input_ids"])
    assert longer == [*before[:begin], *said, *before[begin:]] and same == after
    assert told.answer_ids(QUESTION, "a bell rings") == plain.answer_ids(QUESTION, "a bell rings")


def test_batched_and_cached_equals_one_by_one_and_uncached(image_tokens: torch.Tensor) -> None:
    captioner = LlavaLanguageModel.from_pretrained(LLAVA, PREFIX)
    batched = captioner.generate(None, image_tokens)
    single = [captioner.generate(None, image_tokens[i : i + 1])[0] for i in range(4)]
    assert batched == single
    prompt = captioner(None, image_tokens[:1])
    ids: list[int] = []
    with torch.no_grad():
        for _ in range(64):  # greedy by hand, the whole sequence anew for each token
            token = captioner.llava(inputs_embeds=prompt).logits[0, -1].argmax()
            if token == captioner.llava.generation_config.eos_token_id:
                break
            ids.append(int(token))
            prompt = torch.cat([prompt, captioner.llava.get_input_embeddings()(token)[None, None]], 1)
    assert batched[0] == captioner.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_missing_folders_are_named() -> None:
    with pytest.raises(InputError, match="expected a LLaVA checkpoint"):
        LlavaLanguageModel.from_pretrained("./nothing")
    with pytest.raises(InputError, match="expected a tuned prefix"):
        LlavaLanguageModel.from_pretrained(LLAVA, "exports/nothing")


def test_the_loss_is_of_the_caption_and_its_end_alone(image_tokens: torch.Tensor) -> None:
    """By hand: the model's log-probability of each token of the answer, one clip and one token at a time."""
    captioner = LlavaLanguageModel.from_pretrained(LLAVA, PREFIX)
    captions = ["a dog barks", "a bell rings while rain falls and a cow moos", "", "wind blows"]
    nll, tokens = captioner.nll(None, image_tokens, captions)
    words = captioner.processor.tokenizer
    for row, caption in enumerate(captions):
        ids = words(caption, add_special_tokens=False)["input_ids"] + [words.eos_token_id]
        sequence, total = captioner(None, image_tokens[row : row + 1]), 0.0
        with torch.no_grad():
            for token in ids:
                logits = captioner.llava(inputs_embeds=sequence).logits[0, -1]
                total -= logits.log_softmax(0)[token].item()
                embedded = captioner.llava.get_input_embeddings()(torch.tensor([[token]]))
                sequence = torch.cat([sequence, embedded], 1)
        assert tokens[row] == len(ids)
        assert nll[row].item() == pytest.approx(total, rel=1e-4)


def test_captions_are_attended_without_a_mask_and_made_into_tokens_once(
    image_tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flash attention takes no mask; a caption is seen again in every epoch."""
    captioner = LlavaLanguageModel.from_pretrained(LLAVA, PREFIX)
    attend, masks = torch.nn.functional.scaled_dot_product_attention, []
    rendered: list[str] = []
    template = LlavaLanguageModel._template

    def attended(*args: Any, **kwargs: Any) -> torch.Tensor:
        masks.append((kwargs.get("attn_mask"), kwargs.get("is_causal")))
        return attend(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attended)
    monkeypatch.setattr(LlavaLanguageModel, "_template", lambda *args: rendered.append("") or template(*args))
    captions = ["a dog barks", "a bell rings while rain falls and a cow moos", "", "a dog barks"]
    first, _ = captioner.nll(None, image_tokens, captions)
    assert masks and set(masks) == {(None, True)}
    assert len(rendered) == 1 + 2 * 3  # of the prompt, and of each caption and its prompt
    again, _ = captioner.nll(None, image_tokens, captions)
    assert torch.equal(first, again) and len(rendered) == 7


def test_a_template_without_an_end_gets_one(image_tokens: torch.Tensor) -> None:
    """As LLaVA-1.5's, which writes a space after an answer and no end."""
    captioner = LlavaLanguageModel.from_pretrained(LLAVA)
    expected = captioner.answer_ids(QUESTION, "a dog barks")
    assert expected[-1] == captioner.processor.tokenizer.eos_token_id
    template = captioner.processor.chat_template
    captioner.processor.chat_template = template.replace("</s>", " ")
    assert captioner.answer_ids(QUESTION, "a dog barks") == expected
    captioner.processor.chat_template = template.replace("ASSISTANT:", "ANSWER:")
    with pytest.raises(InputError, match="expected a chat template"):
        captioner.answer_ids(QUESTION, "a dog barks")


def test_an_audio_projector_maps_sounds_alone(image_tokens: torch.Tensor, tmp_path: Path) -> None:
    plain = LlavaLanguageModel.from_pretrained(LLAVA)
    projector = copy.deepcopy(plain.llava.model.multi_modal_projector)
    torch.nn.init.normal_(projector.linear_2.weight, std=0.1)
    save_audio_projector(projector, plain.llava.config, tmp_path)
    own = LlavaLanguageModel.from_pretrained(LLAVA, audio_projector=tmp_path)
    audio = torch.randn(4, 128, 96)
    assert torch.equal(own.media(None, image_tokens), plain.media(None, image_tokens))
    assert torch.equal(own.media(audio, image_tokens)[:, :128], projector(audio))
    assert torch.equal(own.media(audio, image_tokens)[:, 128:], plain.media(None, image_tokens))
    with pytest.raises(InputError, match="configs/distillation.yaml"):
        LlavaLanguageModel.from_pretrained(LLAVA, audio_projector="exports/distillation_attentive_ot")
