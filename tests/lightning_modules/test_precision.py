"""Every stage of DALI on a LLaVA that is saved in half precision, as the real one is, in each of the trainer's."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MINIATURE, arguments
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoProcessor, LlavaForConditionalGeneration

from datamodules.clips import ClipBatch
from lightning_modules.llava_prefix_tuning import LlavaPrefixTuning
from lightning_modules.networks.cav_mae import CavMaeEncoder
from lightning_modules.networks.llava.audio_projector import save_audio_projector
from lightning_modules.networks.llava.captioner import LlavaCaptioner
from lightning_modules.networks.llava.language_model import LlavaLanguageModel
from train import main

DTYPES = {"32-true": torch.float32, "bf16-true": torch.bfloat16, "bf16-mixed": torch.bfloat16}


@pytest.fixture(scope="module", params=[torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def half_llava(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The small LLaVA, saved in half precision."""
    folder = tmp_path_factory.mktemp("llava")
    model = LlavaForConditionalGeneration.from_pretrained(MINIATURE / "llava", dtype=request.param)
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(MINIATURE / "llava").save_pretrained(folder)
    assert {weight.dtype for weight in load_file(folder / "model.safetensors").values()} == {request.param}
    return str(folder)


@pytest.fixture()
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[LlavaCaptioner]:
    """The captioners that commands load, to look into afterwards."""
    found: list[LlavaCaptioner] = []
    load = LlavaCaptioner.load
    monkeypatch.setattr(LlavaCaptioner, "load", lambda self, *a, **k: found.append(self) or load(self, *a, **k))
    return found


def frozen_dtypes(captioner: LlavaCaptioner) -> set[torch.dtype]:
    parts = [part for part in (captioner.image_encoder, captioner.language_model) if part is not None]
    return {weight.dtype for part in parts for weight in part.parameters() if not weight.requires_grad}


