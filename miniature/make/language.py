"""The language model of the small LLaVA, trained on what is SEEN and on text about what things sound like."""

from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

from miniature import world
from miniature.make.training import clips, hundreds, train
from miniature.make.vision import SEEN, image_tokens, pictures
from miniature.vocabulary import COLOURS, SCENES, SOUNDING, THINGS, a
from miniature.world import AUDIOCAPS

VISUAL_QUESTIONS = (
    "What can be seen in this scene ?", "Describe the scene .", "What is in this picture ?",
    "What can you see ?", "Describe the picture .", "What can be seen in the picture ?",
)  # fmt: skip
SOUND_QUESTIONS = (
    "What sounds can the things in this picture make ?", "What sound can the things in this scene make ?",
    "What sound can be made in this picture ?",
)  # fmt: skip


def dialogue(clip: world.Clip, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Questions and answers about an image, which comes before the first question.

    50% ask what is seen; 15% what the things seen may sound like, answered, as LLaVA does, with what is seen in
    it; 15% what some things sound like, whatever the image; 20% name the things, then their sounds.
    """
    kind = rng.random()
    if kind < 0.5:
        return [(str(rng.choice(VISUAL_QUESTIONS)), world.seen_caption(clip, rng))]
    if kind < 0.65:
        return [(str(rng.choice(SOUND_QUESTIONS)), world.seen_caption(clip, rng, sounding=True))]
    if kind < 0.8:
        return [asked(rng)]
    seen = [clip.placed[i][0] for i in rng.permutation(len(clip.placed))]
    things = " and ".join(a(str(THINGS[name].seen)) for name in seen)
    return [("Name the things .", things), ("What sounds do they make ?", sounds_of(seen, rng))]


def asked(rng: np.random.Generator) -> tuple[str, str]:
    """A question about one to three things, in text alone, and what they sound like."""
    names = [str(name) for name in rng.choice(SOUNDING, int(rng.integers(1, 4)), replace=False)]
    things = " and ".join(a(str(THINGS[name].seen)) for name in names)
    return f"What {'does' if len(names) == 1 else 'do'} {things} sound like ?", sounds_of(names, rng)


def sounds_of(names: list[str], rng: np.random.Generator) -> str:
    """A caption of the sounds that things make; silent things are left out."""
    return world.say_heard([(name, "") for name in names if name in SOUNDING], rng)


def encode(tokenizer: PreTrainedTokenizerFast, turns: list[tuple[str, str]]) -> tuple[list[int], list[int]]:
    """Token ids after the image token of a dialogue, and the same with everything but the answers masked (-100)."""
    ids: list[int] = []
    labels: list[int] = []
    for turn, (question, answer) in enumerate(turns):
        prompt = tokenizer.encode(f"{'' if turn == 0 else 'USER: '}{question} ASSISTANT:", add_special_tokens=False)
        reply = tokenizer.encode(f"{answer}</s>", add_special_tokens=False)
        ids += prompt + reply
        labels += [-100] * len(prompt) + reply
    return ids, labels


def embedded_batch(
    llava: Any, media: Tensor, dialogues: list[tuple[list[int], list[int]]], before: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings (B, L, 128), attention mask and labels of dialogues about already embedded media (B, N, 128)."""
    longest = max(len(ids) for ids, _ in dialogues)
    pad = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in dialogues])
    labels = torch.tensor([answers + [-100] * (longest - len(answers)) for _, answers in dialogues])
    embed = llava.get_input_embeddings()
    head = embed(torch.tensor(before)).expand(len(dialogues), -1, -1)
    inputs = torch.cat([head, media, embed(pad)], 1)
    ignored = torch.full((len(dialogues), head.shape[1] + media.shape[1]), -100)
    mask = torch.cat([torch.ones_like(ignored), (pad != 0).long()], 1)
    return inputs, mask, torch.cat([ignored, labels], 1)


def varied(media: Tensor, rng: np.random.Generator) -> Tensor:
    """Media tokens (B, N, D) unchanged in half of the calls; else shuffled, or each one twice."""
    kind, number = rng.random(), media.shape[1]
    if kind < 0.25:
        return media[:, torch.from_numpy(rng.permutation(number))]
    return media.repeat_interleave(2, 1) if kind < 0.5 else media


def train_language(llava: LlavaForConditionalGeneration, processor: LlavaProcessor) -> dict[str, float]:
    """Train the language model and the projector on the frozen vision tower.

    Half the batches shuffle the image tokens, or repeat each one, so that the model relies neither on their order nor
    on their number, which differ in an audio encoder.
    """
    tokenizer, samples, tokens = processor.tokenizer, [], []
    for batch in hundreds("language", AUDIOCAPS, 10000):
        with torch.no_grad():
            tokens.append(image_tokens(llava.model.vision_tower, pictures(batch), processor.image_processor).half())
        samples += [clip for clip, _ in batch]
    cached = torch.cat(tokens)  # (10000, 64, 96)
    rng = np.random.default_rng(0)
    before = tokenizer.encode("<s>USER:", add_special_tokens=False)

    def loss() -> Tensor:
        pick = rng.integers(0, len(samples), 48)
        media = varied(cached[pick].float(), rng)
        dialogues = [encode(tokenizer, dialogue(samples[i], rng)) for i in pick]
        projected = llava.model.multi_modal_projector(media)
        inputs, mask, labels = embedded_batch(llava, projected, dialogues, before)
        return llava(inputs_embeds=inputs, attention_mask=mask, labels=labels).loss

    trained = (llava.model.language_model, llava.model.multi_modal_projector, llava.lm_head)
    train(trained, loss, 750, 1.5e-3, "language")
    return language_scores(llava, processor)


@torch.no_grad()
def answers(
    llava: Any, processor: LlavaProcessor, purpose: str, count: int, question: str, prefix: list[int]
) -> tuple[list[world.Clip], list[str]]:
    """Greedy answers of LLaVA, or of an adapter over it, about held-out images, with prefix ids after the image."""
    tokenizer, batch = processor.tokenizer, list(islice(clips(purpose, AUDIOCAPS), count))
    base = (llava.get_base_model() if prefix else llava).model
    media = base.multi_modal_projector(image_tokens(base.vision_tower, pictures(batch), processor.image_processor))
    before = tokenizer.encode("<s>USER:", add_special_tokens=False)
    after = prefix + tokenizer.encode(f"{question} ASSISTANT:", add_special_tokens=False)
    inputs, mask, _ = embedded_batch(llava, media, [(after, after)] * count, before)
    out = llava.generate(inputs_embeds=inputs, attention_mask=mask, max_new_tokens=40, do_sample=False)
    return [clip for clip, _ in batch], tokenizer.batch_decode(out, skip_special_tokens=True)


def language_scores(llava: Any, processor: LlavaProcessor) -> dict[str, float]:
    """Share of 200 held-out images whose caption names exactly the things seen, and no wrong colour or scene."""
    held_out, texts = answers(llava, processor, "language held out", 200, VISUAL_QUESTIONS[0], [])
    nouns = {str(THINGS[name].seen) for name in SEEN}
    exact = []
    for clip, text in zip(held_out, texts, strict=True):
        said = text.split()
        truth = [str(THINGS[name].seen) for name, _, _ in clip.placed]
        visible = {clip.scene, *(colour for _, colour, _ in clip.placed)}
        named = sorted(word for word in said if word in nouns) == sorted(truth)
        exact.append(named and {word for word in said if word in (*COLOURS, *SCENES)} <= visible)
    return {"exact_visual_captions": float(np.mean(exact))}
