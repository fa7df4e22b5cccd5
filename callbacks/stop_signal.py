"""A signal to one rank stops all ranks after the same optimizer step."""

import torch
import torch.distributed as dist

from earshot.signals import SIGNALS


class StopSignal:
    """The signal that training stops for, the same on all ranks at every step.

    Ranks that stopped by themselves would leave the others waiting in the next reduction, so they tell one another
    after each step. The telling goes on beside the next step, on the CPU: no rank waits for its device, and a signal
    counts one step later.

    Attributes:
        agreed: number of the signal, 0 for none.
    """

    def __init__(self) -> None:
        self.agreed = 0
        self.group = dist.new_group(backend="gloo") if dist.is_initialized() and dist.get_world_size() > 1 else None
        self.told: torch.Tensor | None = None  # () of the last step
        self.telling: dist.Work | None = None

    def step(self) -> None:
        """Call on all ranks after an optimizer step."""
        if self.group is None:
            self.agreed = SIGNALS.received
            return
        self.finish()
        self.told = torch.tensor(SIGNALS.received)  # ()
        self.telling = dist.all_reduce(self.told, dist.ReduceOp.MAX, group=self.group, async_op=True)

    def finish(self) -> None:
        """Hear what the ranks told after the last step."""
        if self.telling is not None and self.told is not None:
            self.telling.wait()
            self.agreed = int(self.told)
            self.telling = None
