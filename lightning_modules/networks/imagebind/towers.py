"""ImageBind's audio and text towers: audio and text in one space (Girdhar et al., CVPR 2023).

The weights are licensed CC BY-NC-SA 4.0. The vision trunk is not needed and not read.
"""

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer

from lightning_modules.networks.authors_checkpoint import check_tensors
from lightning_modules.networks.front_ends.filterbank import KaldiFilterbank
from lightning_modules.networks.imagebind.checkpoint import WHAT, read_towers
from lightning_modules.networks.pretrained import pretrained
from lightning_modules.networks.vit import Attention, Block

LICENCE = "ImageBind's weights are licensed CC BY-NC-SA 4.0: for non-commercial use, shared alike, with attribution"
HEAD_WIDTH = 64  # of both towers' attention
EPS = 1e-6
AUDIO_MEAN, AUDIO_DEVIATION = -4.268, 9.138
CLIP_SECONDS, CLIP_FRAMES, PADDED_FRAMES = 2.0, 198, 204
KERNEL, STRIDE = 16, 10


class BiasedAttention(Attention):
    """Attention with a learned key and value beside the tokens' own (`add_bias_kv` of torch)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__(width, num_heads)
        self.bias_k = nn.Parameter(torch.zeros(1, 1, width))
        self.bias_v = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        query, key, value = self.qkv(tokens).chunk(3, -1)
        key, value = (
            torch.cat((own, extra.expand(len(tokens), 1, -1)), 1)
            for own, extra in ((key, self.bias_k), (value, self.bias_v))
        )
        parts = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (query, key, value))
        return self.proj(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class CausalAttention(Attention):
    """Causal attention; the keys and values of earlier tokens may be given."""

    def attend(
        self, tokens: Tensor, mask: Tensor, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend.

        Args:
            tokens: (B, L, D).
            mask: bool, (B or 1, 1, L, P + L), true where a token may look.
            past: keys and values of P tokens before, (B, heads, P, D / heads) each.

        Returns:
            (B, L, D), and the keys and values of these tokens.
        """
        parts = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts  # (B, heads, L, D / heads)
        keys, values = (key, value) if past is None else (torch.cat(pair, 2) for pair in zip(past, (key, value)))
        attended = F.scaled_dot_product_attention(query, keys, values, mask)
        return self.proj(attended.transpose(1, 2).flatten(2)), (key, value)


