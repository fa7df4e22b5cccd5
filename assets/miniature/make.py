"""Make the small pretrained models of the miniature, end to end: `python assets/miniature/make.py`.

Four steps, each measured on clips that it did not train on; scores go to scores.json, beside the weights:

    vision    CLIP's vision tower, on what and which colour each patch shows
    audio     the CAV-MAE audio encoder, on weak labels and on matching the pictures
    language  the Llama of LLaVA, on captions of what is SEEN and on text about what things sound like
    prefix    the 16 soft tokens, on 16 pictures with captions of what is HEARD

No step sees a pair of a sound and a caption. Clips come from generators of their own, so none is in a corpus.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from peft import PeftModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.llava.language_model import QUESTION, LlavaLanguageModel
from lightning_modules.networks.llava.soft_prefix import save_prefix, trainable_prefix
from miniature import vocabulary, world
from miniature.sprites import IMAGE_SIZE, PATCH_SIZE, draw
from miniature.vocabulary import COLOURS, SCENES, SILENT, SOUNDING, THINGS, a
from miniature.world import AUDIOCAPS, AUDIOSET

SEEN = (*SOUNDING, *SILENT)
HEARD = tuple(name for name, thing in THINGS.items() if thing.heard)
GRID = IMAGE_SIZE // PATCH_SIZE
VISUAL_QUESTIONS = (
    "What can be seen in this scene ?", "Describe the scene .", "What is in this picture ?",
    "What can you see ?", "Describe the picture .", "What can be seen in the picture ?",
)  # fmt: skip
SOUND_QUESTIONS = (
    "What sounds can the things in this picture make ?", "What sound can the things in this scene make ?",
    "What sound can be made in this picture ?",
)  # fmt: skip
NUM_PREFIX_TOKENS = 16
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: "
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}<image>\n"
    "{% else %}{{ item['text'] }} {% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A short warm-up, then cosine decay to a tenth."""
    warm = max(1, steps // 20)
    shape = lambda s: min((s + 1) / warm, 0.1 + 0.45 * (1 + np.cos(np.pi * s / steps)))  # noqa: E731
    return torch.optim.lr_scheduler.LambdaLR(optimizer, shape)


def train(parameters: list[nn.Parameter], losses: Iterator[Tensor], steps: int, lr: float, name: str) -> None:
    """Plain training: AdamW, clipped gradients, a line every hundred steps."""
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=0.01)
    scheduler, start = schedule(optimizer, steps), time.time()
    for step in range(steps):
        loss = next(losses)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        if step % 100 == 99 or step == steps - 1:
            print(f"{name} {step + 1}/{steps}  loss {loss.item():.4f}  {time.time() - start:.0f} s", flush=True)


def clips(purpose: str, style: world.Style) -> Iterator[tuple[world.Clip, np.random.Generator]]:
    """Endless clips of a purpose's own, each with a generator for its picture and sound."""
    index = 0
    while True:
        yield (
            world.make_clip(world.generator(1, purpose, index, "clip"), style),
            world.generator(1, purpose, index, "media"),
        )
        index += 1


def probe_exact_sets(tokens: Tensor, present: Tensor, fit: int) -> float:
    """Share of clips whose whole set of things a linear probe of their mean tokens names (threshold 0.5).

    The probe is fitted by least squares on the first `fit` clips and scored on the others: a score that needs no
    weights but the encoder's, so that anybody can measure what is shipped.
    """
    x = F.pad(tokens.double(), (0, 1), value=1.0)  # (clips, D + 1)
    weights = torch.linalg.lstsq(x[:fit], present[:fit].double()).solution
    return ((x[fit:] @ weights > 0.5) == present[fit:].bool()).all(1).double().mean().item()


# ---------------------------------------------------------------------------------------------- vision


