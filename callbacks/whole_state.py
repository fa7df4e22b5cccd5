"""A fit is resumed from a whole state, where Lightning passes over what a checkpoint lacks."""

from typing import Any

import lightning as L

from earshot.errors import InputError

ADVICE = "give the last.ckpt of this run, or begin a new run without --ckpt_path"


class WholeState(L.Callback):
    """Refuse to resume from weights alone, from a run on other data, or with the state of another optimizer."""

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look for the states that fit goes on with.

        Raises:
            InputError: one is missing.
        """
        if trainer.state.fn != "fit":
            return
        states = checkpoint.get("optimizer_states")
        if not isinstance(states, list) or not all(isinstance(state, dict) for state in states):
            raise InputError(f"expected the optimizer's state in {trainer.ckpt_path}, found none; {ADVICE}")
        self.num_optimizers = len(states)
        data = vars(trainer).get("datamodule")
        if data is not None and data.state_dict() and type(data).__qualname__ not in checkpoint:
            found = "expected the state of {} in {}, found that of other data, or none; {}"
            raise InputError(found.format(type(data).__qualname__, trainer.ckpt_path, ADVICE))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look whether each optimizer has got a state of its own kind.

        Raises:
            InputError: it has not.
        """
        if trainer.ckpt_path is None:
            return
        same = self.num_optimizers == len(trainer.optimizers)
        for optimizer in trainer.optimizers:
            if not same or any(optimizer.defaults.keys() - group.keys() for group in optimizer.param_groups):
                raise InputError(
                    f"expected the state of {type(optimizer).__name__} in {trainer.ckpt_path}, found that of another "
                    f"optimizer; {ADVICE}"
                )
