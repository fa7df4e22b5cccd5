"""The small LLaVA: LLaVA-1.5's classes and structure, a word-level tokenizer, and training in two steps."""

from pathlib import Path

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

from lightning_modules.networks.llava.language_model import QUESTION
from miniature.make.language import VISUAL_QUESTIONS, train_language
from miniature.make.vision import GRID, train_vision
from miniature.sprites import IMAGE_SIZE, PATCH_SIZE
from miniature.vocabulary import COLOURS, SCENES, THINGS

NUM_PREFIX_TOKENS = 16
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: "
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}<image>\n"
    "{% else %}{{ item['text'] }} {% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def make_llava(num_words: int) -> LlavaForConditionalGeneration:
    """Width 96 and 128, 64 image tokens, hidden state of layer -2."""
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


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, for every word of the world's captions and of the questions."""
    texts = [
        QUESTION,
        *VISUAL_QUESTIONS,
        "USER : ASSISTANT : name the things . what sounds do they make ? , answer",
        "what does a sound like ? what do and sound like ? concisely while as on the is an loudly softly nothing",
        " ".join([*COLOURS, *SCENES]),
        *(f"{thing.seen or ''} {thing.heard or ''} {' '.join(thing.verbs or ())}" for thing in THINGS.values()),
    ]
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
    """The small LLaVA's tokenizer, image settings and chat template."""
    square = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    images = CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=square)
    return LlavaProcessor(
        images, make_tokenizer(), patch_size=PATCH_SIZE, vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE, num_additional_image_tokens=1,
    )  # fmt: skip


def make(root: Path) -> dict[str, float]:
    """Train the vision tower; then, on the frozen tower, the projector and the language model."""
    processor = make_processor()
    llava = make_llava(len(processor.tokenizer))
    scores = train_vision(llava.model.vision_tower, processor.image_processor)
    llava.model.vision_tower.requires_grad_(False)
    scores |= train_language(llava, processor)
    llava.save_pretrained(root / "llava")
    processor.save_pretrained(root / "llava")
    return scores
