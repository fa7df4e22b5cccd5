"""Every YAML in configs/ through the real command."""

import csv
import importlib
import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import MINIATURE, REPOSITORY, arguments
from made_clap import laion

from lightning_modules.decoding.instructed import Instructed
from lightning_modules.decoding.mils import Mils
from train import main

CONFIGS = REPOSITORY / "configs"
OVERLAYS = sorted(path for folder in ("inputs", "baseline", "prompt") for path in (CONFIGS / folder).glob("*.yaml"))
CRITERIA = sorted(path for folder in ("criterion", "solver") for path in (CONFIGS / folder).glob("*.yaml"))
STAGES = sorted(path for path in CONFIGS.glob("*.yaml") if path.name != "defaults.yaml")


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_overlay_captions_the_test_split(overlay: Path, in_tmp_path: Path, world_root: Path) -> None:
    main(["test", *arguments(world_root, "--config", str(overlay), "--export.load", "false")])
    (scores,) = in_tmp_path.glob("runs/*/test-1/scores.json")
    assert scores.parts[-3] != "dali_ot"  # an overlay that changes the method changes the run's name
    assert json.loads(scores.read_text())["num_clips"] == 40


def test_audio_and_image_go_after_any_criterion(capsys: pytest.CaptureFixture[str]) -> None:
    overlays = [str(CONFIGS / name) for name in ("criterion/mmd.yaml", "inputs/audio_image.yaml")]
    with pytest.raises(SystemExit):
        main([
            "test", "--config", str(CONFIGS / "dali_ot.yaml"), *(x for path in overlays for x in ("--config", path)),
            "--print_config",
        ])  # fmt: skip
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["run_name"], shown["run_suffix"]) == ("dali_mmd", "_audio_image")
    assert shown["export"]["source"] is None  # that of the run_name
    assert shown["model"]["init_args"]["captioner"]["init_args"]["inputs"] == "audio+image"


@pytest.mark.parametrize("overlay", CRITERIA, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_criterion_trains(overlay: Path, in_tmp_path: Path, world_root: Path) -> None:
    """Two epochs, as a schedule by epoch begins with the second; what it logs is there, what it learnt is exported."""
    short = ("--trainer.max_epochs", "2", "--data.batch_size", "8", "--trainer.limit_train_batches", "2")
    main(["fit", *arguments(world_root, "--config", str(overlay), *short, "--trainer.log_every_n_steps", "1")])
    (folder,) = in_tmp_path.glob("runs/*/fit-1")
    assert folder.parent.name != "dali_ot"  # an overlay that changes the method changes the run's name
    assert (in_tmp_path / "exports" / folder.parent.name / "model.safetensors").exists()
    with open(folder / "metrics.csv") as file:
        logged = list(csv.DictReader(file))
    assert len([row for row in logged if row["train/loss"]]) == 4
    measures = {key for key in logged[0] if key.startswith("train/")} - {"train/loss"}
    assert measures and all(math.isfinite(float(row[key])) for row in logged for key in measures if row[key])


@pytest.mark.parametrize("overlay", sorted((CONFIGS / "strategy").glob("*.yaml")), ids=lambda path: path.stem)
def test_strategy_parses_and_has_a_name_of_its_own(overlay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--config configs/strategy/{overlay.name}" in overlay.read_text().splitlines()[0]
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(CONFIGS / "clap_prefix.yaml"), "--config", str(overlay), "--print_config"])
    assert ended.value.code == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["run_name"] + shown["run_suffix"] == f"clap_prefix_{overlay.stem}"