def make_llava(num_words: int) -> LlavaForConditionalGeneration:
    """LLaVA-1.5's classes and structure, small: width 96 and 128, 64 image tokens, hidden state of layer -2."""
    vision = CLIPVisionConfig(
        hidden_size=96, intermediate_size=384, num_hidden_layers=5, num_attention_heads=4,
        image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, projection_dim=96,
    )  # fmt: skip
    rows = 8 * (-(-(num_words + NUM_PREFIX_TOKENS) // 8))  # more rows than words, as LLaVA-1.5 has
    text = LlamaConfig(
        vocab_size=rows, hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=SPECIAL.index("<image>"), vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_seq_length=GRID * GRID,
    )  # fmt: skip
    config.pad_token_id, config.bos_token_id, config.eos_token_id = 0, 1, 2
    return LlavaForConditionalGeneration(config)


def pixel_values(pictures: np.ndarray, processor: CLIPImageProcessorPil) -> Tensor:
    """(B, 64, 64, 3) uint8 to what the vision tower takes, (B, 3, 64, 64)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (processor.image_mean, processor.image_std))
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / std


def image_tokens(tower: nn.Module, pictures: np.ndarray, processor: CLIPImageProcessorPil) -> Tensor:
    """What LLaVA hands on: hidden state -2 without the class token, (B, 64, 96)."""
    return tower(pixel_values(pictures, processor), output_hidden_states=True).hidden_states[-2][:, 1:]


def labelled_pictures(stream: Iterator, count: int) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
    """Pictures with, for each patch, the thing (or the scene) and colour it shows, and the set of things."""
    pictures = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    thing = torch.zeros(count, GRID, GRID, dtype=torch.long)
    colour = torch.zeros(count, GRID, GRID, dtype=torch.long)
    present = torch.zeros(count, len(SEEN))
    for i in range(count):
        clip, rng = next(stream)
        thing[i] = len(SEEN) + SCENES.index(clip.scene)
        placed = []
        for name, shade, quadrant in clip.placed:
            row, column = (
                4 * (quadrant // 2) + int(rng.integers(2)),
                4 * (quadrant % 2) + int(rng.integers(2)),
            )
            placed.append((name, shade, row, column))
            thing[i, row : row + 3, column : column + 3] = SEEN.index(name)
            colour[i, row : row + 3, column : column + 3] = 1 + list(COLOURS).index(shade)
            present[i, SEEN.index(name)] = 1
        pictures[i] = draw(clip.scene, placed, rng)
    return pictures, thing.flatten(1), colour.flatten(1), present


def make_vision(llava: LlavaForConditionalGeneration, processor: CLIPImageProcessorPil) -> dict:
    """Train the vision tower on the layer that is handed on, then fold centring and scaling into its weights.

    Without the loss on the pooled tokens of that very layer, patches of the ground carry the scene alone and an
    audio encoder has nothing to match there. Folded, the tokens have mean 0 and one
    known scale over the world, so that costs between token sets have one too.
    """
    tower = llava.model.vision_tower
    things, colours = nn.Linear(96, len(SEEN) + len(SCENES)), nn.Linear(96, 1 + len(COLOURS))
    pooled = nn.Linear(96, len(SEEN))
    stream = clips("vision", AUDIOCAPS)

    def losses() -> Iterator[Tensor]:
        while True:
            pictures, thing, colour, present = labelled_pictures(stream, 64)
            tokens = image_tokens(tower, pictures, processor)
            yield (
                F.cross_entropy(things(tokens).flatten(0, 1), thing.flatten())
                + F.cross_entropy(colours(tokens).flatten(0, 1), colour.flatten())
                + 5 * F.binary_cross_entropy_with_logits(pooled(tokens.mean(1)), present)
            )

    parameters = [*tower.parameters(), *things.parameters(), *colours.parameters(), *pooled.parameters()]
    train(parameters, losses(), 500, 1e-3, "vision")

    pictures, thing, _, _ = labelled_pictures(clips("vision held out", AUDIOCAPS), 1000)
    with torch.no_grad():
        tokens = image_tokens(tower, pictures, processor)
        scores = {"patches_named": (things(tokens).argmax(-1) == thing).float().mean().item()}
        mean, scale = tokens.mean((0, 1)), tokens.std()
        handed_on = tower.encoder.layers[:-1]
        branches = [m for layer in handed_on for m in (layer.self_attn.out_proj, layer.mlp.fc2)]
        for module in (tower.pre_layrnorm, *branches):
            module.weight /= scale
            module.bias /= scale
        handed_on[-1].mlp.fc2.bias -= mean / scale
        folded = image_tokens(tower, pictures, processor)
        scores["folding_error"] = (folded - (tokens - mean) / scale).abs().max().item()
    return scores | vision_scores(llava, processor)


@torch.no_grad()
def vision_scores(llava: LlavaForConditionalGeneration, processor: CLIPImageProcessorPil) -> dict:
    """What a linear probe reads from the mean image tokens of 500 pictures, fitted on 1000 others."""
    pictures, _, _, present = labelled_pictures(clips("vision probe", AUDIOCAPS), 1500)
    tokens = image_tokens(llava.model.vision_tower, pictures, processor)
    return {
        "probe_exact_sets": probe_exact_sets(tokens.mean(1), present, 1000),
        "token_deviation": tokens.std().item(),
    }


# ----------------------------------------------------------------------------------------------- audio


@torch.no_grad()
def sounds_and_pictures(
    purpose: str, count: int, encoder: CavMaeEncoder, llava: nn.Module, processor: CLIPImageProcessorPil
) -> tuple[Tensor, Tensor, Tensor]:
    """Filterbanks (count, 256, 128), weak labels, and the mean image tokens of one frame of each clip."""
    stream, features, labels, means = clips(purpose, AUDIOSET), [], torch.zeros(count, len(HEARD)), []
    for start in range(0, count, 100):
        waveforms, pictures = [], []
        for i in range(start, start + 100):
            clip, rng = next(stream)
            labels[i, [HEARD.index(event.name) for event in clip.events]] = 1
            waveforms.append(world.sound(clip, AUDIOSET, rng))
            pictures.append(world.picture(clip, rng))
        sound = torch.from_numpy(np.stack(waveforms))
        features.append(encoder.features(sound, torch.full((100,), sound.shape[1])).half())
        means.append(image_tokens(llava.model.vision_tower, np.stack(pictures), processor).mean(1))
    return torch.cat(features), labels, torch.cat(means)


def make_audio(llava: LlavaForConditionalGeneration, processor: CLIPImageProcessorPil) -> tuple[CavMaeEncoder, dict]:
    """Train the audio encoder on AudioSet's kind of data: weak labels, and which picture belongs to which sound."""
    encoder = CavMaeEncoder(num_frames=256, width=96, depth=4, num_heads=4, output_dim=96)
    projection, encoder.projection = (
        encoder.projection,
        nn.Identity(),
    )  # the map to image tokens is not pretrained
    tagger, to_audio, to_image = nn.Linear(96, len(HEARD)), nn.Linear(96, 64), nn.Linear(96, 64)

    features, labels, means = sounds_and_pictures("audio", 10000, encoder, llava, processor)
    generator = torch.Generator().manual_seed(0)

    def pooled(batch: Tensor) -> Tensor:
        return encoder(batch).mean(1)  # (B, 96)

    def losses() -> Iterator[Tensor]:
        while True:
            pick = torch.randint(len(features), (32,), generator=generator)
            sounds = pooled(encoder.augment(features[pick].float(), generator))
            logits = F.normalize(to_audio(sounds)) @ F.normalize(to_image(means[pick])).T / 0.1
            match = (F.cross_entropy(logits, torch.arange(32)) + F.cross_entropy(logits.T, torch.arange(32))) / 2
            yield 10 * F.binary_cross_entropy_with_logits(tagger(sounds), labels[pick]) + 0.2 * match

    parameters = [p for m in (encoder, tagger, to_audio, to_image) for p in m.parameters()]
    train(parameters, losses(), 900, 1e-3, "audio")

    encoder.projection = projection
    return encoder, audio_scores(encoder, llava, processor)


@torch.no_grad()
def audio_scores(encoder: CavMaeEncoder, llava: nn.Module, processor: CLIPImageProcessorPil) -> dict:
    """What a linear probe reads from the mean tokens of 500 sounds, fitted on 1000 others."""
    features, labels, _ = sounds_and_pictures("audio held out", 1500, encoder, llava, processor)
    tokens = torch.cat([encoder(chunk.float()).mean(1) for chunk in features.split(100)])
    return {"probe_exact_sets": probe_exact_sets(tokens, labels, 1000)}


# -------------------------------------------------------------------------------------------- language


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, for every word that the world's people use."""
    texts = [
        QUESTION,
        *VISUAL_QUESTIONS,
        "USER : ASSISTANT : name the things . what sounds do they make ? , answer",
    ]
    texts += ["what does a sound like ? what do and sound like ? concisely while as on the is an loudly softly nothing"]
    texts += [" ".join([*COLOURS, *SCENES])]
    for thing in THINGS.values():
        texts.append(f"{thing.seen or ''} {thing.heard or ''} {' '.join(thing.verbs or ())}")
    words = sorted({word for text in texts for word in text.lower().split()})
    model = models.WordLevel({word: i for i, word in enumerate((*SPECIAL, *words))}, unk_token="<unk>")
    inner = Tokenizer(model)
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"}, padding_side="left",
    )  # fmt: skip


def make_processor() -> LlavaProcessor:
    """The small LLaVA's tokenizer, picture settings and chat template."""
    square = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    images = CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=square)
    return LlavaProcessor(
        images, tokenizer(), patch_size=PATCH_SIZE, vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE, num_additional_image_tokens=1,
    )  # fmt: skip


