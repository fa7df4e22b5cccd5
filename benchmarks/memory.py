"""GPU memory of each stage at the papers' size: `python -m benchmarks.memory --output docs/results/memory.md`.

Parameters are counted on networks without weights. What a step needs beside them is measured on the CPU, with the
networks at full width: the most bytes that tensors have at once in forward and backward, for two numbers of clips.
LLaMA has two layers there; each of its other 30 is counted as the second, by what autograd keeps of one layer more.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from benchmarks import networks
from benchmarks.live_memory import Need, Step, kept_bytes, peak
from datamodules.clips import ClipBatch
from earshot.errors import one_line_errors
from earshot.paths import shipped
from lightning_modules.audiovisual_distillation import AudiovisualDistillation
from lightning_modules.llava_prefix_tuning import LlavaPrefixTuning
from lightning_modules.losses.attentive_optimal_transport import AttentiveOptimalTransport
from lightning_modules.losses.optimal_transport import OptimalTransport
from lightning_modules.networks.prefix_decoder import PrefixDecoder
from lightning_modules.token_alignment import TokenAlignment
from reports.page import add_page, write_page
from reports.table import Line

GIB = 2**30
CAPTION = " ".join(["dog"] * 39)  # 40 tokens with its end; AudioCaps' captions have some 13
TEXT = 22  # tokens of WSAC's captions and of the classifier's sentences
NEW = 128  # tokens of a pseudo-caption at most
TRAINED = 4 + 8 + 4 + 4  # bytes of a trained parameter: in float32, Adam's two averages, gradient, and DDP's copy of it
SIZES = (24, 40, 80)


Built = tuple[nn.Module, nn.Module, Step, nn.Module]
"""A stage, its language model, a step of it, and the language model's first layer."""


def llava_need(stage_of: Callable[[int], Built], trains: bool = True) -> Need:
    """The need of a stage with all layers of LLaMA, from those with one and with two."""
    kept = []
    for layers in (1, 2):
        stage, model, step, first = stage_of(layers)
        if trains:
            with kept_bytes(model) as found:
                step(1)
            kept.append(sum(found.values()))
        else:
            kept.append(peak(stage, step, 1, trains=False))
    missing = (networks.LAYERS - 2) * (kept[1] - kept[0])
    return Need.of(lambda clips: peak(stage, step, clips, trains, first), 1, 2, missing)


def media(clips: int) -> ClipBatch:
    """Clips of 10.24 seconds with an image of 336 pixels."""
    return ClipBatch(
        [str(clip) for clip in range(clips)], torch.randint(-9999, 9999, (clips, 163840), dtype=torch.int16),
        torch.full((clips,), 163840), torch.randint(256, (clips, 3, 336, 336), dtype=torch.uint8),
        [[CAPTION]] * clips, [[]] * clips,
    )  # fmt: skip