@pytest.mark.parametrize("overlay", sorted((CONFIGS / "metrics").glob("*.yaml")), ids=lambda path: path.stem)
def test_metrics_go_with_any_stage(overlay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--config configs/metrics/{overlay.name}" in overlay.read_text().splitlines()[0]
    for stage in ("dali_ot", "clap_prefix", "drcap", "guided"):
        with pytest.raises(SystemExit) as ended:
            main(["test", "--config", str(CONFIGS / f"{stage}.yaml"), "--config", str(overlay), "--print_config"])
        assert ended.value.code == 0
        shown = yaml.safe_load(capsys.readouterr().out)
        assert shown["run_name"] == stage  # what is scored is the same
        assert shown["evaluation"]["vocabulary"] and (shown["evaluation"]["models"] or shown["evaluation"]["clap"])


@pytest.mark.parametrize("overlay", sorted((CONFIGS / "refine").glob("*.yaml")), ids=lambda path: path.stem)
def test_refine_goes_with_any_stage_that_captions(overlay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--config configs/refine/{overlay.name}" in overlay.read_text().splitlines()[0]
    for stage in ("llava_prefix", "dali_ot", "distillation", "clap_prefix", "drcap", "guided", "keywords", "mils"):
        with pytest.raises(SystemExit) as ended:
            main(["test", "--config", str(CONFIGS / f"{stage}.yaml"), "--config", str(overlay), "--print_config"])
        assert ended.value.code == 0
        shown = yaml.safe_load(capsys.readouterr().out)
        assert shown["run_suffix"] == "_refined" and "ClapRefine" in shown["model"]["init_args"]["refine"]["class_path"]


def test_mils_at_full_size_has_the_authors_values(capsys: pytest.CaptureFixture[str]) -> None:
    """The paper's overlay gives back each class default that the miniature changes, and nothing of the miniature."""
    paper = CONFIGS / "paper/mils.yaml"
    first = f"# python train.py test --config configs/mils.yaml --config configs/paper/{paper.name}"
    assert paper.read_text().splitlines()[0] == first
    with pytest.raises(SystemExit):
        main(["test", "--config", str(CONFIGS / "mils.yaml"), "--config", str(paper), "--print_config"])
    text = capsys.readouterr().out
    guidance = yaml.safe_load(text)["model"]["init_args"]["guidance"]["init_args"]
    assert [guidance[name] for name in ("iterations", "num_kept", "num_requested")] == [19, 10, 50]
    assert Mils(Instructed()).iterations == 19 and Mils(Instructed()).num_requested == 50
    assert "assets/miniature/" not in text and "meta-llama/Llama-3.1-8B-Instruct" in text


@pytest.mark.parametrize("config", STAGES, ids=lambda path: path.stem)
def test_stage_opens_with_its_command(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--config configs/{config.name}" in config.read_text().splitlines()[0]
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(config), "--print_config"])
    assert ended.value.code == 0
    assert "class_path: lightning_modules." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stage", "overlay"),
    [
        (config.stem, overlay.relative_to(CONFIGS).as_posix())
        for config in STAGES
        for overlay in sorted((CONFIGS / config.stem).glob("*.yaml"))
    ]
    + [
        ("dali_ot", "paper/token_alignment.yaml"),
        ("llava_prefix", "paper/llava_prefix_tuning.yaml"),
        ("pseudo_captions", "paper/pseudo_captions.yaml"),
        ("distillation", "paper/audiovisual_distillation.yaml"),
        ("clap_prefix", "paper/clap_prefix.yaml"),
        ("drcap", "paper/drcap.yaml"),
        ("audioset_filter", "paper/audioset_filter.yaml"),
    ],
)
def test_overlay_parses(stage: str, overlay: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Over its stage, under the command that its first line gives; at full size nothing of the miniature stays."""
    text = (CONFIGS / overlay).read_text()
    command = "predict" if stage in ("pseudo_captions", "audioset_filter") else "fit"
    first = f"# python train.py {command} --config configs/{stage}.yaml --config configs/{overlay}"
    assert text.splitlines()[0] == first
    with pytest.raises(SystemExit) as ended:
        main(
            [command, "--config", str(CONFIGS / f"{stage}.yaml"), "--config", str(CONFIGS / overlay), "--print_config"]
        )
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    if overlay.startswith("paper/"):
        others = {
            "clap_prefix": "checkpoints/WavCaps-CNN14.pt",
            "audioset_filter": "Salesforce/blip2-opt-2.7b",
            "drcap": "lmsys/vicuna-7b-v1.5",
        }
        wanted = others.get(stage, "llava-hf/llava-1.5-7b-hf")
        assert wanted in shown and "assets/miniature/" not in shown


@pytest.mark.parametrize("strategy", ["comet", "hard_prompt"])
def test_full_size_of_a_strategy_has_its_defaults(strategy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its first line is its command, with the strategy's overlay and the stage's full size before it."""
    first, *_ = (CONFIGS / "paper" / f"{strategy}.yaml").read_text().splitlines()
    named = ["clap_prefix", f"strategy/{strategy}", "paper/clap_prefix", f"paper/{strategy}"]
    assert first == "# python train.py fit " + " ".join(f"--config configs/{name}.yaml" for name in named)
    with pytest.raises(SystemExit) as ended:
        main(["fit", *(word for name in named for word in ("--config", f"{CONFIGS}/{name}.yaml")), "--print_config"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "assets/miniature/" not in shown
    model = yaml.safe_load(shown)["model"]["init_args"]
    for given in (*(model["training_strategies"] or []), model["inference_strategy"], model["hard_prompt"]):
        if given is not None:
            module, name = given["class_path"].rsplit(".", 1)
            known = inspect.signature(getattr(importlib.import_module(module), name)).parameters
            defaults = {name: known[name].default for name in given["init_args"] if name != "bank"}
            assert defaults == {name: value for name, value in given["init_args"].items() if name != "bank"}


@pytest.mark.parametrize("overlay", sorted((CONFIGS / "authors").glob("*.yaml")), ids=lambda path: path.stem)
def test_authors_overlay_parses_and_changes_what_it_names(overlay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its first line is its command; without the overlay, every value that it sets is another, so none is idle."""
    first, *_ = overlay.read_text().splitlines()
    _, _, subcommand, *words = first.removeprefix("# ").split()
    assert words[-1] == f"configs/authors/{overlay.name}"
    words = [str(REPOSITORY / word) if word.startswith("configs/") else word for word in words]
    found = []
    for given in (words, words[:-2]):
        with pytest.raises(SystemExit) as ended:
            main([subcommand, *given, "--print_config"])
        assert ended.value.code == 0
        found.append(yaml.safe_load(capsys.readouterr().out))
    wanted = yaml.safe_load(overlay.read_text())
    assert not differing(wanted, found[0], "")
    idle = leaves(wanted) - differing(wanted, found[1], "")
    assert {name.rsplit(".", 1)[-1] for name in idle} <= {"class_path", "weight_decay", "max_new_tokens", "factor"}


@pytest.mark.parametrize("config", sorted((CONFIGS / "real").glob("*.yaml")), ids=lambda path: path.stem)
def test_real_config_captions_with_a_clap_of_laions_kind(config: Path, in_tmp_path: Path, world_root: Path) -> None:
    """Every model is a hub id, which is not asked here: small ones of the same classes take their places."""
    assert config.read_text().splitlines()[0] == f"# python train.py test --config configs/real/{config.name}"
    named = re.findall(r"(?:path|model|bank): (\S+)", config.read_text())
    assert not [name for name in named if name.startswith(("assets/", "exports/", "checkpoints/"))]
    laion(in_tmp_path / "clap")
    bank = ("--model.guidance.init_args.bank", str(MINIATURE / "keywords.txt")) if config.stem == "keywords" else ()
    main(
        [
            "test", "--config", str(config), "--data.root", str(world_root / "first-40"), "--data.num_workers", "0",
            "--trainer.accelerator", "cpu",
            "--model.matcher.init_args.pretrained_model_name_or_path", str(in_tmp_path / "clap"),
            "--model.language_model", str(MINIATURE / "gpt2"), *bank,
        ]
    )  # fmt: skip
    (scores,) = in_tmp_path.glob("runs/*_real/test-1/scores.json")
    assert json.loads(scores.read_text())["num_clips"] == 40


def leaves(wanted: Any, name: str = "") -> set[str]:
    wanted = dict(enumerate(wanted)) if isinstance(wanted, list) else wanted
    if not isinstance(wanted, dict):
        return {name}
    return set().union(*(leaves(value, f"{name}.{key}") for key, value in wanted.items()))


def differing(wanted: Any, found: Any, name: str) -> set[str]:
    """Names of the values in `wanted` that `found` has not."""
    wanted, found = (dict(enumerate(one)) if isinstance(one, list) else one for one in (wanted, found))
    if not isinstance(wanted, dict):
        return set() if found == wanted else {name}
    inner = found if isinstance(found, dict) else {}
    return set().union(*(differing(value, inner.get(key), f"{name}.{key}") for key, value in wanted.items()))
