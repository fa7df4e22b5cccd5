"""Every stage at the papers' size by its own command with configs/paper: one step on the CPU, random weights."""

import gc
import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
)

from benchmarks import full_size
from benchmarks.alignment_parts import PARTS, AlignmentParts
from benchmarks.random_weights import configs, random_weights
from benchmarks.step_meter import CPU_ATTENTION, Measured, StepMeter, flop_counter
from lightning_modules.networks.imagebind.towers import ImageBind

BRANCH, TO_IMAGE_TOKENS = 85_647_360, 787_456  # CAV-MAE's audio branch, and the map to the width of image tokens
ATTENTION = 14_694_400  # of attentive OT, for audio and image
PROJECTOR = (1024 * 4096 + 4096) + (4096 * 4096 + 4096)
TRAINED = {
    "DALI, prefix tuning": 16 * 4096,
    "DALI, alignment, OT": BRANCH + TO_IMAGE_TOKENS,
    "DALI, alignment, OT by Sinkhorn": BRANCH + TO_IMAGE_TOKENS,
    "DALI, alignment, attentive OT": BRANCH + TO_IMAGE_TOKENS + ATTENTION,
    "DALI, alignment, MMD": BRANCH + TO_IMAGE_TOKENS,
    "DALI, alignment, contrastive": BRANCH + TO_IMAGE_TOKENS,
    "DALI, alignment, Cauchy-Schwarz": BRANCH + TO_IMAGE_TOKENS,
    "DALI, distillation": PROJECTOR,
    "WSAC": 53_425_024,
    "DRCap": (1024 * 2048 + 2048) + (2048 * 4096 + 4096) + 2 * 2 * 8 * (4096 + 4096),  # the mapping; LoRA of 2 layers
    "audibility classifier": 66_362_880 + (768 * 768 + 768) + (768 * 2 + 2),  # DistilBERT, and its head
}
SHORT = {  # few tokens and candidates; the first is still whole
    "DALI, pseudo-captions": ("--model.captioner.generation.max_new_tokens", "2"),
    "DALI, captions of audio": ("--model.captioner.generation.max_new_tokens", "2"),
    "DALI, captions of audio, CLAP-Refine": (
        "--model.captioner.generation.max_new_tokens", "2", "--model.refine.beams", "[2,3]", *full_size.WAVCAPS,
    ),
    "WSAC, captions of audio, CLAP-Refine": ("--model.max_new_tokens", "2", "--model.refine.beams", "[2,3]"),
    "DRCap, captions of audio": ("--model.max_new_tokens", "2"),
    "AudioSet's filter": ("--model.captioner.max_new_tokens", "2", "--model.captioner.num_beams", "1"),
    "audibility guidance": (
        "--model.guidance.max_new_tokens", "1", "--model.guidance.num_candidates", "8",
        "--model.guidance.num_steps", "1",
    ),
    "ZerAuCap": ("--model.guidance.max_new_tokens", "2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder() -> Iterator[None]:
    """Data, and random weights of full width, with two layers of the language models."""
    with pytest.MonkeyPatch.context() as patch, full_size.working_folder(2, 128), random_weights(2):
        patch.setenv("AAC_METRICS_CACHE_PATH", "nowhere")
        patch.setenv("WANDB_MODE", "disabled")
        yield


@pytest.mark.slow
@pytest.mark.parametrize("stage", full_size.STAGES, ids=lambda stage: stage.name)
def test_one_step(stage: full_size.Stage, folder: None) -> None:
    """In order: each is given what those before it exported, by the names in configs/paper."""
    clips = 1 if stage.name == "AudioSet's filter" else 2  # torch's CPU kernel copies OPT's vocabulary for each image
    full_size.measure(replace(stage, more=SHORT.get(stage.name, ())), clips, 1, on_gpu=False)
    found = StepMeter.found[-1]
    if stage.command == "fit":
        assert found.trained == TRAINED[stage.name]
    assert found.precision == ("bf16-mixed" if stage.name.startswith(("DALI", "AudioSet", "DRCap")) else "32-true")


@pytest.mark.slow
def test_the_parts_of_a_step(folder: None) -> None:
    full_size.measure(full_size.STAGES[1], 2, 2, False, "AlignmentParts")
    shares = AlignmentParts.shares()
    assert tuple(shares) == PARTS and sum(shares.values()) == pytest.approx(1)
    assert min(shares["audio encoder"], shares["vision tower"], shares["backward"]) > 0.02


@pytest.mark.slow
def test_a_process_of_its_own(folder: None) -> None:
    """The random weights are there, too; and the error is the command's."""
    (stage,) = (stage for stage in full_size.STAGES if stage.name == "audibility classifier")
    found = full_size.in_own_process(stage, 2, 3, False, 2)
    assert found.trained == TRAINED[stage.name] and len(found.seconds) == 1
    # products with 43 million weights, three times, for two sentences of some 15 tokens
    assert 0.5 * 6 * 43e6 * 2 * 15 < found.flops < 2 * 6 * 43e6 * 2 * 15
    with pytest.raises(SystemExit):
        full_size.in_own_process(replace(stage, more=("--data.root", "nowhere")), 2, 3, False, 2)


def test_gradient_checkpointing_holds_while_flops_are_counted() -> None:
    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=5, num_attention_heads=4, vocab_size=10
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    made: list[StorageWeakRef] = []
    alive: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        alive.append(sum(not storage.expired() for storage in made))
        made.append(StorageWeakRef(output.untyped_storage()))

    for layer in model.model.layers:
        layer.mlp.act_fn.register_forward_hook(count)
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)

    def flops(counter: FlopCounterMode) -> int:
        with counter:
            model(inputs_embeds=torch.randn(2, 4, 16, requires_grad=True), use_cache=False).logits.sum().backward()
        return counter.get_total_flops()

    gc.disable()  # what torch's own counter keeps are cycles, which a collection would free
    try:
        found = flops(flop_counter())
    finally:
        gc.enable()
    assert alive == [0] * 10
    assert found == flops(FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION))


