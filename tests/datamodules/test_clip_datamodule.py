"""The datamodule inside a real Trainer: two processes, death in mid-epoch, resuming, and what is refused."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.batches_done import BatchesDone
from datamodules.clip_datamodule import ClipDataModule
from datamodules.clips import ClipBatch, ClipFormat
from earshot.errors import InputError
from tests.datamodules.made_clips import clip_media

REPOSITORY = Path(__file__).parents[2]
SECONDS = 120


def run(split: Path, folder: Path, *options: Any) -> subprocess.CompletedProcess:
    """The toy run as a command, killed with all its processes when it hangs."""
    command = [sys.executable, str(Path(__file__).with_name("toy_run.py")), split, folder, *options]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [str(word) for word in command], cwd=REPOSITORY, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def notes(folder: Path, loop: str, rank: int = 0) -> list[tuple[list[str], bool, list[int] | None]]:
    lines = map(json.loads, (folder / f"notes-{rank}.jsonl").read_text().splitlines())
    return [(ids, valid, pictures) for name, ids, valid, pictures in lines if name == loop]


def clips(batches: list) -> list[str]:
    return [clip_id for ids, *_ in batches for clip_id in ids]


def test_two_processes_take_equal_steps_and_see_every_validation_clip_once(uneven: tuple, tmp_path: Path) -> None:
    split, all_ids = uneven
    done = run(split, tmp_path / "run", "--devices", 2, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    ranks = [notes(tmp_path / "run", "train", rank) for rank in range(2)]
    steps = 78 // (2 * 4)
    assert [len(batches) for batches in ranks] == [2 * steps] * 2
    epochs = [clips(ranks[0][begin : begin + steps] + ranks[1][begin : begin + steps]) for begin in (0, steps)]
    assert [len(set(epoch)) for epoch in epochs] == [len(epoch) for epoch in epochs] == [72, 72]
    assert epochs[0] != epochs[1]
    for loop, passes in (("validate", 2), ("test", 1)):
        batches = [notes(tmp_path / "run", loop, rank) for rank in range(2)]
        assert len(batches[0]) == len(batches[1])
        assert sorted(clips(batches[0] + batches[1])) == sorted(all_ids * passes), loop
        assert all(pictures is None for _, _, pictures in batches[0])  # not wanted, not decoded


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_the_clips_go_on_exactly(uneven: tuple, tmp_path: Path) -> None:
    split, _ = uneven
    assert run(split, tmp_path / "whole").returncode == 0
    whole = notes(tmp_path / "whole", "train")
    steps = 78 // 4
    assert len(whole) == 3 * steps

    died = run(split, tmp_path / "died", "--kill-at", steps + 8)  # the last checkpoint is two steps older
    assert died.returncode == -signal.SIGKILL
    resumed_at = (steps + 8) // 6 * 6
    assert resumed_at % steps and notes(tmp_path / "died", "train") == whole[: steps + 8]

    last = tmp_path / "died" / "last.ckpt"
    resumed = run(split, tmp_path / "resumed", "--checkpoint", last)
    assert resumed.returncode == 0, resumed.stderr
    assert notes(tmp_path / "resumed", "train") == whole[resumed_at:]  # ids and the frames drawn
    assert "not resumable" not in resumed.stderr


@pytest.fixture
def third(uneven: tuple, tmp_path: Path) -> tuple[Path, set[str]]:
    """A list of every third clip and of one that is not there; no clip of the sixth shard is in it."""
    gone = set(uneven[1][64:67])
    ids = [clip_id for clip_id in uneven[1][::3] if clip_id not in gone]
    (tmp_path / "ids.txt").write_text("\n".join([*reversed(ids), "clip.none"]))
    return tmp_path / "ids.txt", set(ids)


@pytest.mark.slow
def test_listed_clips_are_shared_out_among_two_processes(uneven: tuple, third: tuple, tmp_path: Path) -> None:
    done = run(uneven[0], tmp_path / "run", "--devices", 2, "--epochs", 8, "--ids", third[0])
    assert done.returncode == 0, done.stderr
    assert "1 of 26 ids are not in" in done.stderr and "'clip.none'" in done.stderr
    assert "training on 25 of 78 clips" in done.stderr
    ranks = [notes(tmp_path / "run", "train", rank) for rank in range(2)]
    steps = 25 // (2 * 4)
    assert [len(batches) for batches in ranks] == [8 * steps] * 2
    for begin in range(0, 8 * steps, steps):
        epoch = clips(ranks[0][begin : begin + steps] + ranks[1][begin : begin + steps])
        assert len(epoch) == len(set(epoch)) == 24 and set(epoch) <= third[1]
    assert {clip_id for batches in ranks for clip_id in clips(batches)} == third[1]  # the one left out changes
    assert len(clips(notes(tmp_path / "run", "test") + notes(tmp_path / "run", "test", 1))) == 78  # training alone


class Counts(L.LightningModule):
    """Keeps the ids of every batch, by loop."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: dict[str, list[list[str]]] = {"train": [], "val": [], "predict": []}

    def clip_format(self, stage: str) -> ClipFormat:
        return ClipFormat(sampling_rate=1000)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> torch.Tensor:
        self.seen["train"].append(batch.clip_ids)
        return self.layer(batch.waveforms[:, :1].float()).mean()

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self.seen["val"].append(batch.clip_ids)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self.seen["predict"].append(batch.clip_ids)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def trainer(**options: Any) -> L.Trainer:
    off = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    settings = {"accelerator": "cpu", "devices": 1, "max_epochs": 2, "num_sanity_val_steps": 0}
    return L.Trainer(**dict.fromkeys(off, False) | settings | options)


