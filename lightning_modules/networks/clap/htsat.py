"""HTSAT, the other audio encoder of CLAP: transformers' `ClapAudioModel` with our features and the authors' names."""

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ClapAudioConfig, ClapAudioModel

from lightning_modules.networks.front_ends.log_mel import LogMel, at_least

NUM_FRAMES = 1024  # the spectrogram is folded to an image of 256 rows, 4 times
# what the weights do not tell
DECISIVE = (
    "num_attention_heads", "depths", "window_size", "spec_size", "hidden_act", "layer_norm_eps", "enable_fusion",
)  # fmt: skip
RENAMED = (  # authors' name, transformers' name
    (r"^bn0\.", "batch_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.(relative_position_\w+)$", r".attention.self.\1"),
)


class Htsat(nn.Module):
    """A hierarchical token-semantic audio transformer (Chen et al., 2022), by one of two recipes for short clips.

    WavCaps: the spectrogram is stretched to 1,024 frames. LAION: the audio is repeated as often as it fits whole,
    and padded with silence. Both cut longer audio.

    Args:
        config: of transformers' model; the defaults are HTSAT-tiny's, which both CLAPs have.
        log_mel: the spectrogram.
        max_samples: longer audio is cut; the default, WavCaps', fills 1,024 frames.
        repeat: True for LAION's recipe.
    """

    def __init__(
        self,
        config: ClapAudioConfig | None = None,
        log_mel: LogMel | None = None,
        max_samples: int = NUM_FRAMES * 320 - 1,
        repeat: bool = False,
    ) -> None:
        super().__init__()
        self.log_mel = log_mel or LogMel()
        self.sampling_rate = self.log_mel.sampling_rate
        self.max_samples = max_samples
        self.max_seconds = max_samples / self.sampling_rate
        self.repeat = repeat
        self.model = ClapAudioModel(config or ClapAudioConfig())
        self.width: int = self.model.config.hidden_size
        decisive = {name: getattr(self.model.config, name) for name in DECISIVE}
        self.settings = {"max_samples": max_samples, "repeat": repeat, **decisive}

    def features(self, waveforms: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, T) and their lengths (B,) to frames (B, 1024, 64) and their numbers (B,).

        The stretching is of each clip's own frames, so that its result does not depend on its batch.
        """
        waveforms, num_samples = waveforms[:, : self.max_samples], num_samples.clamp(max=self.max_samples)
        if self.repeat:
            waveforms, num_samples = repeated(waveforms, num_samples, self.max_samples)
        least = self.log_mel.fft_length // 2 + 1  # of samples, for its ends to be reflected
        frames, num_frames = self.log_mel(*at_least(waveforms, num_samples, least))
        stretched = frames.new_empty(len(frames), NUM_FRAMES, frames.shape[2])
        for number in num_frames.unique().tolist():
            alike = num_frames == number
            stretched[alike] = F.interpolate(
                frames[alike, None, :number], (NUM_FRAMES, frames.shape[2]), mode="bicubic", align_corners=True
            )[:, 0]
        return stretched, torch.full_like(num_frames, NUM_FRAMES)

    def forward(self, features: Tensor, num_frames: Tensor) -> Tensor:
        """Frames (B, 1024, 64) to (B, width)."""
        frames = features[:, None].to(self.model.dtype)
        if not self.model.config.enable_fusion:
            return self.model(frames).pooler_output
        whole = torch.zeros(len(frames), 1, dtype=torch.bool, device=frames.device)  # no clip is longer
        return self.model(frames.expand(-1, 4, -1, -1), is_longer=whole).pooler_output


def repeated(waveforms: Tensor, num_samples: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Each waveform as often as it fits whole into `length`, then zeros: (B, length), and (B,) times `length`."""
    own = num_samples.to(waveforms.device)[:, None]
    position = torch.arange(length, device=waveforms.device)  # (length,)
    filled = waveforms.gather(1, (position % own).expand(len(waveforms), -1))
    return filled * (position < length // own * own), torch.full_like(num_samples, length)


def transformers_state(authors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors (names after `audio_enc.`) under the names of transformers' `ClapAudioModel`.

    The attention masks and the head of the tagger, which the embedding does not use, are left out.
    """
    state: dict[str, Tensor] = {}
    for name, value in authors.items():
        if name.endswith("attn_mask") or name.startswith(("tscam_conv.", "head.")):
            continue
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        if ".attn.qkv." in name:
            for part, piece in zip(("query", "key", "value"), value.chunk(3)):
                state["audio_encoder." + name.replace(".attn.qkv.", f".attention.self.{part}.")] = piece
        else:
            state["audio_encoder." + name] = value
    return state
