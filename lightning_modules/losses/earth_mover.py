"""Exact optimal transport by POT's network simplex on the CPU, all clips of a batch at once."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import ot
import torch
from torch import Tensor

from lightning_modules.losses.transport import Transport, require_finite

MAX_ITERATIONS = 10_000_000  # 512 x 576 tokens need about 20,000; POT stops at 100,000 by default


class EarthMover:
    """Solves each clip exactly, in a pool of threads: POT releases the GIL.

    Args:
        num_threads: clips solved at once; None takes every core that this process may run on.
    """

    def __init__(self, num_threads: int | None = None) -> None:
        self.num_threads = num_threads

    def __call__(self, cost: Tensor, audio_weights: Tensor, image_weights: Tensor) -> Transport:
        """Solve B problems.

        Args:
            cost: (B, N, M), on any device.
            audio_weights: (B, N), each row summing to 1.
            image_weights: (B, M), each row summing to 1.

        Returns:
            The transport on the device of `cost`, its plan sparse: an optimal one has at most N + M - 1 entries.
            `solver_seconds` is logged, from when the device has caught up.

        Raises:
            FloatingPointError: a cost is NaN or infinite.
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
        measures: dict[str, Tensor | float] = {"solver_seconds": time.perf_counter() - start}
        return Transport(values, plan, audio_potentials, image_potentials, measures)


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