def test_whole_networks_have_the_parameters_of_the_checkpoints() -> None:
    """As the hub's pages give them."""
    known, counts = configs(None), {}
    with torch.device("meta"):
        for name, kind in (
            ("llava-hf/llava-1.5-7b-hf", LlavaForConditionalGeneration),
            ("gpt2", AutoModelForCausalLM),
            ("gpt2-medium", AutoModelForCausalLM),
            ("facebook/opt-1.3b", AutoModelForCausalLM),
            ("lmsys/vicuna-7b-v1.5", AutoModelForCausalLM),
            ("distilbert-base-uncased", AutoModelForSequenceClassification),
        ):
            make = kind.from_config if hasattr(kind, "from_config") else kind._from_config
            counts[name] = make(known[name]).num_parameters()
    assert counts == {
        "llava-hf/llava-1.5-7b-hf": 7_063_427_072,
        "gpt2": 124_439_808,
        "gpt2-medium": 354_823_168,
        "facebook/opt-1.3b": 1_315_758_080,
        "lmsys/vicuna-7b-v1.5": 6_738_415_616,
        "distilbert-base-uncased": 66_362_880 + (768 * 768 + 768) + (768 * 2 + 2),
    }


def test_other_names_are_loaded_as_always() -> None:
    from transformers import AutoTokenizer

    from earshot.paths import shipped

    before = AutoTokenizer.from_pretrained
    with random_weights(1):
        assert len(AutoTokenizer.from_pretrained("gpt2")) == 50257
        assert len(AutoTokenizer.from_pretrained(shipped("assets/miniature/gpt2"))) < 1000
        encoder = ImageBind.from_checkpoint("checkpoints/imagebind_huge.pth")
        assert len(encoder.text.blocks) == 1 and len(encoder.audio.blocks) == 12
        with pytest.raises(OSError):
            AutoModelForCausalLM.from_pretrained("gpt2-large", local_files_only=True)
    assert AutoTokenizer.from_pretrained == before