@pytest.mark.slow
@pytest.mark.parametrize("precision", DTYPES)
def test_every_stage(
    precision: str, half_llava: str, in_tmp_path: Path, world_root: Path, loaded: list[LlavaCaptioner]
) -> None:
    """Prefix tuning, alignment, pseudo-captions, distillation and a test, each of what the one before exported."""
    trained = torch.bfloat16 if precision == "bf16-true" else torch.float32

    def run(command: str, config: str, *more: str) -> dict[str, Tensor]:
        loaded.clear()
        main([
            command, *arguments(world_root, config=config), "--trainer.precision", precision,
            "--model.captioner.llava", half_llava, "--evaluation.vocabulary", "null", *more,
        ])  # fmt: skip
        captioner = loaded[0]
        assert frozen_dtypes(captioner) == {DTYPES[precision]}
        if captioner.audio_encoder is not None and command != "fit":
            assert {weight.dtype for weight in captioner.audio_encoder.parameters()} == {DTYPES[precision]}
        if captioner.language_model is not None:
            rotary = captioner.language_model.llava.model.language_model.rotary_emb
            assert rotary.inv_freq.dtype == torch.float32  # rounded, late positions would be wrong by radians
        runs = sorted(Path("runs").glob("*/fit-1/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        return torch.load(runs[-1], weights_only=True)["state_dict"]

    fit = ("--trainer.max_steps", "2", "--data.batch_size", "4")
    weights = run("fit", "llava_prefix.yaml", *fit)
    assert {name: value.dtype for name, value in weights.items()} == {"prefix": trained}
    run("test", "llava_prefix.yaml")
    weights = run("fit", "dali_ot.yaml", *fit, "--trainer.val_check_interval", "2")
    assert {value.dtype for name, value in weights.items() if "audio_encoder" in name} == {trained}
    run("predict", "pseudo_captions.yaml", "--data.predict", "audioset/train", "--export.source", "exports/dali_ot",
        "--model.captioner.prefix", "exports/llava_prefix", "--run_name", "pseudo_captions")  # fmt: skip
    with open("exports/pseudo_captions/captions.csv") as file:
        assert len(list(csv.DictReader(file))) == 40
    aligned = ("--model.captioner.audio_encoder.pretrained_model_name_or_path", "exports/dali_ot")
    more = (*aligned, "--model.captioner.prefix", "exports/llava_prefix")
    weights = run("fit", "distillation.yaml", *fit, *more, "--data.train", "audioset/train",
                  "--data.captions", "exports/pseudo_captions/captions.csv")  # fmt: skip
    assert {value.dtype for value in weights.values()} == {trained} and len(weights) == 4
    for inputs in ("audio", "audio+image"):
        run("test", "distillation.yaml", *more, "--model.captioner.inputs", inputs, "--run_suffix", inputs[6:])
    with open("runs/distillation_attentive_ot/test-1/captions.csv") as file:
        assert len(list(csv.DictReader(file))) == 40


class CopiesOf(TorchDispatchMode):
    """Counts the bytes of given weights that are cast to another dtype."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.places = {weight.data_ptr() for weight in weights}
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.ops.aten._to_copy.default and args[0].data_ptr() in self.places:
            self.bytes += args[0].nbytes
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("dtype", "copied"), [(torch.bfloat16, False), (None, True)], ids=["as asked for", "as saved"])
def test_autocast_copies_no_frozen_weight(dtype: torch.dtype | None, copied: bool) -> None:
    """A training step in bf16-mixed; with weights in float32, autocast casts those of every product in every step."""
    encoder = CavMaeEncoder.from_pretrained(MINIATURE / "cav_mae").requires_grad_(False)
    captioner = LlavaCaptioner(str(MINIATURE / "llava"), encoder, inputs="audio+image")
    captioner.load(dtype=dtype)
    frozen = [*captioner.parameters()]
    assert captioner.image_encoder is not None
    with CopiesOf(frozen) as copies, torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        audio = encoder(torch.zeros(2, encoder.num_frames, 128))
        image = captioner.image_encoder(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
        captioner.loaded.nll(audio, image, ["a dog barks", "rain falls"])
    products = sum(weight.nbytes for weight in frozen if weight.ndim > 1)
    assert copies.bytes > 0.8 * products if copied else copies.bytes == 0


def test_captioning_copies_no_weight(in_tmp_path: Path, world_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of an aligned encoder in bf16-mixed: the encoder, which trained in float32, too is in bfloat16."""
    copies: list[int] = []
    caption = LlavaCaptioner.caption

    def counted(self: LlavaCaptioner, media: ClipBatch, **how: Any) -> list[str]:
        assert {weight.dtype for weight in self.parameters()} == {torch.bfloat16}
        with CopiesOf([*self.parameters()]) as found:
            texts = caption(self, media, **how)
        copies.append(found.bytes)
        return texts

    monkeypatch.setattr(LlavaCaptioner, "caption", counted)
    fit = ("--trainer.max_steps", "1", "--trainer.limit_val_batches", "1", "--data.batch_size", "4")
    main(["fit", *arguments(world_root, *fit)])
    half = ("--trainer.precision", "bf16-mixed", "--data.max_clips", "4", "--data.eval_batch_size", "4")
    main(["test", *arguments(world_root, *half)])
    main(["test", *arguments(world_root, *half, "--ckpt_path", "runs/dali_ot/fit-1/checkpoints/last.ckpt")])
    assert copies == [0, 0]  # from the export, and from a checkpoint


def test_float16_with_a_scaled_loss() -> None:
    """As 16-mixed, for which Lightning takes bf16-mixed on a CPU: a prefix's gradient is that of float32."""
    gradients = []
    for dtype in (torch.float32, torch.float16):
        torch.manual_seed(0)  # the prefix begins as random words
        stage = LlavaPrefixTuning(LlavaCaptioner(str(MINIATURE / "llava"), inputs="image"))
        stage.captioner.network.load(dtype=dtype)
        stage.setup("fit")
        assert stage.prefix is not None and stage.prefix.dtype == torch.float32
        scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
        optimizer = torch.optim.SGD([stage.prefix], lr=0.0)
        images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
        batch = ClipBatch(["a", "b"], None, None, images, [["a dog barks"], ["rain falls"]], [[], []])
        frozen = [weight for weight in stage.captioner.network.parameters() if not weight.requires_grad]
        with CopiesOf(frozen) as copies, torch.autocast("cpu", dtype, dtype == torch.float16, cache_enabled=False):
            loss, _ = stage.captioner.network.loss(batch, image_tokens=stage.captioner.network.image_tokens(batch))
        assert copies.bytes == 0
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        assert stage.prefix.grad is not None
        gradients.append(stage.prefix.grad.clone())
    full, half = gradients
    assert (half - full).norm() < 0.02 * full.norm()


def test_without_a_trainer_the_file_decides(half_llava: str) -> None:
    """As `earshot.Captioner` loads it: the language model in half precision, an audio encoder in float32."""
    encoder = CavMaeEncoder.from_pretrained(MINIATURE / "cav_mae").requires_grad_(False)
    captioner = LlavaCaptioner(half_llava, encoder, inputs="audio+image")
    captioner.load()
    (dtype,) = frozen_dtypes(captioner)
    assert dtype.itemsize == 2 and {weight.dtype for weight in encoder.parameters()} == {torch.float32}
    tokens = encoder(torch.zeros(1, encoder.num_frames, 128))
    assert captioner.loaded.generate(tokens, None)[0]


def test_a_projector_follows(tmp_path: Path) -> None:
    """A distilled projector, in float32 on disk, loads in the precision of the language model."""
    plain = LlavaLanguageModel.from_pretrained(MINIATURE / "llava")
    save_audio_projector(plain.llava.model.multi_modal_projector, plain.llava.config, tmp_path)
    half = LlavaLanguageModel.from_pretrained(MINIATURE / "llava", MINIATURE / "prefix", tmp_path, torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