@pytest.fixture
def data(uneven: tuple) -> Callable[..., ClipDataModule]:
    def made(**options: Any) -> ClipDataModule:
        settings = {"train": "corpus/uneven", "batch_size": 8, "num_workers": 0, "shuffle_window": 7}
        return ClipDataModule(str(uneven[0].parents[1]), **settings | options)

    return made


pytestmark = pytest.mark.filterwarnings(
    "ignore:You defined a `validation_step`",
    "ignore:.*Starting from v1.9.0",
    "ignore:Trying to infer the `batch_size`",
)


def test_a_short_epoch_goes_on_where_the_last_one_stopped(data: Callable) -> None:
    whole, short = Counts(), Counts()
    trainer().fit(whole, data())
    trainer(limit_train_batches=4, max_epochs=4).fit(short, data())
    assert len(short.seen["train"]) == 16 and short.seen["train"] == whole.seen["train"][:16]


def test_overfitting_takes_the_same_batches_every_epoch(data: Callable) -> None:
    stage = Counts()
    trainer(overfit_batches=2).fit(stage, data())
    assert stage.seen["train"][:2] == stage.seen["train"][2:]


def test_a_second_trainer_begins_anew(data: Callable) -> None:
    module, first, second = data(), Counts(), Counts()
    trainer(max_epochs=1).fit(first, module)
    trainer(max_epochs=1).fit(second, module)
    assert first.seen["train"] == second.seen["train"]