def test_a_row_has_the_share_of_the_peak() -> None:
    """10 TFLOP in 2 s of a machine that does 20 in one."""
    found = Measured(5, 7, "bf16-mixed", [1.0, 2.0, 3.0], [0.5], int(10e12), 2.0**31)
    peaks = {torch.bfloat16: 20e12, torch.float32: 1.0}
    row = full_size.line(full_size.STAGES[0], 4, found, peaks)
    assert (row["seconds"], row["of one"], row["share"], row["memory"]) == ("2", "0.5", "25.0%", "2.0")
    assert (row["trained"], row["frozen"]) == ("5", "7")
    assert full_size.line(full_size.STAGES[7], 4, found, peaks)["trained"] == "0"  # nothing trains in predict


@pytest.mark.slow
def test_a_failed_row_costs_no_other(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command itself, whose stages are not run here."""

    def measured(stage: full_size.Stage, *_: object, parts: bool = False) -> object:
        if stage.name == "WSAC":
            raise SystemExit(2)
        return dict.fromkeys(PARTS, 1 / 7) if parts else Measured(1, 2, "32-true", [1.0], [0.0], 10, 1.0)

    monkeypatch.setattr(full_size, "in_own_process", measured)
    full_size.main(["--output", "page.md", "--clips", "1", "--steps", "1"])
    page = Path("page.md").read_text()
    assert "| ZerAuCap | 0 | 3 | 32-true | 1 | 1 | 1 |" in page and "| WSAC |" not in page
    assert "WSAC is missing, as its command failed: 2" in page and "solver 14%" in page


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal: a shell has what it starts in the background ignore it."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ended_in", ["WSAC", "parts"])
def test_a_signal_leaves_what_was_measured(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, ended_in: str
) -> None:
    """Of the stages that were asked for, also where it comes while the parts of a step are measured."""

    def measured(stage: full_size.Stage, *_: object, parts: bool = False) -> object:
        if ended_in == ("parts" if parts else stage.name):
            signal.raise_signal(number)
        on_disk.append(output.read_text() if output.exists() else "")
        return Measured(1, 2, "32-true", [1.0], [0.0], 10, 1.0)

    on_disk: list[str] = []
    output = Path("page.md").absolute()
    monkeypatch.setattr(full_size, "in_own_process", measured)
    stages = ["DALI, alignment, OT", "WSAC", "ZerAuCap"]
    full_size.main(["--output", "page.md", "--clips", "1", "--steps", "1", "--stages", *stages])
    page = Path("page.md").read_text()
    rows = 1 if ended_in == "WSAC" else 3
    assert page.count("32-true") == rows and "| DALI, alignment, OT | 1 | 2 |" in page
    assert f"ended by a signal after {rows} of 3 stages" in page and "not measured yet" not in page
    # a machine that ends without a signal leaves these
    assert [text.count("32-true") for text in on_disk] == list(range(rows))
    assert all("not measured yet" in text for text in on_disk[1:])


def sleeps(seconds: float, *_: object) -> None:
    """In a stage's place."""
    time.sleep(seconds)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_to_the_command_alone_ends_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM signals every process of a job, `kill` one."""
    monkeypatch.setattr(full_size, "_measured", sleeps)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    threading.Timer(1.0, signal.pthread_kill, [main_thread, signal.SIGINT]).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        full_size.in_own_process(60, 1, 1, False, None)  # type: ignore[arg-type]  # seconds, in a stage's place
    assert time.monotonic() - began < 30 and not multiprocessing.active_children()


def test_batches_are_those_of_the_papers() -> None:
    batches = {stage.name: full_size.batch_of(stage) for stage in full_size.STAGES}
    assert batches["DALI, prefix tuning"] == 16 and batches["DALI, alignment, attentive OT"] == 64
    assert batches["DALI, distillation"] == 40 and batches["WSAC"] == 64 and batches["audibility guidance"] == 8
