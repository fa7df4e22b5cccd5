"""DRCap's stage through the real command, on a few captions of the miniature."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import MINIATURE, REPOSITORY
from safetensors.torch import load_file

from datamodules.shards import read_index, records
from earshot.captioner import Captioner
from earshot.errors import InputError
from lightning_modules.embeddings.memory import Memory
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.networks.prompted_lm import PromptedLm
from lightning_modules.retrieval_captioner import RetrievalCaptioner
from lightning_modules.strategies.comet import CometAudio
from train import main

SHORT = ("--trainer.max_epochs", "1", "--data.batch_size", "8", "--trainer.limit_train_batches", "2")
QUICK = ("--model.num_beams", "1", "--model.max_new_tokens", "8")


def command(name: str, root: Path, *more: str) -> None:
    main([
        name, "--config", str(REPOSITORY / "configs/drcap.yaml"), "--data.root", str(root), "--data.max_clips", "40",
        "--data.num_workers", "0", "--trainer.accelerator", "cpu", "--evaluation.java", "false", *QUICK, *more,
    ])  # fmt: skip


def stage(language_model: PromptedLm | None = None, **more: object) -> RetrievalCaptioner:
    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    return RetrievalCaptioner(clap, language_model or PromptedLm(str(MINIATURE / "vicuna")), **more)


def captions_of(run: str) -> dict[str, str]:
    with open(f"runs/{run}/captions.csv", newline="") as file:
        return {row["clip_id"]: row["caption"] for row in csv.DictReader(file)}


def texts_of(root: Path) -> set[str]:
    """The training captions."""
    return {text for each in records(read_index(root / "first-40/audiocaps/train")) for text in each["captions"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, captions_root: Path) -> Path:
    """A folder in which a fit has been run, without a sound, on captions whose prompts hold others."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "assets").symlink_to(REPOSITORY / "assets")
    given: list[tuple] = []
    plain = PromptedLm.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("datamodules.clip_reader.decode_audio", lambda *_: pytest.fail("a sound was read"))
        patch.setattr(PromptedLm, "forward", lambda self, *args: given.append(args) or plain(self, *args))
        command("fit", captions_root, *SHORT)
    clap, drawn = ClapEncoder.from_pretrained(MINIATURE / "clap"), 0
    stored = texts_of(captions_root)
    for embeddings, similar, captions in given:
        with torch.no_grad():
            torch.testing.assert_close(embeddings, clap.embed_text(captions), rtol=0, atol=1e-5)
            for embedding, found in zip(embeddings, similar):
                assert set(found) <= stored and len(found) <= 3
                cosines = clap.embed_text(found) @ embedding if found else torch.empty(0)
                assert bool(((cosines > 0.75) & (cosines < 0.85)).all())
                drawn += len(found)
    assert drawn > 100, "hardly a caption has similar ones"
    return folder


@pytest.fixture()
def in_trained(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to run commands in."""
    shutil.copytree(trained, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(tmp_path))
    return tmp_path / "copy"


def test_a_checkpoint_and_an_export_hold_what_trains(in_trained: Path) -> None:
    checkpoint = torch.load("runs/drcap/fit-1/checkpoints/best.ckpt", weights_only=True)
    names = {".".join(name.split(".")[:2]) for name in checkpoint["state_dict"] if not name.startswith("val_loss")}
    assert names == {"language_model.lora", "language_model.mapping"}
    files = {path.name for path in Path("exports/drcap").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "mapping.safetensors", "memory.safetensors"} <= files
    assert sum(path.stat().st_size for path in Path("exports/drcap").iterdir()) < 1e6
    assert json.loads(Path("exports/drcap/adapter_config.json").read_text())["base_model_name_or_path"].endswith(
        "vicuna"
    )
    mapping = load_file("exports/drcap/mapping.safetensors")
    torch.testing.assert_close(checkpoint["state_dict"]["language_model.mapping.0.weight"], mapping["0.weight"])


def test_another_datastore_gives_other_captions_without_training(
    in_trained: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test and Captioner read the prompts' captions where the datamodule, the table or the export has them."""
    given: list[tuple] = []
    plain = PromptedLm.generate
    monkeypatch.setattr(PromptedLm, "generate", lambda self, *args: given.append(args) or plain(self, *args))
    command("test", captions_root)
    assert json.loads(Path("runs/drcap/test-1/scores.json").read_text())["num_clips"] == 40
    first = {text for found in given[-1][1] for text in found}
    assert first <= texts_of(captions_root)
    texts = [f"a {noun} {verb}" for noun, verb in (("cow", "moos"), ("frog", "croaks"), ("clock", "ticks"))]
    Path("other.csv").write_text("file_name,caption\n" + "".join(f"{i}.wav,{text}\n" for i, text in enumerate(texts)))
    command("test", captions_root, "--data.train", "other.csv")  # support and datastore
    moved, similar, *_ = given[-1]
    assert all(sorted(found) == sorted(texts) for found in similar)
    with torch.no_grad():
        support = ClapEncoder.from_pretrained(MINIATURE / "clap").embed_text(texts)
        weights = torch.linalg.lstsq(support.T, moved.clone().T).solution.T  # (B, 3)
    assert bool((weights > -1e-3).all()), "not projected among these captions"
    torch.testing.assert_close(weights.sum(1), torch.ones(40), rtol=0, atol=1e-3)
    command("test", captions_root, "--model.datastore", "other.csv")  # the datastore alone
    torch.testing.assert_close(given[-1][0], given[0][0])
    assert given[-1][1] == similar
    captions = [captions_of(f"drcap/test-{number}") for number in (1, 2, 3)]
    assert captions[0] != captions[1] != captions[2] != captions[0]

    captioner = Captioner.from_pretrained("exports/drcap")  # which has the training captions
    rng = np.random.default_rng(0)
    sound = (rng.standard_normal(16000) * 3000).astype(np.int16)
    assert isinstance(captioner(sound, 16000), str)
    assert set(given[-1][1][0]) <= texts_of(captions_root)
    nearest = captioner.stage.stored.nearest(captioner.embed(sound, 16000), 3)[0]
    (row,) = captioner.stage.explain(captioner._batch(sound, 16000), ["x"])
    assert row["reasons"][0].texts == nearest and [text for text, _ in nearest] == given[-1][1][0]
    ranked = captioner.stage.candidates(captioner._batch(sound, 16000), 3)[0]
    assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)