class AudioTower(nn.Module):
    """A filterbank image in overlapping patches through a Transformer; the class token's state."""

    def __init__(self, width: int = 768, depth: int = 12, embedding_dim: int = 1024, num_mel_bins: int = 128) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, KERNEL, STRIDE, bias=False)
        self.stem_norm = nn.LayerNorm(width)
        rows, columns = ((size - KERNEL) // STRIDE + 1 for size in (num_mel_bins, PADDED_FRAMES))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + rows * columns, width))
        self.blocks = nn.ModuleList(Block(width, width // HEAD_WIDTH, 4.0, EPS, BiasedAttention) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.head = nn.Linear(width, embedding_dim, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, mel bins, frames) to (B, D), not of norm 1."""
        images = images.to(self.proj.weight.dtype)
        tokens = self.stem_norm(self.proj(images).flatten(2).transpose(1, 2))  # (B, N, width)
        tokens = torch.cat((self.cls_token.expand(len(tokens), -1, -1), tokens), 1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, 0]))


class TextTower(nn.Module):
    """A causal Transformer; the state of a text's last token."""

    def __init__(
        self, width: int = 1024, depth: int = 24, embedding_dim: int = 1024, vocab_size: int = 49408, context: int = 77
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, context, width))
        self.blocks = nn.ModuleList(Block(width, width // HEAD_WIDTH, 4.0, EPS, CausalAttention) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.head = nn.Linear(width, embedding_dim, bias=False)

    def states(
        self, ids: Tensor, past: list[tuple[Tensor, Tensor]] | None = None, past_lengths: Tensor | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """States (B, L, width) of tokens (B, L), and their keys and values in each layer.

        Args:
            ids: padded at the end with anything.
            past: of each layer, keys and values of tokens before, padded at the end.
            past_lengths: (B,), how many of them are no padding.
        """
        place = torch.arange(ids.shape[1], device=ids.device)
        mask = (place[:, None] >= place)[None, None]  # (1, 1, L, L)
        if past is not None:
            assert past_lengths is not None
            before = torch.arange(past[0][0].shape[2], device=ids.device) < past_lengths[:, None]  # (B, P)
            before = before[:, None, None].expand(-1, 1, len(place), -1)
            mask = torch.cat((before, mask.expand(len(ids), -1, -1, -1)), -1)
            place = (past_lengths[:, None] + place).clamp(max=self.pos_embed.shape[1] - 1)  # (B, L)
        tokens = self.token_embedding(ids) + self.pos_embed[0, place]
        kept = []
        block: Any
        for layer, block in enumerate(self.blocks):
            attended, own = block.attn.attend(block.norm1(tokens), mask, None if past is None else past[layer])
            tokens = tokens + attended
            tokens = tokens + block.mlp(block.norm2(tokens))
            kept.append(own)
        return tokens, kept

    def pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The state of each text's last token, (B, L, width) to (B, D)."""
        return self.head(self.norm(states[torch.arange(len(states), device=states.device), lengths - 1]))

    def forward(self, ids: list[tuple[int, ...]]) -> Tensor:
        """N texts of token ids to (N, D), not of norm 1; a beginning that texts share is encoded once.

        Attention is causal, so a common beginning has the same states in all texts.
        """
        beginnings, owners = common_beginnings(ids)
        device = self.pos_embed.device
        lengths = torch.tensor([len(beginning) for beginning in beginnings], device=device)
        _, past = self.states(pad(beginnings, device))
        rests = [row[len(beginnings[owner]) :] for row, owner in zip(ids, owners)]
        owner = torch.tensor(owners, device=device)
        shared = [(keys[owner], values[owner]) for keys, values in past]
        states, _ = self.states(pad(rests, device), shared, lengths[owner])
        return self.pool(states, torch.tensor([len(row) for row in rests], device=device))


class ImageBind(nn.Module):
    """Embeds audio and text; a matcher for guided decoding.

    Args:
        audio: its tower.
        text: its tower.
        tokenizer: CLIP's, which puts a token at the beginning and one at the end.
        num_clips: windows of two seconds, spread from the beginning of the audio to its end, that are encoded.
        last_clip_at_end: False spaces them as pytorchvideo did before April 2022: of 10 seconds from 0, 8/3 and 16/3,
            not from 0, 4 and 8.
        truncate_starts: compute the windows' beginnings as the authors do, in floating-point seconds that are cut to
            whole samples: of 7.3 s the second begins at sample 42,399 and not at 42,400. The paper does not say.
    """

    sampling_rate = 16000
    max_seconds = None  # the clips are spread over any length

    def __init__(
        self,
        audio: AudioTower,
        text: TextTower,
        tokenizer: Any,
        num_clips: int = 3,
        last_clip_at_end: bool = True,
        truncate_starts: bool = False,
    ) -> None:
        super().__init__()
        self.audio = audio
        self.text = text
        self.tokenizer = tokenizer
        self.num_clips = num_clips
        self.last_clip_at_end = last_clip_at_end
        self.truncate_starts = truncate_starts
        self.filterbank = KaldiFilterbank(num_mel_bins=128, sampling_rate=self.sampling_rate)

    def clip_starts(self, num_samples: Tensor) -> Tensor:
        """The first sample of each window of audio with (B,) samples: (B, num_clips) int64."""
        steps = self.num_clips - 1 if self.last_clip_at_end else self.num_clips
        if self.truncate_starts:
            seconds = [max(0.0, samples / self.sampling_rate - CLIP_SECONDS) for samples in num_samples.tolist()]
            starts = [
                [int(Fraction(each) / max(1, steps) * clip * self.sampling_rate) for clip in range(self.num_clips)]
                for each in seconds
            ]
            return torch.tensor(starts, device=num_samples.device)
        room = (num_samples - int(CLIP_SECONDS * self.sampling_rate)).clamp(min=0)
        return room[:, None] * torch.arange(self.num_clips, device=num_samples.device) // max(1, steps)

    def features(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """Waveforms (B, T) with (B,) samples each to normalised filterbanks (B, num_clips, 128, 204).

        The authors subtract a waveform's mean in place, so that one clip changes the next where they overlap; here the
        filterbank subtracts each frame's own mean, which makes that void. Padding comes before normalising, as theirs.
        """
        num_samples = num_samples.to(waveforms.device)
        starts = self.clip_starts(num_samples)  # (B, C)
        length = int(CLIP_SECONDS * self.sampling_rate)
        index = starts[..., None] + torch.arange(length, device=waveforms.device)  # (B, C, 2 s)
        index = index.clamp(max=max(0, waveforms.shape[1] - 1)).flatten(1)
        clips = waveforms.gather(1, index).view(-1, length)  # (B C, 2 s)
        left = (num_samples[:, None] - starts).clamp(max=length).flatten()
        frames, _ = self.filterbank(clips, left)  # (B C, 198, 128)
        frames = F.pad(frames, (0, 0, 0, PADDED_FRAMES - frames.shape[1]))
        frames = (frames - AUDIO_MEAN) / AUDIO_DEVIATION
        return frames.transpose(1, 2).unflatten(0, (-1, self.num_clips))

    def embed_audio(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """Audio (B, T), int16 or float in [-1, 1] at `sampling_rate`, with (B,) samples each, to (B, D) of norm 1.

        An embedding is the mean of those of the windows, each of norm 1. The authors' factor of 20 before the mean has
        no effect on a cosine.
        """
        images = self.features(waveforms, num_samples)  # (B, C, 128, 204)
        embedded = F.normalize(self.audio(images.flatten(0, 1)[:, None]), dim=-1)
        return F.normalize(embedded.unflatten(0, (-1, self.num_clips)).mean(1), dim=-1)

    def token_ids(self, texts: list[str]) -> list[tuple[int, ...]]:
        """Each text's tokens with their beginning and end, longer ones cut."""
        limit = self.text.pos_embed.shape[1]
        return [tuple(row) for row in self.tokenizer(texts, truncation=True, max_length=limit)["input_ids"]]

    def embed_text(self, texts: list[str]) -> Tensor:
        """N texts to (N, D), of norm 1; the authors' learnt factor has no effect on a cosine."""
        return F.normalize(self.text(self.token_ids(texts)), dim=-1)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        tokenizer: str = "openai/clip-vit-large-patch14",
        last_clip_at_end: bool = True,
        truncate_starts: bool = False,
    ) -> "ImageBind":
        """Load the authors' file, `imagebind_huge.pth`; the licence of its weights is printed.

        Args:
            path: the file.
            tokenizer: folder or hub id of CLIP's.
            last_clip_at_end: as for the class.
            truncate_starts: likewise.

        Raises:
            InputError: no such file, another kind of file, or a name missing, left over or of the wrong shape.
        """
        sizes, state = read_towers(path)
        with torch.device("meta"):  # no memory, and no random numbers, for what is overwritten
            audio, text = AudioTower(**sizes["audio"]), TextTower(**sizes["text"])
        with pretrained(tokenizer, "CLIP's tokenizer") as name:
            words = AutoTokenizer.from_pretrained(name)
        encoder = cls(audio, text, words, last_clip_at_end=last_clip_at_end, truncate_starts=truncate_starts)
        check_tensors(state, encoder.state_dict(), path, WHAT)
        encoder.load_state_dict(state, assign=True)
        print(LICENCE, flush=True)
        return encoder.eval()


def pad(rows: list[tuple[int, ...]], device: torch.device) -> Tensor:
    """Token ids as one tensor (N, L), zeros at the end."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)


def common_beginnings(ids: list[tuple[int, ...]]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Beginnings that texts share, and for each text which is its own.

    Candidates of a language model differ in their last tokens: beginnings leave out the end and one to three before.
    """
    counts = Counter(row[: max(1, len(row) - 2)] for row in ids)
    numbers: dict[tuple[int, ...], int] = {}
    owners = []
    for row in ids:
        own = (row[: max(1, len(row) - left_out)] for left_out in (2, 3, 4))
        owners.append(numbers.setdefault(max(own, key=lambda beginning: counts[beginning]), len(numbers)))
    return list(numbers), owners
