"""Exact optimal transport by POT's network simplex on the CPU, all clips of a batch at once."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import ot
import torch
from torch import Tensor

from lightning_modules.losses.transport import Transport, require_finite

MAX_ITERATIONS = 10_000_000  # 512 x 576 tokens need about 20,000; POT stops at 100,000 by default


@dataclass
class EarthMover:
    """Solves each clip exactly, in a pool of threads: POT releases the GIL.

    Args:
        num_threads: clips solved at once; None takes every core that this process may run on.
    """

    num_threads: int | None = None

    def __call__(self, cost: Tensor, audio_weights: Tensor, image_weights: Tensor) -> Transport:
        """Solve B problems (see `Solver`); logs `solver_seconds`, from when the device has caught up.

        Returns:
            The transport on the device of `cost`, its plan sparse: an optimal one has at most N + M - 1 entries.

        Raises:
            RuntimeError: the solver stopped before the optimum.
        """
        on_host = [value.cpu() for value in (audio_weights, image_weights, cost)]
        start = time.perf_counter()
        require_finite(on_host[2])
        # a laptop's system may not know affinity; a cluster's does, and hands a rank only some of the cores
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with ThreadPoolExecutor(self.num_threads or cores) as pool:
            solved = list(pool.map(solve, *(value.numpy() for value in on_host)))
        costs, places, masses, u, v = zip(*solved, strict=True)
        clips = np.repeat(np.arange(len(places)), [len(mass) for mass in masses])
        indices = np.stack([clips, *np.divmod(np.concatenate(places), cost.shape[2])])  # (3, entries)
        plan = torch.sparse_coo_tensor(
            torch.from_numpy(indices), torch.from_numpy(np.concatenate(masses)), cost.shape,
            dtype=cost.dtype, device=cost.device, is_coalesced=True, check_invariants=False,
        )  # fmt: skip
        values, audio_potentials, image_potentials = (
            torch.from_numpy(np.stack(part)).to(cost) for part in (costs, u, v)
        )
        return Transport(
            values, plan, audio_potentials, image_potentials, {"solver_seconds": time.perf_counter() - start}
        )


def solve(
    audio_weights: np.ndarray, image_weights: np.ndarray, cost: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Solve one clip: the cost, places in the flat plan and their masses (entries,), potentials (N,) and (M,)."""
    weights = [part.astype(np.float64) for part in (audio_weights, image_weights)]
    weights = [part / part.sum() for part in weights]  # float32's rounding
    plan, log = ot.emd(*weights, cost.astype(np.float64), numItermax=MAX_ITERATIONS, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"expected an optimal plan, found that POT stopped early: {log['warning']}")
    places, shift = np.flatnonzero(plan), log["u"].mean()  # the potentials' common offset decides nothing
    return log["cost"], places, plan.ravel()[places], log["u"] - shift, log["v"] + shift
