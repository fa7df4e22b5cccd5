"""What the authors released, in their names and layouts and at small sizes, through the real command."""

import csv
import re
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPOSITORY, arguments
from made_cav_mae import authors_layout, authors_weights, save
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from lightning_modules.networks import cav_mae, wsac_checkpoint
from lightning_modules.networks.clap import checkpoint as clap_checkpoint
from lightning_modules.networks.imagebind import checkpoint as imagebind_checkpoint
from lightning_modules.networks.llava import authors_files
from train import main

SIZES = (128, 256, 16, 32, 2, 2, 4.0, 96, 16000, -5.081, 4.4849)  # the constructor's defaults, smaller


def test_dalis_released_weights_caption(
    in_tmp_path: Path, world_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Encoder, soft tokens and projector, as configs/authors/dali_released.yaml names them."""
    monkeypatch.setattr(cav_mae.CavMaeEncoder.__init__, "__defaults__", SIZES)
    Path("dali").mkdir()
    layout = {name: shape for name, shape in authors_layout("CAVMAE", 32, 2, 128).items() if "decoder" not in name}
    projection = {"proj.weight": torch.randn(96, 32), "proj.bias": torch.zeros(96)}
    save(authors_weights(layout) | projection, Path("dali/audio_backbone.pth"), "module.")
    torch.save({"model.audio_tower.prefix": torch.randn(16, 128)}, "dali/prefix.bin")
    shapes = {"0.weight": (128, 96), "0.bias": (128,), "2.weight": (128, 128), "2.bias": (128,)}
    torch.save({f"model.mm_projector.{n}": torch.randn(shape) for n, shape in shapes.items()}, "dali/prefixMLP.bin")
    overlay = yaml.safe_load((REPOSITORY / "configs/authors/dali_released.yaml").read_text())
    captioner = overlay["model"]["init_args"]["captioner"]["init_args"]
    captioner["audio_encoder"]["init_args"]["path"] = "dali/audio_backbone.pth"
    captioner |= {"audio_projector": "dali/prefixMLP.bin", "prefix": "dali/prefix.bin", "inputs": "audio+image"}
    captioner["generation"]["max_new_tokens"] = 5
    Path("overlay.yaml").write_text(yaml.safe_dump(overlay))
    main(["test", *arguments(world_root, "--config", "overlay.yaml", "--trainer.limit_test_batches", "1")])
    with open("runs/dali_released/test-1/captions.csv") as file:
        assert all(row["clip_id"] for row in csv.DictReader(file))
    Path("dali/prefixMLP.bin").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["test", *arguments(world_root, "--config", "overlay.yaml")])
    assert ended.value.code == 2 and "get it from zenodo.org/records/14224316" in capsys.readouterr().err


def test_a_decoder_of_wsacs_code_captions(in_tmp_path: Path, world_root: Path) -> None:
    theirs = nn.Module()
    theirs.decoder = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=64, n_embd=16, n_layer=4, n_head=4))
    theirs.clap_project = nn.Module()
    theirs.clap_project.model = nn.Sequential(nn.Linear(128, 16))
    torch.save(theirs.state_dict(), "epoch-29.pt")
    size = ("--model.width", "16", "--model.mapping_layers", "1", "--model.decoder_checkpoint", "epoch-29.pt")
    command = ["test", *arguments(world_root, *size, "--data.eval_batch_size", "40", config="clap_prefix.yaml")]
    main([*command, "--export.load", "false"])
    with open("runs/clap_prefix/test-1/captions.csv") as file:
        assert len(list(csv.DictReader(file))) == 40


def test_errors_say_what_the_page_of_files_says() -> None:
    page = (REPOSITORY / "docs/full_size_files.md").read_text()
    places = [cav_mae.WHERE, cav_mae.WHERE_ALIGNED, clap_checkpoint.WHERE, imagebind_checkpoint.WHERE,
              wsac_checkpoint.WHERE, authors_files.WHERE]  # fmt: skip
    for where in places:
        named = re.findall(r"[\w-]+(?:\.[\w-]+)+(?:/[\w.-]+)*", where)
        assert named and all(name.strip(".") in page for name in named), where


def test_paths_in_the_configurations_stand_on_the_page() -> None:
    page = (REPOSITORY / "docs/full_size_files.md").read_text()
    texts = [
        path.read_text() for folder in ("paper", "authors") for path in (REPOSITORY / "configs" / folder).iterdir()
    ]
    named = {name for text in texts for name in re.findall(r"checkpoints/[\w./-]+\w", text)}
    assert len(named) >= 6 and all(f"`{name}`" in page or "epoch" in name for name in named)
