"""The stages that the kill campaign trains, on a few clips and in a dozen steps, and the world that they read."""

import json
from dataclasses import dataclass
from pathlib import Path

from datamodules.shards import read_index, records, write_shards
from earshot.atomic import atomic_folder, write_text
from miniature.corpora import WORLD_VERSION, samples, sentences

REPOSITORY = Path(__file__).resolve().parents[2]
CLIPS, CLIPS_PER_SHARD, SENTENCES = 40, 12, 60
SPLITS = ("audioset/train", "audioset/val", "audiocaps/train", "audiocaps/val")


@dataclass(frozen=True)
class SmallStage:
    """A stage's YAML, and what makes it small; `predicts` has PredictTable write captions of audioset/val.

    An optimizer step takes 8 clips, captions or sentences: on one rank in batches of `batch_size`, on each of two in
    one of 4. With 4, dropout is the same on both, as batches are. With 8, a loss that is a mean over tokens is the
    same, which over two accumulated batches is a mean of two means.
    """

    config: str
    arguments: tuple[str, ...]
    batch_size: int = 8
    predicts: bool = True

    def command(self, name: str, world: Path, ranks: int, workers: int) -> list[str]:
        """Arguments of train.py for `fit` or `predict`."""
        config = REPOSITORY / "configs" / f"{self.config}.yaml"
        before = ["--trainer.callbacks.every_n_train_steps", "3"]  # of LastCheckpoint, the last one of defaults.yaml
        given = [name, *before, "--config", str(config), "--config", str(world / f"{name}.yaml"), *self.arguments]
        given += ["--data.root", str(world), "--trainer.accelerator", "cpu"]
        given += ["--trainer.devices", str(ranks), *(("--trainer.strategy", "ddp") if ranks > 1 else ())]
        if self.config != "audibility":
            given += ["--data.max_clips", str(CLIPS), "--data.num_workers", str(workers)]
        if name == "predict":
            given += ["--run_name", "captions", "--export.source", "exports/run"]
            return [*given, "--data.predict", "audioset/val", "--data.eval_batch_size", "4"]
        given += ["--data.global_batch_size", "8", "--data.batch_size", str(self.batch_size)]
        # validated are whole splits: the first batches of each rank are other clips on two, and choose other weights
        return [*given, "--trainer.log_every_n_steps", "1", "--run_name", "run", "--ckpt_path", "resume"]


LLAVA = ("--model.captioner.audio_encoder.init_args.pretrained_model_name_or_path", "assets/miniature/cav_mae")
STAGES = {
    "prefix tuning": SmallStage("llava_prefix", ("--trainer.max_steps", "12")),
    "alignment": SmallStage("dali_ot", ("--trainer.max_epochs", "3", "--data.eval_batch_size", "8"), 4),
    "distillation": SmallStage(
        "distillation",
        (*LLAVA, "--model.captioner.prefix", "assets/miniature/prefix", "--data.train", "audiocaps/train",
         "--data.captions", "captions.csv", "--trainer.max_epochs", "3"),
    ),
    "CLAP prefix": SmallStage(
        "clap_prefix",
        # Adam makes steps of full size of gradients that are rounding errors, which differ by the number of ranks;
        # below, too
        ("--trainer.max_epochs", "3", "--data.eval_batch_size", "64", "--model.optimizer.init_args.eps", "1e-3"),
    ),
    "DRCap": SmallStage(
        "drcap",
        ("--trainer.max_epochs", "3", "--data.eval_batch_size", "64", "--model.optimizer.init_args.eps", "1e-3"),
    ),
    "audibility": SmallStage("audibility", ("--trainer.max_steps", "14"), 4, predicts=False),
}  # fmt: skip


def write_world(root: Path) -> None:
    """Splits of several shards, sentences, pseudo-captions, and YAMLs that append the campaign's callbacks."""
    for split in SPLITS:
        (root / f"first-{CLIPS}" / split).parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(root / f"first-{CLIPS}" / split) as folder:
            write_shards(folder, samples(split, 0, CLIPS), CLIPS_PER_SHARD)
            write_text(folder / "made_with.json", json.dumps({"world": WORLD_VERSION, "seed": 0, "clips": CLIPS}))
    for name, lines in zip(("audible", "inaudible"), sentences()):
        write_text(root / "sentences" / f"{name}.txt", "\n".join(lines[:SENTENCES]) + "\n")
    clips = records(read_index(root / f"first-{CLIPS}" / "audiocaps/train"))
    rows = "".join(f'{record["id"]},"{record["captions"][0]}"\n' for record in clips)
    write_text(root / "captions.csv", f"clip_id,caption\n{rows}")
    appended = "trainer:\n  callbacks+:\n    - class_path: tests.campaigns.phases.Phases\n"
    write_text(root / "fit.yaml", appended)
    write_text(root / "predict.yaml", f"{appended}    - class_path: callbacks.predict_table.PredictTable\n")