def test_clap_chooses_among_candidates(in_trained: Path, captions_root: Path) -> None:
    overlay = ("--config", str(REPOSITORY / "configs/refine/own_clap.yaml"))
    command("test", captions_root, *overlay, "--model.refine.init_args.beams", "[1,2]")
    told = json.loads(Path("runs/drcap_refined/test-1/explanations.json").read_text())
    assert len(told) == 40
    for clip_id, caption in captions_of("drcap_refined/test-1").items():
        prompt, candidates = told[clip_id]["reasons"]
        assert "in the prompt" in prompt[0] and len(prompt[1]) == 3
        assert candidates[1][0][0] == caption and candidates[1] == sorted(candidates[1], key=lambda pair: -pair[1])


def test_an_export_keeps_a_datastore_of_its_own(
    in_trained: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.csv").write_text("file_name,caption\n1.wav,a cow moos\n2.wav,a cow moos and a frog croaks\n")
    command("fit", captions_root, *SHORT, "--model.datastore", "other.csv", "--run_name", "two")
    captioner = Captioner.from_pretrained("exports/two")
    assert captioner.stage.stored.texts == ["a cow moos", "a cow moos and a frog croaks"]
    assert len(captioner.stage.searched.memory.texts) == 40
    for name, found in (("null", 40), ("other.csv", 2)):  # those that it was trained on, or its own
        Path("overlay.yaml").write_text(f"model: {{init_args: {{datastore: {name}}}}}")
        assert len(Captioner.from_pretrained("exports/two", ["overlay.yaml"]).stage.stored.texts) == found
    with pytest.raises(SystemExit):
        command("test", captions_root, "--data.train", "null", "--model.datastore", "more.csv", "--run_name", "two")
    assert "expected the captions of more.csv in exports/two, found those of other.csv;" in capsys.readouterr().err
    Path("more.csv").write_text("file_name,caption\n1.wav,a clock ticks\n")
    command("test", captions_root, "--model.datastore", "more.csv", "--run_name", "two")  # whose data.train is set
    Memory(captioner.stage.stored.embeddings, captioner.stage.stored.texts).save(Path("exports/two/datastore"))
    Path("overlay.yaml").write_text("model: {init_args: {datastore: more.csv}}")  # no note: as earlier versions
    assert len(Captioner.from_pretrained("exports/two", ["overlay.yaml"]).stage.stored.texts) == 2
    Path("overlay.yaml").write_text("model: {init_args: {datastore: other.csv}}")
    with pytest.raises(
        InputError, match="expected the captions of other.csv in exports/drcap, found those that it was"
    ):
        Captioner.from_pretrained("exports/drcap", ["overlay.yaml"])
    with pytest.raises(SystemExit):
        command("test", captions_root, "--data.train", "null", "--model.datastore", "other.csv")
    assert "expected the captions of other.csv in exports/drcap" in capsys.readouterr().err
    Memory(torch.ones(2, 7), ["a cow moos", "rain"]).save(Path("exports/two/datastore"))
    with pytest.raises(InputError, match=r"expected embeddings of width \d+ in exports/two/datastore.*found \[2, 7\]"):
        Captioner.from_pretrained("exports/two")
    Path("exports/drcap/memory.safetensors").unlink()
    with pytest.raises(InputError, match=r"expected captions to search in in exports/drcap/, found no memory"):
        Captioner.from_pretrained("exports/drcap")
    Path("overlay.yaml").write_text("model: {init_args: {inference_strategy: null}}")
    with pytest.raises(InputError, match=r"expected captions to retrieve from in exports/drcap/, found no memory"):
        Captioner.from_pretrained("exports/drcap", ["overlay.yaml"])


def test_what_a_strategy_learns_is_in_no_checkpoint() -> None:
    """So a strategy can be tested on a checkpoint that was trained with another one."""
    assert not [name for name in stage(inference_strategy=CometAudio(2)).state_dict() if "inference" in name]


def test_a_fit_goes_on_from_its_checkpoint_exactly(
    in_trained: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With LoRA's dropout, which draws at every step."""
    more = (*SHORT[2:], "--trainer.max_epochs", "2", "--trainer.callbacks.every_n_train_steps", "1")
    more = (*more, "--model.language_model.init_args.dropout", "0.5")
    command("fit", captions_root, *more, "--run_name", "whole")
    step = RetrievalCaptioner.training_step

    def broken(self: RetrievalCaptioner, *args: object) -> torch.Tensor:
        if self.trainer.global_step == 3:
            raise InputError("expected power, found none; wait")
        return step(self, *args)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(RetrievalCaptioner, "training_step", broken)
        command("fit", captions_root, *more, "--run_name", "broken")
    command("fit", captions_root, *more, "--run_name", "broken", "--ckpt_path", "last")
    last = [torch.load(f"runs/{run}/fit-1/checkpoints/last.ckpt", weights_only=True) for run in ("whole", "broken")]
    assert [state["global_step"] for state in last] == [4, 4]
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(last[1][part], last[0][part], rtol=0, atol=0)


def test_validation_does_not_depend_on_batches(in_trained: Path, captions_root: Path) -> None:
    losses = []
    for number, size in enumerate(("200", "7"), 1):
        command("validate", captions_root, "--data.eval_batch_size", size)
        with open(f"runs/drcap/validate-{number}/metrics.csv") as file:
            losses.append(float(next(csv.DictReader(file))["val/loss"]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    noted = json.loads(Path("exports/drcap/provenance.json").read_text())["val/loss"]
    assert losses[0] == pytest.approx(noted, rel=1e-5)


def test_what_it_was_trained_otherwise_with_is_refused(
    in_trained: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    with torch.no_grad():
        clap.text_proj[2].bias += 0.01
    clap.save_pretrained("other_clap")
    best = ("--ckpt_path", "runs/drcap/fit-1/checkpoints/best.ckpt")
    other = ("--model.language_model.init_args.prompt", "USER: What is heard ? ASSISTANT:")
    for more, said in (
        (("--model.clap.init_args.pretrained_model_name_or_path", "other_clap"), "trained with clap"),
        (other, "trained with language_model"),
        ((*other, *best), "expected a checkpoint trained with language_model"),
        (("--model.language_model.init_args.rank", "2"), "missing, left over or of another shape"),
        (("--model.num_similar", "-1"), "expected num_similar of at least 0"),
        (("--model.band.lowest", "0.9"), "expected a band from lowest to highest"),
        (("--model.language_model.init_args.language_model", "nowhere/at/all"), "a causal language model"),
    ):
        with pytest.raises(SystemExit) as ended:
            command("test", captions_root, *more)
        assert ended.value.code == 2 and said in capsys.readouterr().err, said
    command("test", captions_root, *best)  # a checkpoint needs no export
    with pytest.raises(InputError, match="expected a checkpoint of RetrievalCaptioner, found that of another stage"):
        stage().on_load_checkpoint({"state_dict": {}})


def test_class_defaults_are_the_authors() -> None:
    """SLAM-LLM's examples/drcap_zeroshot_aac: data_preprocess.sh, finetune_drcap.sh, drcap_config.py."""
    module = stage()
    band, lora = module.band, module.language_model.lora_config
    assert (module.num_similar, band.lowest, band.highest) == (3, 0.75, 0.85)
    assert (lora.r, lora.lora_alpha, lora.lora_dropout, set(lora.target_modules)) == (8, 32, 0.05, {"q_proj", "v_proj"})
    assert (module.num_beams, module.max_new_tokens, module.language_model.hidden_dim) == (4, 200, 2048)
    assert module.language_model.prompt == "USER: Describe the audio you hear. \n ASSISTANT:"
    module.language_model.load(module.clap.network.embedding_dim)
    module._trainer = type("Trainer", (), {"estimated_stepping_batches": 40000, "lightning_module": None})()
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert optimizer.param_groups[0]["weight_decay"] == 0.0
    (rate,) = schedule.lr_lambdas
    for step, share in ((0, 0.0), (500, 0.5), (1000, 1.0), (20500, 0.5), (40000, 0.0)):
        assert 1e-5 * rate(step) == pytest.approx(1e-5 * share)
    assert schedule.base_lrs == [1e-5]
    paper = yaml.safe_load((REPOSITORY / "configs/paper/drcap.yaml").read_text())
    given, trainer = paper["model"]["init_args"], paper["trainer"]
    assert given["language_model"]["init_args"]["language_model"] == "lmsys/vicuna-7b-v1.5"
    assert given["optimizer"]["init_args"] == {"lr": 1e-5, "weight_decay": 0.0}
    assert (paper["data"]["init_args"]["global_batch_size"], trainer["max_steps"]) == (4, 40000)
