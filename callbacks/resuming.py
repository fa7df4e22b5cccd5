"""What makes a killed training run go on as an unbroken one: checkpoints that no kill destroys, and seeds of steps."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.loop import _Loop

from callbacks.checkpoint_file import read_checkpoint_file
from callbacks.stop_signal import StopSignal
from earshot.atomic import atomic_path
from earshot.signals import SIGNALS, Stopped


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target, then rename over it.

    Lightning writes to the system's temporary folder and moves the file from there. Between two file systems, moving is
    copying, and a kill during the copy leaves half a checkpoint in place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Write the whole `checkpoint` to `path`, or leave the file that is there."""
        with atomic_path(Path(path)) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(
        self, path: _PATH, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read as data, whatever Lightning asks for; `read_checkpoint_file` tells what is wrong with a file."""
        if Path(path).name == ".temp.ckpt":  # weights alone, from processes that Lightning forked
            return super().load_checkpoint(path, map_location, weights_only=True)
        return read_checkpoint_file(Path(path))


class LastCheckpoint(Checkpoint):
    """Save checkpoints/last.ckpt, the newest state every so many optimizer steps and at the end of every epoch.

    It never saves between a training step and the validation after it: when resumed from there, Lightning skips that
    validation, whose loss would be missing from the curve and from the choice of the best weights.

    SIGINT, SIGTERM and SIGUSR1, to any rank, save it after the next optimizer step at which it may be saved, and end
    all ranks there. A signal after the last step changes nothing: the weights are exported as usual.

    Args:
        every_n_train_steps: a kill loses at most about this many steps.
    """

    def __init__(self, every_n_train_steps: int = 100) -> None:
        self.every_n_train_steps = every_n_train_steps
        self.saved = self.stepped = 0
        self.stop: StopSignal | None = None

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Keep Lightning's handlers away: theirs wait for other ranks inside the handler, and for ever."""
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the best score so far when a run goes on in another folder, where Lightning's callback forgets it.

        Not where the file with those weights is gone, or has others by now.
        """
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint.get("callbacks", {}).get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state and Path(state["best_model_path"]).is_file():
                held = torch.load(state["best_model_path"], map_location="cpu", weights_only=True, mmap=True)
                if held["callbacks"][callback.state_key]["best_model_score"] == state["best_model_score"]:
                    state["dirpath"] = callback.dirpath

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Count from the step at which a resumed run starts."""
        begin_next_epoch(trainer.fit_loop)
        self.saved = self.stepped = trainer.global_step
        self.stop = StopSignal()
        SIGNALS.awaited = True

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Stop here, and not when saving: by now the last step's metrics are logged.

        Raises:
            Stopped: the state is saved.
        """
        saved = self.saved == trainer.global_step or trainer.fast_dev_run  # type: ignore[attr-defined]  # set at run time
        if self.stop is not None and self.stop.agreed and saved:
            raise Stopped(self.stop.agreed, saved=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Leave no message under way."""
        if self.stop is not None:
            self.stop.finish()
            self.stop = None

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """End the ranks that this process started, if it ends alone."""
        SIGNALS.awaited = False
        SIGNALS.ending = isinstance(exception, Stopped)
        if isinstance(exception, Stopped) and not exception.saved and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGTERM)

    def teardown(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """From now on a signal ends the command at once."""
        SIGNALS.awaited = False

    def save(self, trainer: L.Trainer) -> None:
        """Write the file, unless this step is in it already."""
        if trainer.global_step != self.saved and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set at run time
            path = Path(trainer.default_root_dir, "checkpoints", "last.ckpt")
            trainer.save_checkpoint(path, weights_only=False)  # all of the state, to resume from
            self.saved = trainer.global_step

    def due(self, trainer: L.Trainer) -> bool:
        """Whether a multiple of the steps has been passed since the last file, or a signal came."""
        stopping = self.stop is not None and self.stop.agreed != 0
        return stopping or trainer.global_step // self.every_n_train_steps > self.saved // self.every_n_train_steps

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save if due, after a whole step, and if no validation follows."""
        whole = trainer.global_step != self.stepped  # a step may take several batches
        if self.stop is not None and whole:
            self.stepped = trainer.global_step
            self.stop.step()
        if whole and self.due(trainer) and not validates(trainer, batch_idx):
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save if due, after a validation in the middle of an epoch."""
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if fitting and self.due(trainer) and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save the finished epoch."""
        self.save(trainer)


def validates(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether a validation, or the end of the epoch, follows a training batch."""
    epoch = trainer.fit_loop.epoch_loop
    if epoch.batch_progress.is_last_batch:
        return True
    every = trainer.check_val_every_n_epoch
    batches = batch_idx + 1 if every else epoch.total_batch_idx + 1
    due = batches % (trainer.val_check_batch or 1) == 0 and (trainer.current_epoch + 1) % (every or 1) == 0
    loaders = trainer.num_val_batches  # [] before the first validation
    return due and trainer.enable_validation and (not loaders or sum(loaders) > 0)


def begin_next_epoch(loop: _FitLoop) -> None:
    """Where a run resumes from the end of an epoch, go on with the next one.

    So Lightning does with `max_epochs`. With `max_steps` it ends the finished epoch once more: every epoch and every
    logged step after that has a number one too high.
    """
    if loop.restarted_on_epoch_end:
        _Loop.restarting.fset(loop, False)  # type: ignore[attr-defined]  # the loop's own setter sets it again
        loop.epoch_progress.increment_completed()
        loop.reset_restart_stage()
        loop.epoch_loop.reset_restart_stage()


class SeedSteps(L.Callback):
    """Seed torch before every training step from seed_everything and the number of the batch among those of all ranks.

    A checkpoint holds no state of the random number generators, and with several ranks could hold only that of rank 0:
    without this callback, dropout differs after resuming. Batches of the same size are the same ones on any number of
    ranks (`datamodules.stream_plan.slots_of`), and so is their dropout. It does nothing with `seed_everything: false`.
    """

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Seed the generators of the CPU and of the device."""
        seed = os.environ.get("PL_GLOBAL_SEED")  # set by Lightning's seed_everything
        if seed is not None:
            number = trainer.fit_loop.total_batch_idx * trainer.world_size + trainer.global_rank
            entropy = (int(seed), 0, number)
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
