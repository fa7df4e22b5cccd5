"""The audio branch of CAV-MAE: a clip's filterbank to a sequence of tokens, without class token or pooling.

Source: Contrastive Audio-Visual Masked Autoencoder (Gong et al., ICLR 2023); initialises DALI's audio encoder
(section 3.1). Submodules are named as in the authors' checkpoints.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.networks.authors_checkpoint import check_tensors, read_checkpoint, tensors_in
from lightning_modules.networks.front_ends.filterbank import LOW_FREQUENCY, KaldiFilterbank
from lightning_modules.networks.pretrained import pretrained
from lightning_modules.networks.vit import Block

HEAD_WIDTH = 64  # of the authors' models
WHERE = "the table of models in github.com/YuanGongND/cav-mae: CAV-MAE-Scale++, audio_model.21.pth"
WHERE_ALIGNED = "zenodo.org/records/14224316, which github.com/hugomalard/AnEyeForAnEar links: audio_backbone.pth"

CARD = """---
{{ card_data }}
---
CAV-MAE's audio encoder, aligned with image tokens: `lightning_modules.networks.cav_mae.CavMaeEncoder` loads it.
"""


class CavMaeEncoder(nn.Module, PyTorchModelHubMixin, model_card_template=CARD):
    """CAV-MAE's audio tokens, mapped linearly to the width of the image tokens they are aligned with.

    Args:
        num_mel_bins: frequencies of the filterbank; a multiple of `patch_size`.
        num_frames: frames of 10 ms that a clip is padded or cut to; a multiple of `patch_size`.
        patch_size: side of a square patch.
        width: of the Transformer; a multiple of 4 and of `num_heads`.
        depth: blocks; the last is the one that CAV-MAE shares between audio and images.
        num_heads: attention heads.
        mlp_ratio: hidden width of a block's MLP over `width`.
        output_dim: D, the width of the tokens that `forward` returns.
        sampling_rate: of the waveforms that `features` expects, in Hz.
        mean: of the log-mel values over AudioSet, subtracted from the features.
        std: what the features are then divided by.
    """

    def __init__(
        self,
        num_mel_bins: int = 128,
        num_frames: int = 1024,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        output_dim: int = 1024,
        sampling_rate: int = 16000,
        mean: float = -5.081,
        std: float = 4.4849,
    ) -> None:
        super().__init__()
        if num_mel_bins % patch_size or num_frames % patch_size or width % num_heads or width % 4:
            raise InputError(
                "expected num_mel_bins and num_frames in multiples of patch_size, width in multiples of 4 "
                f"and num_heads, found num_mel_bins {num_mel_bins}, num_frames {num_frames}, patch_size "
                f"{patch_size}, width {width}, num_heads {num_heads}; change the encoder's sizes"
            )
        self.num_frames = num_frames
        self.patch_size = patch_size
        self.sampling_rate = sampling_rate
        self.mean = mean
        self.std = std
        self.filterbank = KaldiFilterbank(num_mel_bins, sampling_rate)
        # from the start of the first window to the end of the last: 10.255 s for 1024 frames
        self.max_samples = (num_frames - 1) * self.filterbank.hop_length + self.filterbank.window_length
        self.max_seconds = self.max_samples / sampling_rate
        self.grid = num_mel_bins // patch_size, num_frames // patch_size
        self.patch_embed_a = nn.Sequential(OrderedDict(proj=nn.Conv2d(1, width, patch_size, patch_size)))
        positions = sincos_positions(num_mel_bins // patch_size, num_frames // patch_size, width)
        self.pos_embed_a = nn.Parameter(positions[None])  # (1, N, width)
        self.modality_a = nn.Parameter(torch.empty(1, 1, width).normal_(std=0.02))
        self.blocks_a = nn.ModuleList(Block(width, num_heads, mlp_ratio, 1e-5) for _ in range(depth - 1))
        self.blocks_u = nn.ModuleList([Block(width, num_heads, mlp_ratio, 1e-5)])
        self.norm_a = nn.LayerNorm(width, eps=1e-5)
        self.projection = nn.Linear(width, output_dim)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight.flatten(1))  # the convolution is a Linear on patches
                nn.init.zeros_(module.bias)

    def token_grid(self) -> tuple[int, int, float, tuple[float, float]]:
        """See `lightning_modules.contracts.HasTokenGrid`."""
        rows, columns = (side // self.patch_size for side in (self.filterbank.num_mel_bins, self.num_frames))
        seconds = self.num_frames * self.filterbank.hop_length / self.sampling_rate
        return rows, columns, seconds, (LOW_FREQUENCY, self.sampling_rate / 2)

    def features(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """Compute normalised log-mel features; what is missing at a clip's end is 0 before the normalisation.

        Args:
            waveforms: (B, T) at `sampling_rate`, int16, or float in [-1, 1].
            num_samples: (B,), the length of each waveform before padding.

        Returns:
            (B, num_frames, num_mel_bins).
        """
        log_mel, _ = self.filterbank(waveforms[:, : self.max_samples], num_samples.clamp(max=self.max_samples))
        log_mel = F.pad(log_mel, (0, 0, 0, self.num_frames - log_mel.shape[1]))
        return (log_mel - self.mean) / self.std

    def augment(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add uniform noise and roll in time, as the authors do in training, each clip by its own amounts.

        The noise lies in [0, amount) with `amount` uniform in [0, 0.1); the roll is any number of frames.

        Args:
            features: (B, num_frames, num_mel_bins), normalised.
            generator: drawn from on its own device; the default generator if None.

        Returns:
            (B, num_frames, num_mel_bins).
        """
        device = features.device if generator is None else generator.device
        batch, num_frames, _ = features.shape
        amount = torch.rand(batch, 1, 1, generator=generator, device=device) / 10
        noise = amount * torch.rand(features.shape, generator=generator, device=device)
        shift = torch.randint(num_frames, (batch, 1), generator=generator, device=device)
        source = (torch.arange(num_frames, device=device) - shift) % num_frames  # (B, F)
        noisy = features + noise.to(features)
        return noisy.gather(1, source.to(features.device)[:, :, None].expand_as(noisy))

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, num_mel_bins) to (B, N, output_dim), frequency-major: token f * (F / patch_size) + t."""
        spectrogram = features.to(self.pos_embed_a.dtype).transpose(1, 2).unsqueeze(1)  # (B, 1, num_mel_bins, F)
        tokens = self.patch_embed_a(spectrogram).flatten(2).transpose(1, 2)  # (B, N, width)
        tokens = tokens + self.pos_embed_a + self.modality_a
        for block in (*self.blocks_a, *self.blocks_u):
            tokens = block(tokens)
        return self.projection(self.norm_a(tokens))

    @classmethod
    def from_checkpoint(cls, path: str | Path, aligned: bool = False, **arguments: Any) -> "CavMaeEncoder":
        """Load the audio branch out of the authors' CAVMAE, CAVMAEFT or CAVMAEFTAudio file, or DALI's released encoder.

        The image branch, the decoder and the heads are not read. Without `aligned`, `projection` stays as initialised.

        Args:
            path: a file that `torch.save` wrote, keys with or without `module.`.
            aligned: the file is DALI's `audio_backbone.pth`, whose `proj` is the projection.
            arguments: of the constructor; width, depth and number of frames are the file's, with heads of 64, and
                `output_dim` of an aligned file, where they are not given.

        Raises:
            InputError: no such file, not a checkpoint, a key missing or of the wrong shape, or an aligned encoder where
                none is expected.
        """
        what = "DALI's aligned encoder" if aligned else "CAV-MAE's audio branch"
        tensors = tensors_in(read_checkpoint(path, what, WHERE_ALIGNED if aligned else WHERE))
        encoder = cls(**{**sizes_in(tensors), **arguments})
        # their shared block has the norms of both media together and of each alone: ours are those of audio, *_a
        expected = {
            re.sub(r"(blocks_u\.0\.norm[12])\.", r"\1_a.", key): value for key, value in encoder.state_dict().items()
        }
        expected = {re.sub(r"^projection\.", "proj.", key): value for key, value in expected.items()}
        if not aligned:
            expected = {key: value for key, value in expected.items() if not key.startswith("proj.")}
        if not aligned and "proj.weight" in tensors:
            raise InputError(f"expected {what} in {str(path)!r}, found DALI's aligned encoder; set aligned to true")
        found = {key: value for key, value in tensors.items() if key in expected}
        check_tensors(found, expected, path, what)
        with torch.no_grad():
            for key, value in expected.items():
                value.copy_(found[key])  # the state dict's tensors share memory with the encoder's
        return encoder

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> "CavMaeEncoder":
        """Load what `save_pretrained` wrote, every key of it; the encoder comes in eval mode.

        Args:
            pretrained_model_name_or_path: a folder, or `hf://owner/name` for a model on the Hugging Face Hub.
                Without the prefix it is always a folder, so that a mistyped path never asks the network.
            kwargs: as for `huggingface_hub.PyTorchModelHubMixin.from_pretrained`.

        Raises:
            InputError: no such folder, or one that does not hold such an encoder.
        """
        with pretrained(pretrained_model_name_or_path, "a CAV-MAE encoder", hub_ids="") as name:
            return super().from_pretrained(name, strict=True, **kwargs)


def sizes_in(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The constructor's arguments that a file's tensors show; none where they are not a whole encoder's."""
    positions = tensors.get("pos_embed_a", torch.empty(0))
    if positions.ndim != 3 or positions.shape[1] % 8 or positions.shape[2] % HEAD_WIDTH:
        return {}
    _, number, width = positions.shape  # patches of 16 x 16 in 8 rows
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks_a.")}
    sizes = {"width": width, "num_heads": width // HEAD_WIDTH, "depth": 1 + len(blocks), "num_frames": 2 * number}
    return sizes | ({"output_dim": len(tensors["proj.weight"])} if "proj.weight" in tensors else {})


def sincos_positions(height: int, length: int, width: int) -> Tensor:
    """2-D sine-cosine embedding of a frequency-major grid: (height * length, width).

    The first half of the features encodes time, the second frequency, each as [sines | cosines].
    """
    omega = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))

    def encode(position: Tensor) -> Tensor:
        angle = position[:, None] * omega
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    frequency = torch.arange(height, dtype=torch.float64).repeat_interleave(length)
    time = torch.arange(length, dtype=torch.float64).repeat(height)
    return torch.cat([encode(time), encode(frequency)], dim=1).float()
