"""ImageBind's towers from a file of the authors' layout, against torch's own attention."""

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from made_imagebind import layout
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from earshot.errors import InputError
from lightning_modules.networks.front_ends.filterbank import KaldiFilterbank
from lightning_modules.networks.imagebind.towers import ImageBind, TextTower, common_beginnings

WORDS = ("<pad>", "audio", "of", "a", "bell", "rings", "dog", "barks", "red", "on", "<start>", "<end>")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> str:
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 10), ("<end>", 11)]
    )
    folder = str(tmp_path_factory.mktemp("words"))
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = layout(128, 2, 64, 3, len(WORDS), 32)
    made = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
    return {n: v + 1 if "norm" in n and n.endswith("weight") else v for n, v in made.items()}


@pytest.fixture(scope="module")
def encoder(state: dict, words: str, tmp_path_factory: pytest.TempPathFactory) -> ImageBind:
    path = tmp_path_factory.mktemp("imagebind") / "imagebind_small.pth"
    torch.save(state, path)
    return ImageBind.from_checkpoint(path, words)


def their_block(state: dict, prefix: str, tokens: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """A block of the authors' trunk, its attention torch's."""
    part = {n.removeprefix(f"{prefix}."): v for n, v in state.items() if n.startswith(f"{prefix}.")}
    d = tokens.shape[-1]
    attention = nn.MultiheadAttention(d, heads, bias=True, add_bias_kv="attn.bias_k" in part, batch_first=True).eval()
    attention.load_state_dict({n.removeprefix("attn."): v for n, v in part.items() if n.startswith("attn.")})
    norm = lambda x, n: F.layer_norm(x, (d,), part[f"norm_{n}.weight"], part[f"norm_{n}.bias"], 1e-6)  # noqa: E731
    x = norm(tokens, 1)
    tokens = tokens + attention(x, x, x, need_weights=False, attn_mask=mask)[0]
    x = F.gelu(F.linear(norm(tokens, 2), part["mlp.fc1.weight"], part["mlp.fc1.bias"]))
    return tokens + F.linear(x, part["mlp.fc2.weight"], part["mlp.fc2.bias"])


def their_text(state: dict, ids: list[tuple[int, ...]], heads: int = 1, depth: int = 3) -> Tensor:
    """Padded to 77, no beginning shared; pooled where the id is the highest."""
    pre = "modality_preprocessors.text"
    padded = torch.tensor([[*row, *[0] * (77 - len(row))] for row in ids])
    tokens = state[f"{pre}.token_embedding.weight"][padded] + state[f"{pre}.pos_embed"]
    mask = torch.full((77, 77), -math.inf).triu(1)
    for i in range(depth):
        tokens = their_block(state, f"modality_trunks.text.blocks.{i}", tokens, heads, mask)
    last = tokens[torch.arange(len(ids)), padded.argmax(-1)]
    norm = [state[f"modality_heads.text.proj.0.{kind}"] for kind in ("weight", "bias")]
    return F.normalize(F.layer_norm(last, last.shape[-1:], *norm, 1e-6) @ state["modality_heads.text.proj.1.weight"].T)


def their_audio(state: dict, images: Tensor, heads: int = 2, depth: int = 2) -> Tensor:
    pre = "modality_preprocessors.audio"
    tokens = F.conv2d(images, state[f"{pre}.rgbt_stem.proj.weight"], stride=10).flatten(2).transpose(1, 2)
    norm = [state[f"{pre}.rgbt_stem.norm_layer.{kind}"] for kind in ("weight", "bias")]
    tokens = F.layer_norm(tokens, tokens.shape[-1:], *norm, 1e-5)
    tokens = torch.cat((state[f"{pre}.cls_token"].expand(len(tokens), -1, -1), tokens), 1)
    tokens = tokens + state[f"{pre}.pos_embedding_helper.pos_embed"]
    for i in range(depth):
        tokens = their_block(state, f"modality_trunks.audio.blocks.{i}", tokens, heads, None)
    norm = [state[f"modality_heads.audio.0.{kind}"] for kind in ("weight", "bias")]
    return F.layer_norm(tokens[:, 0], tokens.shape[-1:], *norm, 1e-6) @ state["modality_heads.audio.2.weight"].T


TEXTS = [
    "audio of a", "audio of a bell", "audio of a dog", "audio of a dog barks", "audio of a bell rings on", "bell", "",
    "audio of a red bell", "dog barks on a red bell", "audio of a bell rings",
]  # fmt: skip


@torch.no_grad()
def test_shared_and_trimmed_is_padded_and_unshared(encoder: ImageBind, state: dict) -> None:
    expected = their_text(state, encoder.token_ids(TEXTS))
    torch.testing.assert_close(encoder.embed_text(TEXTS), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.embed_text(TEXTS[:1]), expected[:1], atol=1e-5, rtol=0)
    assert (expected[1] - expected[2]).abs().max() > 1e-2


@torch.no_grad()
def test_candidates_cost_about_two_positions_each(encoder: ImageBind, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    states = TextTower.states
    monkeypatch.setattr(
        TextTower, "states", lambda self, ids, *more: encoded.append(ids.numel()) or states(self, ids, *more)
    )
    encoder.embed_text([f"audio of a red bell on a {word}" for word in WORDS[1:10]])
    assert sum(encoded) == 8 + 9 * 2  # once the beginning; of each, a word and the end


def test_common_beginnings() -> None:
    ids = [(9, 1, 2, 3, 8), (9, 1, 2, 4, 8), (9, 1, 2, 5, 6, 8), (9, 8)]
    beginnings, owners = common_beginnings(ids)
    assert [beginnings[owner] for owner in owners] == [(9, 1, 2)] * 3 + [(9,)]


@torch.no_grad()
def test_audio_tower(encoder: ImageBind, state: dict) -> None:
    images = torch.randn(3, 1, 128, 204)
    torch.testing.assert_close(encoder.audio(images), their_audio(state, images), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits(encoder: ImageBind, dtype: torch.dtype) -> None:
    """As of a file of half the size: the features stay float32 until the first layer."""
    sounds, lengths = (torch.randn(2, 40000) * 3000).to(torch.int16), torch.tensor([40000, 20000])
    found = copy.deepcopy(encoder).to(dtype).embed_audio(sounds, lengths)
    assert found.dtype == dtype
    assert torch.cosine_similarity(found.float(), encoder.embed_audio(sounds, lengths)).min() > 0.99


def test_documented_starts(encoder: ImageBind, state: dict) -> None:
    seconds = lambda starts: [x / 16000 for x in starts[0].tolist()]  # noqa: E731
    assert seconds(encoder.clip_starts(torch.tensor([160000]))) == [0, 4, 8]
    encoder.last_clip_at_end = False
    assert seconds(encoder.clip_starts(torch.tensor([160000]))) == pytest.approx([0, 8 / 3, 16 / 3], abs=1 / 16000)
    encoder.last_clip_at_end = True
    assert seconds(encoder.clip_starts(torch.tensor([16000]))) == [0, 0, 0]


def test_starts_in_the_authors_floating_point(encoder: ImageBind) -> None:
    """7.3 s is a little less in binary: the second window begins a sample earlier."""
    samples = torch.tensor([116800, 160000, 16000])
    exact = encoder.clip_starts(samples)
    encoder.truncate_starts = True
    try:
        found = encoder.clip_starts(samples)
    finally:
        encoder.truncate_starts = False
    assert exact.tolist() == [[0, 42400, 84800], [0, 64000, 128000], [0, 0, 0]]
    assert found.tolist() == [[0, 42399, 84799], [0, 64000, 128000], [0, 0, 0]]


@torch.no_grad()
def test_three_clips_of_a_sound(encoder: ImageBind, state: dict) -> None:
    waveform = torch.randn(160000) * 0.1 + 0.05
    found = encoder.features(waveform[None], torch.tensor([160000]))  # (1, 3, 128, 204)
    for number, start in enumerate((0, 4, 8)):
        part = waveform[start * 16000 : (start + 2) * 16000]
        frames, count = KaldiFilterbank()(part[None] - part.mean(), torch.tensor([32000]))
        assert count.item() == 198
        expected = (F.pad(frames[0].T, (0, 6)) + 4.268) / 9.138
        torch.testing.assert_close(found[0, number], expected, atol=1e-4, rtol=0)
    each = F.normalize(their_audio(state, found[0][:, None]), dim=-1)
    expected = F.normalize((20 * each).mean(0), dim=0)
    torch.testing.assert_close(
        encoder.embed_audio(waveform[None], torch.tensor([160000]))[0], expected, atol=1e-4, rtol=0
    )


@torch.no_grad()
def test_a_sound_does_not_depend_on_its_batch_mates(encoder: ImageBind) -> None:
    sounds = (torch.randn(2, 80000) * 3000).to(torch.int16)
    sounds[0, 20000:] = 0
    together = encoder.embed_audio(sounds, torch.tensor([20000, 80000]))
    alone = encoder.embed_audio(sounds[:1, :20000], torch.tensor([20000]))
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)


def test_another_file_is_told(state: dict, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(InputError, match="found no file"):
        ImageBind.from_checkpoint(path, words)
    name = "modality_trunks.audio.blocks.1.attn.bias_k"
    torch.save({n: v for n, v in state.items() if n != name}, path)
    with pytest.raises(InputError, match=f"{name} missing"):
        ImageBind.from_checkpoint(path, words)
    torch.save(state | {"modality_heads.audio.9.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="modality_heads.audio.9.weight left over"):
        ImageBind.from_checkpoint(path, words)
    torch.save(state | {"modality_preprocessors.audio.pos_embedding_helper.pos_embed": torch.zeros(1, 5, 128)}, path)
    with pytest.raises(InputError, match=r"audio.pos_embed \(1, 5, 128\) \(want"):
        ImageBind.from_checkpoint(path, words)
    torch.save(state, path)
    ImageBind.from_checkpoint(path, words)
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().out


@pytest.mark.slow
@torch.no_grad()
def test_full_size_from_a_file_of_the_real_layout(words: str, tmp_path: Path) -> None:
    """768/12/12 and 1024/24/16; each weight is one number repeated, which keeps the file small."""
    shapes = layout(768, 12, 1024, 24, 49408)
    torch.save({name: torch.randn(()).mul(0.02).expand(shape) for name, shape in shapes.items()}, tmp_path / "huge.pth")
    huge = ImageBind.from_checkpoint(tmp_path / "huge.pth", words)
    assert (len(huge.audio.blocks), len(huge.text.blocks)) == (12, 24)
    assert (huge.audio.blocks[0].attn.num_heads, huge.text.blocks[0].attn.num_heads) == (12, 16)
    sound = huge.embed_audio(torch.randn(1, 160000), torch.tensor([160000]))
    text = huge.embed_text(["audio of a bell"])
    assert sound.shape == text.shape == (1, 1024)
    assert sound.norm().item() == pytest.approx(1, abs=1e-4) == text.norm().item()