def dialogue(clip: world.Clip, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Turns of question and answer about a picture (the first turn's question comes after it).

    50% ask what is seen; 15% what the things seen may sound like, answered, as LLaVA does, with what is seen in
    it; 15% what some things sound like, whatever the picture; 20% name the things, then their sounds.
    """
    kind = rng.random()
    if kind < 0.5:
        return [(str(rng.choice(VISUAL_QUESTIONS)), world.seen_caption(clip, rng))]
    if kind < 0.65:
        return [(str(rng.choice(SOUND_QUESTIONS)), world.seen_caption(clip, rng, sounding=True))]
    if kind < 0.8:
        names = [str(name) for name in rng.choice(SOUNDING, int(rng.integers(1, 4)), replace=False)]
        things = " and ".join(a(str(THINGS[name].seen)) for name in names)
        return [(f"What {'does' if len(names) == 1 else 'do'} {things} sound like ?", sounds_of(names, rng))]
    seen = [clip.placed[i][0] for i in rng.permutation(len(clip.placed))]
    things = " and ".join(a(str(THINGS[name].seen)) for name in seen)
    return [("Name the things .", things), ("What sounds do they make ?", sounds_of(seen, rng))]


def sounds_of(names: list[str], rng: np.random.Generator) -> str:
    """What people say of things that sound; silent things go unsaid."""
    return world.say_heard([(name, "") for name in names if name in SOUNDING], rng)


def encode(words: PreTrainedTokenizerFast, turns: list[tuple[str, str]]) -> tuple[list[int], list[int]]:
    """Token ids after the image token of a dialogue, and the same with everything but the answers masked (-100)."""
    ids: list[int] = []
    labels: list[int] = []
    for turn, (question, answer) in enumerate(turns):
        prompt = words.encode(f"{'' if turn == 0 else 'USER: '}{question} ASSISTANT:", add_special_tokens=False)
        reply = words.encode(f"{answer}</s>", add_special_tokens=False)
        ids += prompt + reply
        labels += [-100] * len(prompt) + reply
    return ids, labels


def embedded_batch(
    llava: nn.Module, media: Tensor, dialogues: list[tuple[list[int], list[int]]], before: list[int]
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
    """Media tokens (B, N, D) as they are, half of the time; else shuffled, or each one twice."""
    kind, number = rng.random(), media.shape[1]
    if kind < 0.25:
        return media[:, torch.from_numpy(rng.permutation(number))]
    return media.repeat_interleave(2, 1) if kind < 0.5 else media


def make_language(llava: LlavaForConditionalGeneration, processor: LlavaProcessor) -> dict:
    """Train Llama and projector on the frozen vision tower.

    Half the batches shuffle the image tokens, or repeat each one, so that neither their order nor their number
    is relied on (an audio encoder gives another order and number).
    """
    words, stream = processor.tokenizer, clips("language", AUDIOCAPS)
    samples, tokens = [], []
    for _ in range(100):
        batch = [next(stream) for _ in range(100)]
        pictures = np.stack([world.picture(clip, rng) for clip, rng in batch])
        with torch.no_grad():
            tokens.append(image_tokens(llava.model.vision_tower, pictures, processor.image_processor).half())
        samples += batch
    memory = torch.cat(tokens)  # (10000, 64, 96)
    rng = np.random.default_rng(0)
    before = words.encode("<s>USER:", add_special_tokens=False)

    def losses() -> Iterator[Tensor]:
        while True:
            pick = rng.integers(0, len(samples), 48)
            media = memory[pick].float()
            media = varied(media, rng)
            dialogues = [encode(words, dialogue(samples[i][0], rng)) for i in pick]
            projected = llava.model.multi_modal_projector(media)
            inputs, mask, labels = embedded_batch(llava, projected, dialogues, before)
            yield llava(inputs_embeds=inputs, attention_mask=mask, labels=labels).loss

    trained = [*llava.model.language_model.parameters(), *llava.model.multi_modal_projector.parameters()]
    trained += [*llava.lm_head.parameters()]
    train(trained, losses(), 750, 1.5e-3, "language")
    return language_scores(llava, processor)


@torch.no_grad()
def answers(
    llava: nn.Module, processor: LlavaProcessor, purpose: str, count: int, question: str, prefix: list[int]
) -> tuple[list[world.Clip], list[str]]:
    """Greedy answers about held-out pictures, with prefix ids after the picture."""
    words, stream = processor.tokenizer, clips(purpose, AUDIOCAPS)
    batch = [next(stream) for _ in range(count)]
    pictures = np.stack([world.picture(clip, rng) for clip, rng in batch])
    base = (llava.get_base_model() if isinstance(llava, PeftModel) else llava).model
    media = base.multi_modal_projector(image_tokens(base.vision_tower, pictures, processor.image_processor))
    before = words.encode("<s>USER:", add_special_tokens=False)
    after = prefix + words.encode(f"{question} ASSISTANT:", add_special_tokens=False)
    inputs, mask, _ = embedded_batch(llava, media, [(after, after)] * count, before)
    out = llava.generate(inputs_embeds=inputs, attention_mask=mask, max_new_tokens=40, do_sample=False)
    return [clip for clip, _ in batch], words.batch_decode(out, skip_special_tokens=True)


def language_scores(llava: nn.Module, processor: LlavaProcessor) -> dict:
    """Share of 200 held-out pictures whose caption names exactly the things seen, and no wrong colour or scene."""
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


# ---------------------------------------------------------------------------------------------- prefix


def verb_recall(held_out: list[world.Clip], captions: list[str]) -> float:
    """Share of the things sounding in the clips whose verb stands in the caption."""
    hits = [
        any(verb in caption.split() for verb in THINGS[event.name].verbs or ())
        for clip, caption in zip(held_out, captions)
        for event in clip.events
    ]
    return float(np.mean(hits))


def visual_share(captions: list[str]) -> float:
    """Share of the captions with a word for something that is only seen."""
    visual = set(vocabulary.word_list()["visual_words"])
    return float(np.mean([bool(visual & set(caption.split())) for caption in captions]))


def make_prefix(llava: LlavaForConditionalGeneration, processor: LlavaProcessor) -> tuple[nn.Module, dict]:
    """Tune 16 soft tokens after the picture, on 16 pictures with captions of what is heard (DALI, section 3.1)."""
    stream = clips("prefix", AUDIOCAPS)
    batch = [next(stream) for _ in range(16)]
    pictures = np.stack([world.picture(clip, rng) for clip, rng in batch])
    captions = [world.heard_caption(clip, AUDIOCAPS, rng) for clip, rng in batch]
    tower = llava.model.vision_tower
    with torch.no_grad():
        tokens = image_tokens(tower, pictures, processor.image_processor)  # (16, 64, 96)
    torch.manual_seed(0)
    model = trainable_prefix(llava, processor.tokenizer, NUM_PREFIX_TOKENS)
    ids = model.peft_config["default"].token_indices
    captioner = LlavaLanguageModel(llava, processor, ids)

    def losses() -> Iterator[Tensor]:
        while True:
            nll, counted = captioner.nll(None, tokens, captions, QUESTION)
            yield nll.sum() / counted.sum()

    train([p for p in model.parameters() if p.requires_grad], losses(), 150, 3e-2, "prefix")
    llava.model.vision_tower = tower  # which the captioner does without
    return model, prefix_scores(llava, processor, []) | prefix_scores(model, processor, ids)


def prefix_scores(llava: nn.Module, processor: LlavaProcessor, prefix: list[int]) -> dict:
    """Verb recall and share of visual captions on 200 held-out pictures, with or without the prefix."""
    held_out, captions = answers(llava, processor, "prefix held out", 200, QUESTION, prefix)
    name = "with_prefix" if prefix else "without_prefix"
    return {
        f"verb_recall_{name}": verb_recall(held_out, captions),
        f"visual_captions_{name}": visual_share(captions),
    }


def record(output: Path, step: str, scores: dict) -> None:
    """Print a step's scores and put them into scores.json."""
    path = output / "scores.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {step: scores}, indent=2) + "\n")
    print(step, json.dumps(scores), flush=True)


def run(name: str, about: str | None, make: Callable[[], tuple[list[Any], dict]]) -> None:
    """The command of a script that makes one model: what `make` returns is saved in a folder `name`, and its scores."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the weights")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    start = time.process_time()
    parts, scores = make()
    for part in parts:
        part.save_pretrained(arguments.output / name)
    record(arguments.output, name, {**scores, "seconds": round(time.process_time() - start)})


def main() -> None:
    """Run the named steps (all by default); each reads what the ones before saved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", default=["vision", "audio", "language", "prefix"])
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the weights")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    processor = make_processor()
    for step in arguments.steps:
        start = time.time()
        torch.manual_seed(0)
        if step == "vision":
            llava = make_llava(len(processor.tokenizer))
            scores = make_vision(llava, processor.image_processor)
        else:
            llava = LlavaForConditionalGeneration.from_pretrained(output / "llava")
        llava.requires_grad_(True)
        if step == "audio":
            encoder, scores = make_audio(llava, processor.image_processor)
            encoder.save_pretrained(output / "cav_mae")
        elif step == "language":
            fresh = make_llava(len(processor.tokenizer))
            fresh.model.vision_tower = llava.model.vision_tower.requires_grad_(False)
            llava = fresh
            scores = make_language(llava, processor)
        elif step == "prefix":
            prefixed, scores = make_prefix(llava, processor)
            prefixed.peft_config["default"].base_model_name_or_path = "assets/miniature/llava"
            save_prefix(prefixed, output / "prefix")
        if step in ("vision", "language"):
            llava.save_pretrained(output / "llava")
            processor.save_pretrained(output / "llava")
        record(output, step, {**scores, "seconds": round(time.time() - start)})
    (output / "vocabulary.json").write_text(json.dumps(vocabulary.word_list(), indent=2) + "\n")


if __name__ == "__main__":
    main()
