"""CLAP: embeds audio and text in one space. One class loads three kinds of model.

These are WavCaps' CLAP with CNN14 or HTSAT (`from_checkpoint`, the authors' file), LAION's (`from_pretrained`, a folder
or hub id of transformers), and small ones with CNN14 (`from_pretrained`, a folder that `save_pretrained` wrote).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, BertConfig, BertModel, ClapModel
from transformers.models.clap.feature_extraction_clap import ClapFeatureExtractor

from lightning_modules.networks.clap.checkpoint import load_authors, read_authors
from lightning_modules.networks.clap.cnn14 import Cnn14
from lightning_modules.networks.clap.htsat import Htsat
from lightning_modules.networks.digests import tokenizer_json
from lightning_modules.networks.front_ends.log_mel import LogMel
from lightning_modules.networks.pretrained import pretrained

DECISIVE = ("num_attention_heads", "hidden_act", "layer_norm_eps")  # what the weights of a text tower do not tell
PUNCTUATION = '(,.!?;:|*")'  # what CLAP's training took out of captions: a quote, a hyphen and a slash stay


class ClapEncoder(nn.Module):
    """Embeds audio and text on the unit sphere, where the two form separate clusters: the modality gap.

    Args:
        audio_encoder: `Cnn14` or `Htsat`: `features(waveforms, num_samples)`, then `forward` to (B, width).
        text_encoder: a transformers text model; its pooled state is used where it has one, else that of the first
            token.
        tokenizer: of the text model.
        embedding_dim: D.
        max_text_tokens: longer texts are cut.
        clean_text: lower-case, and each of `(,.!?;:|*")` a space, as in the training of WavCaps' CLAP; WSAC's code
            does not do it.
    """

    def __init__(
        self,
        audio_encoder: Cnn14 | Htsat,
        text_encoder: Any,
        tokenizer: Any,
        embedding_dim: int = 1024,
        max_text_tokens: int = 30,
        clean_text: bool = True,
    ) -> None:
        super().__init__()
        self.audio_encoder = audio_encoder
        self.sampling_rate = audio_encoder.sampling_rate
        self.max_seconds = audio_encoder.max_seconds
        self.text_encoder: Any = text_encoder
        self.tokenizer = tokenizer
        self.embedding_dim = embedding_dim
        self.max_text_tokens = max_text_tokens
        self.clean_text = clean_text
        self.trained_on: tuple[str, ...] = ()  # what its file says that it was trained on
        self.spaced = PUNCTUATION if clean_text else ""  # each of these characters becomes a space
        self.audio_proj = projection(audio_encoder.width, embedding_dim)
        self.text_proj = projection(text_encoder.config.hidden_size, embedding_dim)

    def embed_audio(self, waveforms: Tensor, num_samples: Tensor) -> Tensor:
        """Embed audio, each clip as if it were alone.

        Args:
            waveforms: (B, T) at `sampling_rate`, int16, or float in [-1, 1].
            num_samples: (B,), the length of each before padding.

        Returns:
            (B, D), of norm 1.
        """
        return self.embed_features(*self.audio_encoder.features(waveforms, num_samples))

    def embed_features(self, features: Tensor, num_frames: Tensor) -> Tensor:
        """The frames of `audio_encoder.features` to (B, D), of norm 1."""
        return F.normalize(self.audio_proj(self.audio_encoder(features, num_frames)), dim=-1)

    def cleaned(self, text: str) -> str:
        """The text as the tokenizer gets it."""
        return cleaned(text, self.spaced) if self.clean_text else text

    def embed_text(self, texts: list[str]) -> Tensor:
        """B texts to (B, D), of norm 1."""
        texts = [self.cleaned(text) for text in texts]
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_text_tokens, return_tensors="pt"
        ).to(self.text_proj[0].weight.device)
        out = self.text_encoder(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        state = out.last_hidden_state[:, 0] if out.pooler_output is None else out.pooler_output
        return F.normalize(self.text_proj(state), dim=-1)

    def fingerprint(self, part: str) -> str:
        """A digest of everything that decides the embeddings of `part`, "text" or "audio"."""
        digest = hashlib.sha256(f"{part} {self.max_text_tokens} {self.clean_text} {self.sampling_rate}".encode())
        if part == "text":
            digest.update(tokenizer_json(self.tokenizer).encode() + self.spaced.encode())
            digest.update(repr([getattr(self.text_encoder.config, name, None) for name in DECISIVE]).encode())
        else:
            log_mel = self.audio_encoder.log_mel
            digest.update(repr((log_mel.filters, log_mel.hop_length, self.audio_encoder.settings)).encode())
        for name, value in sorted(self.state_dict().items()):
            if name.startswith(part):
                digest.update(name.encode())
                digest.update(value.detach().float().cpu().contiguous().numpy())
        return digest.hexdigest()

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, tokenizer: str = "bert-base-uncased", clean_text: bool = True
    ) -> "ClapEncoder":
        """Load the authors' file of WavCaps' CLAP; the names in it tell CNN14 from HTSAT.

        Prints the training data where the file names them, and warns where a benchmark is among them.

        Args:
            path: a file that `torch.save` wrote.
            tokenizer: folder or hub id of BERT's.
            clean_text: as for the class.

        Raises:
            InputError: no such file, another kind of file, or a name missing, left over or of the wrong shape.
        """
        found, data = read_authors(path)
        audio = Htsat() if any("patch_embed" in name for name in found) else Cnn14()
        bert = BertModel(BertConfig(), add_pooling_layer=False)
        with pretrained(tokenizer, "BERT's tokenizer") as name:
            encoder = cls(audio, bert, AutoTokenizer.from_pretrained(name), clean_text=clean_text)
        load_authors(encoder, found, path)
        encoder.trained_on = tuple(data)
        return encoder.eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path) -> "ClapEncoder":
        """Load what `save_pretrained` wrote, or one of LAION's models in transformers' form.

        Args:
            pretrained_model_name_or_path: a folder, a hub id `laion/...`, or `hf://owner/name`; a mistyped path never
                asks the network.

        Raises:
            InputError: no such folder, or one that does not hold a CLAP.
        """
        with pretrained(pretrained_model_name_or_path, "a CLAP", hub_ids=r"laion/[\w.-]+") as name:
            if (Path(name) / "text_config.json").is_file():
                return cls._from_folder(Path(name))
            if (kind := AutoConfig.from_pretrained(name).model_type) != "clap":
                raise ValueError(f"a model of the kind {kind}")
            return cls._from_laion(name)

    @classmethod
    def _from_laion(cls, name: str) -> "ClapEncoder":
        model, recipe = ClapModel.from_pretrained(name), ClapFeatureExtractor.from_pretrained(name)
        log_mel = LogMel(
            recipe.sampling_rate,
            recipe.fft_window_size,
            recipe.hop_length,
            recipe.feature_size,
            recipe.frequency_min,
            recipe.frequency_max,
            "htk" if model.config.audio_config.enable_fusion else "slaney",
        )
        audio = Htsat(model.config.audio_config, log_mel, recipe.nb_max_samples, repeat=True)
        audio.model = model.audio_model
        tokenizer = AutoTokenizer.from_pretrained(name)
        limit = min(tokenizer.model_max_length, 77)  # as in LAION's training
        encoder = cls(audio, model.text_model, tokenizer, model.config.projection_dim, limit, clean_text=False)
        for part, theirs in ((encoder.audio_proj, model.audio_projection), (encoder.text_proj, model.text_projection)):
            part[0], part[2] = theirs.linear1, theirs.linear2
        return encoder.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a model with CNN14 as a folder: two configurations, the tokenizer, the weights."""
        assert isinstance(self.audio_encoder, Cnn14), "the others are kept in the form that they came in"
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {name: getattr(self, name) for name in ("embedding_dim", "max_text_tokens", "clean_text")}
        config = {"audio_encoder": self.audio_encoder.settings, **settings}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        self.text_encoder.config.to_json_file(folder / "text_config.json")
        self.tokenizer.save_pretrained(folder)
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / "model.safetensors")

    @classmethod
    def _from_folder(cls, folder: Path) -> "ClapEncoder":
        config = json.loads((folder / "config.json").read_text())
        bert = BertModel(BertConfig.from_json_file(folder / "text_config.json"), add_pooling_layer=False)
        encoder = cls(Cnn14(**config.pop("audio_encoder")), bert, AutoTokenizer.from_pretrained(folder), **config)
        encoder.load_state_dict(load_file(folder / "model.safetensors"))
        return encoder.eval()


def cleaned(text: str, spaced: str = PUNCTUATION) -> str:
    """Lower case, and each of the characters `spaced` a space; of several spaces one."""
    return " ".join(text.lower().translate(dict.fromkeys(map(ord, spaced), " ")).split())


def projection(width: int, embedding_dim: int) -> nn.Sequential:
    """The projection head of the audio or the text side; both families have the same."""
    return nn.Sequential(nn.Linear(width, embedding_dim), nn.ReLU(), nn.Linear(embedding_dim, embedding_dim))
