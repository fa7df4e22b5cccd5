"""Speed of each stage at the papers' size, on this machine: `python -m benchmarks.full_size`.

Every stage runs by its own command with its overlay in configs/paper, on noise of the papers' sizes and with random
weights: no download, and whoever has a GPU gets the table by this one command. On a GPU the networks are whole and the
batches those of configs/paper, but for CLAP-Refine after LLaVA; on a CPU language models have 2 layers and batches few
clips, and the page says so.
"""

import argparse
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.alignment_parts import AlignmentParts
from benchmarks.full_size_data import write_data
from benchmarks.random_weights import random_weights
from benchmarks.step_meter import Measured, StepMeter, peak_of
from callbacks.made_by import processor
from earshot.errors import InputError, one_line_errors
from earshot.paths import config_file
from reports.page import add_page, write_page
from reports.table import Line
from train import main as train

LAYERS = 2  # on a CPU
UNTIMED = 2  # steps: one to warm up, one whose FLOPs are counted
ALIGNMENT = ("dali_ot", "paper/token_alignment")
WAVCAPS = (  # the CLAP that refines
    "--model.refine.clap", "lightning_modules.networks.clap.encoder.ClapEncoder.from_checkpoint",
    "--model.refine.clap.path", "checkpoints/WavCaps-HTSAT.pt",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A row of the table.

    Attributes:
        name: of the row.
        command: of train.py.
        configs: names in configs/; an overlay in paper/ has the batch.
        of_texts: whether a batch is of texts, not of clips.
        on_cpu: clips of a batch on a CPU; 0 where a CPU does not do it.
        on_gpu: likewise on a GPU; 0 is that of configs/paper.
        more: arguments.
    """

    name: str
    command: str
    configs: tuple[str, ...]
    of_texts: bool = False
    on_cpu: int = 2
    on_gpu: int = 0
    more: tuple[str, ...] = ()


STAGES = [  # each is given what those before it export
    Stage("DALI, prefix tuning", "fit", ("llava_prefix", "paper/llava_prefix_tuning")),
    Stage("DALI, alignment, OT", "fit", ALIGNMENT),
    Stage("DALI, alignment, OT by Sinkhorn", "fit", (*ALIGNMENT, "solver/sinkhorn")),
    Stage(
        "DALI, alignment, attentive OT", "fit", (*ALIGNMENT, "criterion/attentive_ot", "paper/attentive_ot")
    ),
    Stage("DALI, alignment, MMD", "fit", (*ALIGNMENT, "criterion/mmd")),
    Stage("DALI, alignment, contrastive", "fit", (*ALIGNMENT, "criterion/contrastive")),
    Stage("DALI, alignment, Cauchy-Schwarz", "fit", (*ALIGNMENT, "criterion/cauchy_schwarz")),
    Stage("DALI, pseudo-captions", "predict", ("pseudo_captions", "paper/pseudo_captions")),
    Stage("DALI, distillation", "fit", ("distillation", "paper/audiovisual_distillation")),
    Stage("DALI, captions of audio", "test", ("distillation", "paper/audiovisual_distillation")),
    Stage(
        "DALI, captions of audio, CLAP-Refine", "test",
        ("distillation", "paper/audiovisual_distillation", "refine/clap"),
        on_gpu=8, more=WAVCAPS,  # 32 clips take minutes a step
    ),
    # torch's CPU kernel copies the vocabulary of BLIP-2's language model for each beam of each image: 13 GB a clip
    Stage("AudioSet's filter", "predict", ("audioset_filter", "paper/audioset_filter"), on_cpu=0),
    Stage("WSAC", "fit", ("clap_prefix", "paper/clap_prefix"), of_texts=True),
    Stage("WSAC, captions of audio", "test", ("clap_prefix", "paper/clap_prefix")),
    Stage("WSAC, captions of audio, CLAP-Refine", "test", ("clap_prefix", "paper/clap_prefix", "refine/own_clap")),
    Stage("DRCap", "fit", ("drcap", "paper/drcap"), of_texts=True),
    Stage("DRCap, captions of audio", "test", ("drcap", "paper/drcap")),
    Stage("audibility classifier", "fit", ("audibility", "paper/audibility_classifier"), of_texts=True),
    Stage("audibility guidance", "test", ("guided", "paper/guided_captioner"), on_cpu=1),
    Stage("ZerAuCap", "test", ("keywords", "paper/keywords")),
]  # fmt: skip


def batch_of(stage: Stage) -> int:
    """What configs/paper gives one GPU at a time: clips, or texts."""
    (overlay,) = (name for name in stage.configs[:2] if name.startswith("paper/"))
    data = yaml.safe_load(config_file(overlay).read_text())["data"]["init_args"]
    names = ("batch_size", "global_batch_size") if stage.command == "fit" else ("eval_batch_size",)
    return next((int(data[name]) for name in names if name in data), 64)  # the class' own


def arguments(stage: Stage, batch: int, steps: int, on_gpu: bool) -> list[str]:
    """The command: as configs/paper has it, for one device and a few steps, with noise to read and nothing logged."""
    sizes = ("--data.global_batch_size", "--data.batch_size") if stage.command == "fit" else ("--data.eval_batch_size",)
    given = [part for name in stage.configs for part in ("--config", name)]
    given += [part for name in sizes for part in (name, str(batch))]
    if stage.command == "fit":
        given += ["--trainer.max_steps", str(steps), "--trainer.limit_val_batches", "0"]
    elif stage.command == "test":
        given += ["--trainer.limit_test_batches", str(steps), "--evaluation.java", "false"]
    if not on_gpu and not stage.of_texts:
        given += ["--data.num_workers", "0"]
    if stage.configs[:2] == ALIGNMENT:
        given += ["--data.ids", "null"]  # noise has no list of nearest clips
    accelerator = "gpu" if on_gpu else "cpu"
    return [stage.command, *given, "--trainer.accelerator", accelerator, "--trainer.devices", "1", *stage.more]


@contextmanager
def working_folder(clips: int, texts: int) -> Iterator[None]:
    """A temporary one with data, and for each meter an overlay that adds it to a command."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        write_data(Path("data"), clips, texts)
        for meter in (StepMeter, AlignmentParts):
            added = {"class_path": f"{meter.__module__}.{meter.__name__}"}
            Path(f"{meter.__name__}.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [added]}}))
        yield


def measure(stage: Stage, batch: int, steps: int, on_gpu: bool, meter: str = "StepMeter") -> None:
    """Run the stage's command in the working folder, with the callback of that name."""
    train([*arguments(stage, batch, steps, on_gpu), "--config", f"{meter}.yaml"])


def in_own_process(stage: Stage, batch: int, steps: int, on_gpu: bool, layers: int | None, parts: bool = False) -> Any:
    """What `measure` found, a `Measured` or for `parts` the shares of `AlignmentParts`; memory is the stage's alone."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool:
        try:
            return pool.submit(_measured, stage, batch, steps, on_gpu, layers, parts).result()
        except KeyboardInterrupt:  # a signal that reached this process alone
            for child in multiprocessing.active_children():
                child.kill()
            raise


def _measured(stage: Stage, batch: int, steps: int, on_gpu: bool, layers: int | None, parts: bool) -> Any:
    with random_weights(layers):
        measure(stage, batch, steps, on_gpu, "AlignmentParts" if parts else "StepMeter")
    return AlignmentParts.shares() if parts else StepMeter.found[-1]


def line(stage: Stage, batch: int, found: Measured, peaks: dict[torch.dtype, float]) -> Line:
    """A row of the table; `peaks` are FLOPs a second by the precision of the products."""
    peak = peaks[torch.bfloat16 if "bf16" in found.precision else torch.float32]
    seconds = statistics.median(found.seconds)
    return {
        "stage": stage.name,
        "trained": f"{found.trained if stage.command == 'fit' else 0:,}",
        "frozen": f"{found.frozen + (0 if stage.command == 'fit' else found.trained):,}",
        "precision": found.precision,
        "at once": str(batch),
        "seconds": f"{seconds:.3g}",
        "of one": f"{seconds / batch:.3g}",
        "wait": f"{statistics.median(found.waits):.3g}",
        "tera": f"{found.flops / 1e12:.3g}",
        "share": f"{found.flops / seconds / peak:.1%}",
        "memory": f"{found.peak / 2**30:.1f}",
    }


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line `args`, by default that of the process."""
    args = list(sys.argv[1:] if args is None else args)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.full_size", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, help="of language models at most (2 on a CPU, else all)")
    parser.add_argument("--clips", type=int, help="of a step (2 on a CPU, else as in configs/paper)")
    names = [stage.name for stage in STAGES]
    parser.add_argument(
        "--stages", nargs="+", choices=names, default=names, metavar="NAME",
        help=f"of these alone; name those whose exports they read, too: {'; '.join(names)} (all)",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=3, help="that are timed (%(default)s)")
    add_page(parser, "runs/full_size.md")
    parser.set_defaults(title="Speed at full size")
    options = parser.parse_args(args)
    options.command = ["python", "-m", "benchmarks.full_size", *args]
    options.output = options.output.absolute()  # as the commands run in a folder of their own
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    layers = options.layers or (None if on_gpu else LAYERS)
    os.environ["WANDB_MODE"] = "disabled"
    batches = {
        stage: (stage.on_gpu or batch_of(stage)) if on_gpu or stage.of_texts else stage.on_cpu for stage in STAGES
    }
    batches = {stage: batch for stage, batch in batches.items() if batch and stage.name in options.stages}
    if options.clips:
        batches |= {stage: options.clips for stage in batches if not stage.of_texts}
    steps = UNTIMED + options.steps
    if not batches:
        parser.error("expected a stage that a CPU does, found AudioSet's filter, which takes a GPU; name others")
    clips = steps * max((batch for stage, batch in batches.items() if not stage.of_texts), default=1)
    texts = steps * max((batch for stage, batch in batches.items() if stage.of_texts), default=1)
    with one_line_errors(), working_folder(clips, 2 * texts):
        peaks = {dtype: peak_of(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
        found: dict[Stage, Measured] = {}
        notes = list(NOTES)

        def page(*more: str, printed: bool) -> None:
            rows = [line(stage, batches[stage], measured, peaks) for stage, measured in found.items()]
            how = how_measured(device, layers, peaks, options.steps)
            if rows:
                write_page(options, rows, HEADINGS, [*notes, *more], how, printed=printed)

        try:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            for stage, batch in batches.items():
                notes += measure_next(found, stage, batch, peaks, (steps, on_gpu, layers))
                page(f"written after {stage.name}; the stages after it were not measured yet", printed=False)
            if (aligning := STAGES[1]) in found:
                shares = in_own_process(aligning, batches[aligning], steps, on_gpu, layers, parts=True)
                parts = [f"{part} {share:.0%}" for part, share in shares.items()]
                notes.insert(0, f"a step of alignment by OT, {batches[aligning]} clips: {', '.join(parts)}")
        except KeyboardInterrupt:  # hours may be behind it
            notes.append(f"ended by a signal after {len(found)} of {len(batches)} stages; the others are missing")
        if not found:
            raise InputError("expected a stage to be measured, none was; the lines above say why")
        page(printed=True)


def measure_next(
    found: dict[Stage, Measured], stage: Stage, batch: int, peaks: dict[torch.dtype, float], how: tuple[Any, ...]
) -> list[str]:
    """Add a stage to `found`, and the machine's best to `peaks`; where its command fails, a note says so."""
    try:
        found[stage] = in_own_process(stage, batch, *how)
    except (RuntimeError, SystemExit) as error:  # out of memory, say: the other rows are worth having
        failed = f"{stage.name} is missing, as its command failed: {' '.join(str(error).split())[:200]}"
        print(failed, file=sys.stderr, flush=True)
        return [failed]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    peaks |= {dtype: max(rate, peak_of(device, dtype)) for dtype, rate in peaks.items()}  # others may run, too
    print(f"{stage.name}: {statistics.median(found[stage].seconds) / batch:.3g} s each", flush=True)
    return []


def how_measured(device: torch.device, layers: int | None, peaks: dict[torch.dtype, float], steps: int) -> list[str]:
    """How, as the page says it."""
    rates = ", ".join(f"{rate / 1e12:.3g} in {str(dtype).removeprefix('torch.')}" for dtype, rate in peaks.items())
    if device.type == "cuda":
        where = f"one {torch.cuda.get_device_name(device)}"
    else:
        where = (
            f"no GPU: {processor()}, {torch.get_num_threads()} threads; batches are small, and nothing here says how "
            "fast a GPU is"
        )
    depth = (
        "all layers"
        if layers is None
        else f"language models, BLIP-2 and ImageBind's text tower with {layers} layers, all other networks whole"
    )
    return [
        where, depth,
        f"peak, the best of products of square matrices before each stage and after it: {rates} TFLOP/s",
        f"medians of {steps} steps of each stage's own command, after one to warm up and one to count",
        "noise of 10 s and 336 pixels, random weights; decoding is greedy and goes on to the longest caption",
        *([] if device.type == "cuda" else ["without AudioSet's filter, which takes a GPU"]),
    ]  # fmt: skip


HEADINGS = {
    "at once": "clips or texts at once", "seconds": "s a step", "of one": "s a clip or text", "wait": "s for the batch",
    "tera": "TFLOP a step", "share": "of the peak", "memory": "peak memory, GiB",
}  # fmt: skip
NOTES = [
    "TFLOP: of products of matrices, convolutions and attention, a second forward in backward (gradient checkpointing) "
    "included; of the peak: these per second, over what this machine reaches in the same precision",
    "s for the batch: what a step waits for it, beside its own seconds",
    "peak memory: of the GPU's allocator; on a CPU of the stage's whole process, libraries and loader included",
]


if __name__ == "__main__":
    main()