@pytest.mark.parametrize("max_epochs", [1, 2])
def test_resuming_at_the_end_of_an_epoch_begins_the_next(data: Callable, tmp_path: Path, max_epochs: int) -> None:
    whole, begun, resumed = Counts(), Counts(), Counts()
    trainer(max_epochs=3).fit(whole, data(val="corpus/uneven"))
    began = trainer(max_epochs=max_epochs)
    began.fit(begun, data(val="corpus/uneven"))
    began.save_checkpoint(tmp_path / "last.ckpt")
    goes_on = trainer(max_epochs=3)
    goes_on.fit(resumed, data(val="corpus/uneven"), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert begun.seen["train"] + resumed.seen["train"] == whole.seen["train"]


@pytest.mark.parametrize("few", ["num_pairs", "pairs", "ids"])
def test_skip_broken_holds_of_all_ways_to_choose_clips(few: str, data: Callable, uneven: tuple, tmp_path: Path) -> None:
    split, ids = uneven
    (split / "000005.tar").unlink()
    (tmp_path / "table.csv").write_text("\n".join(["clip_id", *ids]))
    stage, options = Counts(), {few: 75 if few == "num_pairs" else str(tmp_path / "table.csv")}
    with pytest.warns(UserWarning, match=r"left out a missing shard \(3 clips so far\)"):
        trainer(max_epochs=8).fit(stage, data(skip_broken=True, **options))
    assert set(clips((batch,) for batch in stage.seen["train"])) == {*ids[:64], *ids[67:]}


def test_a_rank_that_found_other_clips_than_the_first_is_refused(data: Callable) -> None:
    mine = data()
    mine.trainer = SimpleNamespace(strategy=SimpleNamespace(broadcast=lambda _: ["a", "b"]))
    mine._require_same(["a", "b"])
    with pytest.raises(InputError, match="expected the same clips of corpus/uneven on all devices"):
        mine._require_same(["a"])


def test_listed_clips_go_on_exactly_and_another_list_is_refused(
    data: Callable, uneven: tuple, third: tuple, tmp_path: Path
) -> None:
    chosen, last = {"ids": str(third[0])}, tmp_path / "last.ckpt"
    whole, resumed = Counts(), Counts()
    saves = ModelCheckpoint(tmp_path, "last", every_n_train_steps=5)  # in the second epoch of three steps
    trainer(max_epochs=3, callbacks=[saves], enable_checkpointing=True).fit(whole, data(**chosen))
    assert [len(batch) for batch in whole.seen["train"]] == [8] * 3 * (25 // 8)
    trainer(max_epochs=3).fit(resumed, data(**chosen), ckpt_path=last, weights_only=True)
    assert resumed.seen["train"] == whole.seen["train"][5:]
    third[0].write_text("\n".join(uneven[1][::4]))
    with pytest.raises(InputError, match="expected train_index .* as in the checkpoint"):
        trainer().fit(Counts(), data(**chosen), ckpt_path=last, weights_only=True)


@pytest.mark.parametrize(("first", "then"), [(12, 4), (4, 12)])
def test_a_run_goes_on_in_other_batches_with_the_global_batch_held(
    data: Callable, tmp_path: Path, first: int, then: int
) -> None:
    """A step of 12 at once or in three batches of 4, as on one device after three; saved in the second epoch of six."""
    whole, begun, resumed = Counts(), Counts(), Counts()
    begun.load_state_dict(whole.state_dict())
    trainer(max_epochs=3).fit(whole, data(batch_size=12))
    counts, last = BatchesDone(), tmp_path / "last.ckpt"
    saves = ModelCheckpoint(tmp_path, "last", every_n_train_steps=8)
    options = {"callbacks": [counts, saves], "enable_checkpointing": True}
    trainer(max_steps=8, max_epochs=-1, **options).fit(begun, data(batch_size=first, global_batch_size=12))
    trainer(max_epochs=3, callbacks=[counts]).fit(resumed, data(batch_size=then), ckpt_path=last, weights_only=True)

    def steps(stage: Counts) -> list[list[str]]:
        ids = clips([(batch,) for batch in stage.seen["train"]])
        return [ids[at : at + 12] for at in range(0, len(ids), 12)]

    assert steps(begun) == steps(whole)[:8] and steps(resumed) == steps(whole)[8:] and len(steps(whole)) == 18
    assert resumed.trainer.global_step == 18
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changed",
    [{"seed": 5}, {"shuffle_window": 9}, {"train": "corpus/other"}],
)
def test_a_checkpoint_of_other_settings_is_refused_by_fit_alone(
    data: Callable, pack: Callable, tmp_path: Path, changed: dict
) -> None:
    pack({f"clip{number}": clip_media(number, 1) for number in range(20)}, "corpus/other")
    began = trainer(max_epochs=1)
    began.fit(Counts(), data())
    began.save_checkpoint(tmp_path / "last.ckpt")
    ((name, value),) = changed.items()
    with pytest.raises(InputError, match=f"expected {name} .* as in the checkpoint, found {value};"):
        trainer().fit(Counts(), data(**changed), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    stage, other = Counts(), data(predict="corpus/other", **changed)
    trainer().predict(stage, other, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert sum(map(len, stage.seen["predict"])) == 20


def test_validation_after_fit_may_change_the_settings(data: Callable, tmp_path: Path) -> None:
    began, module, stage = trainer(max_epochs=1), data(val="corpus/uneven"), Counts()
    began.fit(Counts(), module)
    began.save_checkpoint(tmp_path / "last.ckpt")
    module.batch_size = 6
    trainer().validate(stage, module, ckpt_path=tmp_path / "last.ckpt", weights_only=True, verbose=False)
    assert sum(map(len, stage.seen["val"])) == 78


def test_a_split_packed_again_is_refused(data: Callable, pack: Callable, tmp_path: Path) -> None:
    began = trainer(max_epochs=1)
    began.fit(Counts(), data())
    began.save_checkpoint(tmp_path / "last.ckpt")
    pack({f"clip{number}": clip_media(number, 1) for number in range(20)}, "corpus/uneven")
    with pytest.raises(InputError, match="expected train_index .* as in the checkpoint"):
        trainer().fit(Counts(), data(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)


def test_a_missing_split_or_a_wrong_setting_is_told(data: Callable) -> None:
    for run, split in (("fit", "train"), ("validate", "val"), ("test", "test"), ("predict", "predict")):
        with pytest.raises(InputError, match=f"expected a {split} split, found none; set data.init_args.{split}"):
            data(train=None).setup(run)
    with pytest.raises(InputError, match="nowhere/train, found no such folder"):
        data(train="nowhere/train").setup("fit")
    with pytest.raises(InputError, match="expected batch_size of at least 1, found 0"):
        data(batch_size=0)
