"""How near a caption is to what is heard: a cosine in the space of a model such as CLAP, which needs no reference."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn
from tqdm import tqdm

from datamodules.clips import ClipBatch
from datamodules.contracts import AudioTextModel


@torch.inference_mode()
def text_audio_similarity(
    model: AudioTextModel, batches: Iterable[ClipBatch], captions: Mapping[str, str], device: torch.device
) -> dict[str, float]:
    """The cosine of each caption's and its clip's embedding, by clip id.

    Args:
        model: embeds both.
        batches: clips with audio; those without a caption are passed over.
        captions: by clip id.
        device: where the model computes.
    """
    if isinstance(model, nn.Module):
        model.eval().to(device)
    found: dict[str, float] = {}
    with tqdm(total=len(captions), desc="CLAP similarity", unit="clip", disable=None, leave=False) as bar:
        for batch in batches:
            wanted = [at for at, clip_id in enumerate(batch.clip_ids) if clip_id in captions]
            if not wanted:
                continue
            assert batch.waveforms is not None and batch.num_samples is not None
            waveforms, num_samples = (part[wanted].to(device) for part in (batch.waveforms, batch.num_samples))
            audio = model.embed_audio(waveforms, num_samples)  # (B, D)
            clip_ids = [batch.clip_ids[at] for at in wanted]
            text = model.embed_text([captions[clip_id] for clip_id in clip_ids])  # (B, D)
            found |= zip(clip_ids, (audio * text).sum(-1).tolist())
            bar.update(len(wanted))
    return found