def mixed(step: Step) -> Step:
    """The step in bf16-mixed, as Lightning runs it."""

    def run(clips: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            return step(clips)

    return run


def prefix_tuning(layers: int, again: bool) -> Built:
    """A step is from image tokens, which are computed once in a run."""
    stage = LlavaPrefixTuning(networks.captioner("image", layers, images=layers == networks.LAYERS))
    stage.setup("fit")
    model = stage.captioner.network.loaded
    if again:
        model.checkpoint_gradients()
    tokens = torch.ones(1, 576, 1024, dtype=torch.bfloat16)
    step = mixed(lambda n: model.nll(None, tokens.expand(n, -1, -1), [CAPTION] * n)[0].mean())
    return stage, model, step, first_layer(model)


def distillation(layers: int, again: bool) -> Built:
    """A step is from audio."""
    captioner = networks.captioner("audio", layers)
    stage = AudiovisualDistillation(captioner)
    stage.setup("fit")
    captioner.load(dtype=torch.bfloat16)  # the audio encoder, which is frozen
    if again:
        captioner.loaded.checkpoint_gradients()

    def step(clips: int) -> Tensor:
        batch = media(clips)
        return captioner.loss(batch, audio_tokens=captioner.audio_tokens(batch))[0]

    return stage, captioner.loaded, mixed(step), first_layer(captioner.loaded)


def pseudo_captions(layers: int) -> Built:
    """A step is prompt and longest caption at once, which leaves the KV cache of the last token."""
    captioner = networks.captioner("audio+image", layers, images=True)
    stage = TokenAlignment(None, captioner)

    def step(clips: int) -> Tensor:
        batch, model = media(clips), captioner.loaded
        prompt = model(captioner.audio_tokens(batch), captioner.image_tokens(batch))
        inputs = F.pad(prompt, (0, 0, 0, NEW))
        out = model.llava(inputs_embeds=inputs, use_cache=True, logits_to_keep=1)
        return out.logits.sum()

    return stage, captioner.loaded, mixed(step), first_layer(captioner.loaded)


def first_layer(model: Any) -> nn.Module:
    """Of LLaMA."""
    layer: nn.Module = model.llava.get_decoder().layers[0]
    return layer


def alignment(criterion: Any) -> tuple[nn.Module, Step]:
    """The stage, and a step with all of its layers."""
    stage = TokenAlignment(criterion, networks.captioner("audio", None, images=True))
    return stage, mixed(lambda clips: stage.distance(media(clips))[0])


def parameters(stage: nn.Module, frozen: nn.Module | None) -> tuple[int, int]:
    """Numbers of trained and of frozen parameters."""
    trained = {id(p): p.numel() for p in stage.parameters() if p.requires_grad}
    others = [] if frozen is None else frozen.parameters()
    return sum(trained.values()), sum(p.numel() for p in others if id(p) not in trained)


def at_once(config: str) -> int:
    """What configs/paper gives one GPU at a time; where it says nothing of that, the whole global batch."""
    data = yaml.safe_load(shipped(f"configs/paper/{config}.yaml").read_text())["data"]["init_args"]
    return int(data.get("batch_size") or data.get("global_batch_size") or data["eval_batch_size"])


def line(name: str, config: str, counts: tuple[int, int], need: Need, trains: bool = True, frozen: int = 2) -> Line:
    """A row of the table; `frozen` is the bytes of a frozen parameter."""
    clips = at_once(config)
    trained, others = counts
    fixed = trained * (TRAINED if trains else 4) + others * frozen
    total = fixed + need.constant + clips * need.per_clip
    fits = [size for size in SIZES if total * 1.1 + GIB < size * GIB]
    room = (SIZES[-1] * GIB - GIB) / 1.1 - fixed - need.constant
    return {
        "stage": name,
        "trained": f"{trained if trains else 0:,}",
        "frozen": f"{others if trains else others + trained:,}",
        "weights and optimizer": f"{fixed / GIB:.1f}",
        "a clip or text": f"{need.per_clip / GIB:.4f}",
        "at once": str(clips),
        "total": f"{total / GIB:.1f}",
        "fits": f"{fits[0]} GB" if fits else "none",
        "most in 80 GB": f"{int(room / need.per_clip):,}",
    }


def lines() -> Iterator[Line]:
    """The rows of the table."""
    for again, how in ((False, "all activations kept"), (True, "gradient checkpointing")):
        with torch.device("meta"):
            stage, *_ = prefix_tuning(networks.LAYERS, False)
        need = llava_need(lambda layers: prefix_tuning(layers, again))  # noqa: B023 (called at once)
        counts = parameters(stage, stage.captioner.network)
        yield line(f"DALI, prefix tuning, {how}", "llava_prefix_tuning", counts, need)
    for criterion, how in ((OptimalTransport(), "OT"), (AttentiveOptimalTransport(), "attentive OT")):
        aligning, step = alignment(criterion)
        counts = parameters(aligning, aligning.captioner.network)
        need = Need.of(lambda clips: peak(aligning, step, clips), 4, 8)  # noqa: B023 (called at once)
        yield line(f"DALI, alignment, {how}", "token_alignment", counts, need)
    with torch.device("meta"):
        predicting, *_ = pseudo_captions(networks.LAYERS)
    counts = parameters(predicting, predicting.captioner.network)
    yield line("DALI, pseudo-captions", "pseudo_captions", counts, llava_need(pseudo_captions, False), trains=False)
    for again, how in ((False, "all activations kept"), (True, "gradient checkpointing")):
        with torch.device("meta"):
            distilling, *_ = distillation(networks.LAYERS, False)
        need = llava_need(lambda layers: distillation(layers, again))  # noqa: B023 (called at once)
        counts = parameters(distilling, distilling.captioner.network)
        yield line(f"DALI, distillation, {how}", "audiovisual_distillation", counts, need)
    decoder = PrefixDecoder(1024, 30522, 101, 102, 0)
    words = torch.randint(1000, 30000, (1, TEXT))
    need = Need.of(lambda n: peak(decoder, lambda n: decoder(torch.ones(n, 1024), words.expand(n, -1)), n), 32, 64)
    yield line("WSAC", "clap_prefix", parameters(decoder, networks.clap()), need, frozen=4)
    bert = networks.distilbert()

    def classified(texts: int) -> Tensor:
        labels = torch.zeros(texts, dtype=torch.long)
        loss: Tensor = bert(input_ids=words.expand(texts, -1), labels=labels).loss
        return loss

    need = Need.of(lambda texts: peak(bert, classified, texts), 32, 64)
    yield line("audibility classifier", "audibility_classifier", parameters(bert, None), need)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default that of the process."""
    args = list(sys.argv[1:] if args is None else args)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_page(parser, "runs/memory.md")
    parser.set_defaults(title="GPU memory at full size")
    torch.manual_seed(0)
    with one_line_errors():
        options = parser.parse_args(args)
        options.command = ["python", "-m", "benchmarks.memory", *args]
        found = []
        for row in lines():
            print(f"{row['stage']}: {row['total']} GiB", flush=True)
            found.append(row)
        write_page(options, found, {"weights and optimizer": "weights, Adam, GiB", "a clip or text": "of one, GiB",
                                    "total": "total, GiB", "fits": "smallest GPU"}, NOTES, MEASURED)  # fmt: skip


NOTES = [
    "at once: clips, or texts, on one GPU at a time, by `configs/paper/`; of one: what each of them needs in a step",
    "weights: frozen ones in bfloat16 (WSAC's in float32), trained ones in float32, with Adam's two averages, the "
    "gradient and DDP's copy of it",
    "smallest GPU: of 24, 40 and 80 GB, with a tenth of the total and 1 GiB left for CUDA and for fragments",
    "most in 80 GB: clips or texts at once, by the same rule; activations grow in proportion",
]
MEASURED = [
    "not run on a GPU: parameters counted at full size; a step's memory is the most bytes that tensors had at once in "
    "forward and backward on the CPU in bf16-mixed (WSAC and classifier: float32), at full width, for two numbers of "
    "clips: 1 and 2 with LLaMA, 4 and 8 in alignment, 32 and 64 texts",
    "LLaMA had 2 layers, and for each of the other 30 what autograd keeps of the second was added (pseudo-captions: "
    "the growth from one layer to two); all other networks had all layers",
    "clips of 10.24 s, 512 audio tokens and 576 image tokens; captions of 40 tokens, pseudo-captions of 128",
    "texts of 22 tokens; the CPU's kernels of attention; workspaces inside of kernels are not seen",
]


if __name__ == "__main__":
    main()
