"""Torch's generators, set to a seed of a single step."""

import numpy as np
import torch


def seed_step(device: torch.device, *entropy: int) -> None:
    """Seed the generators of the CPU and of `device` by these numbers.

    `torch.manual_seed` does the same, and also records its call stack for every kind of device that is not in use: half
    a millisecond each time.
    """
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
