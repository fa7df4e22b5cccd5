"""What makes a killed training run go on as an unbroken one: checkpoints that no kill destroys, and seeds of steps."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loops.evaluation_loop import RestartStage
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.loop import _Loop

from callbacks.checkpoint_file import read_checkpoint_file
from callbacks.csv_logger import CSVLogger
from callbacks.stop_signal import StopSignal
from earshot.atomic import atomic_path
from earshot.errors import InputError
from earshot.signals import SIGNALS, Stopped
from earshot.step_seed import seed_step

IN_VALIDATION = "in_validation"  # in a checkpoint


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
    all ranks there; during a validation, after its next batch, so that a resumed run begins with this validation. A
    signal after the last of `max_steps` changes nothing: the weights are exported as usual. A run that ends in the
    middle of an epoch is saved there, so that with more steps or time it goes on as an unbroken one.

    Args:
        every_n_train_steps: a kill loses at most about this many steps.

    Raises:
        InputError: a number below 1.
    """

    def __init__(self, every_n_train_steps: int = 100) -> None:
        if every_n_train_steps < 1:
            raise InputError(
                f"expected every_n_train_steps of at least 1, found {every_n_train_steps}; raise it to save seldom"
            )
        self.every_n_train_steps = every_n_train_steps
        self.saved = self.stepped = 0
        self.stop: StopSignal | None = None
        self.in_validation = self.resumes_in_validation = self.ending = False

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Keep Lightning's handlers away: theirs wait for other ranks inside the handler, and for ever.

        Raises:
            InputError: validations by the clock of several ranks, each of which would go by its own.
        """
        if trainer.world_size > 1 and vars(trainer)["_val_check_time_interval"] is not None:
            raise InputError(
                "expected trainer.val_check_interval as batches or a share of an epoch on several devices, found a "
                "time, about which their clocks differ; give a number"
            )
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the best score so far when a run goes on in another folder, where Lightning's callback forgets it.

        Not where the file with those weights is gone, or has others by now.
        """
        self.resumes_in_validation = checkpoint.get(IN_VALIDATION, False)
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint.get("callbacks", {}).get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state and Path(state["best_model_path"]).is_file():
                held = torch.load(state["best_model_path"], map_location="cpu", weights_only=True, mmap=True)
                kept = held["callbacks"][callback.state_key]
                if kept["best_model_score"] == state["best_model_score"]:
                    state["dirpath"] = callback.dirpath
                elif kept["dirpath"] == callback.dirpath:  # a validation after the step of this checkpoint replaced it
                    checkpoint["callbacks"][callback.state_key] = kept

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Count from the step at which a resumed run starts."""
        begin_next_epoch(trainer.fit_loop)
        if self.resumes_in_validation:
            begin_with_validation(trainer)
            self.resumes_in_validation = False
        self.saved = self.stepped = trainer.global_step
        self.stop, self.ending = StopSignal(), False
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
        """Save if due or if training ends here, after a whole step, and if no validation follows."""
        self.end_after_whole_step(trainer)
        whole = trainer.global_step != self.stepped  # a step may take several batches
        if self.stop is not None and whole:
            self.stepped = trainer.global_step
            self.stop.step()
        if whole and (ends(trainer) or self.due(trainer)) and not validates(trainer, batch_idx):
            self.save(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """Stop in the middle of a validation, which may take longer than SLURM leaves a job.

        Raises:
            Stopped: the state is saved.
        """
        if self.stop is None or trainer.sanity_checking or not begins_with_validation(trainer):
            return
        self.stop.step()
        if self.stop.agreed:
            self.in_validation, self.saved = True, -1  # also where the file of this step is in another run's folder
            self.save(trainer)
            raise Stopped(self.stop.agreed, saved=True)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Note that the validation after the last step has not ended."""
        if self.in_validation:
            checkpoint[IN_VALIDATION] = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save if due or if training ends here, after a validation in the middle of an epoch."""
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if not fitting or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        self.end_after_whole_step(trainer)
        if self.due(trainer) or ends(trainer):
            self.save(trainer)

    def end_after_whole_step(self, trainer: L.Trainer) -> None:
        """Put off an end by `max_time` or early stopping in the middle of a step, whose batches would be lost."""
        self.ending |= trainer.should_stop
        trainer.should_stop = self.ending and after_whole_step(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save the finished epoch; of one that `max_steps` or `max_time` broke off, what was saved in it stays."""
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self.save(trainer)


def ends(trainer: L.Trainer) -> bool:
    """Whether training ends after this step, as by `max_steps`, `max_time` or early stopping."""
    return at_last_step(trainer) or (trainer.should_stop and trainer.fit_loop._can_stop_early)


def at_last_step(trainer: L.Trainer) -> bool:
    """Whether all of `max_steps` are done."""
    return 0 <= trainer.max_steps <= trainer.global_step


def validates(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether a validation, or the end of the epoch, follows a training batch, also in a run that does not end here."""
    epoch = trainer.fit_loop.epoch_loop
    if epoch.batch_progress.is_last_batch:
        return True
    every = trainer.check_val_every_n_epoch
    if (seconds := vars(trainer)["_val_check_time_interval"]) is not None:
        due = time.monotonic() - vars(trainer)["_last_val_time"] >= seconds
    else:
        batches = batch_idx + 1 if every else epoch.total_batch_idx + 1
        due = batches % (trainer.val_check_batch or 1) == 0
    due &= (trainer.current_epoch + 1) % (every or 1) == 0
    loaders = trainer.num_val_batches  # [] before the first validation
    return due and trainer.enable_validation and (not loaders or sum(loaders) > 0)


def after_whole_step(trainer: L.Trainer) -> bool:
    """Whether the batches so far make up whole optimizer steps."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return progress.is_last_batch or progress.current.ready % trainer.accumulate_grad_batches == 0


def begins_with_validation(trainer: L.Trainer) -> bool:
    """Whether a run that is resumed in this validation can begin with it: after whole steps, and before the last."""
    return after_whole_step(trainer) and not at_last_step(trainer) and not vars(trainer)["fast_dev_run"]


def begin_with_validation(trainer: L.Trainer) -> None:
    """Run the whole validation in which a run was stopped, before the next step.

    Lightning would go on in the middle of it, without what its first batches gave, where it takes it for stopped there.
    """
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop._restart_stage = RestartStage.RESTARTED_MID_EVALUATION
    loop.restarting = False
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            logger.experiment.in_validation = True


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
            seed_step(pl_module.device, int(seed), 0, number)
