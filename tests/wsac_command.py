"""WSAC's stage through the real command, on 40 captions of the miniature."""

from pathlib import Path

from conftest import MINIATURE, REPOSITORY

from lightning_modules.clap_prefix_decoder import ClapPrefixDecoder
from lightning_modules.networks.clap.encoder import ClapEncoder
from train import main

CONFIG = REPOSITORY / "configs/clap_prefix.yaml"
SHORT = ("--trainer.max_epochs", "1", "--data.batch_size", "8", "--trainer.limit_train_batches", "2")


def command(name: str, root: Path, *more: str, strategies: tuple[str, ...] = ()) -> None:
    overlays = [x for s in strategies for x in ("--config", str(REPOSITORY / f"configs/strategy/{s}.yaml"))]
    main([
        name, "--config", str(CONFIG), *overlays, "--data.root", str(root), "--data.max_clips", "40",
        "--data.num_workers", "0", "--trainer.accelerator", "cpu", "--evaluation.java", "false", *more,
    ])  # fmt: skip


def stage(**more: object) -> ClapPrefixDecoder:
    return ClapPrefixDecoder(ClapEncoder.from_pretrained(MINIATURE / "clap"), width=16, depth=1, num_heads=2, **more)
