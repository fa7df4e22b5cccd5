"""Exact optimal transport by POT's network simplex on the CPU, all clips of a batch at once."""

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import ot
import torch
from scipy.sparse import coo_matrix
from torch import Tensor

from lightning_modules.losses.pair_shortlist import pair_shortlist
from lightning_modules.losses.transport import Transport, require_finite

MAX_ITERATIONS = 10_000_000  # 512 x 576 tokens need about 20,000; POT stops at 100,000 by default
MANY_PAIRS = 200_000  # N x M: with fewer the simplex is done before a shortlist is
LONGEST = 0.18  # of all pairs: a longer list, as of tight clusters, saves nothing
ROUNDS = 4  # of solving listed pairs; two or three are enough where one is not

Solution = tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""The cost, places in the flat plan and their masses (entries,), potentials (N,) and (M,)."""


@dataclass
class EarthMover:
    """Solves each clip exactly, in a pool of threads: POT releases the GIL.

    Few pairs of tokens carry mass in an optimal plan. Where `pair_shortlist` can tell most of them, the simplex looks
    at those alone, and potentials that are feasible for all pairs prove the plan optimal. Where they are not, the pairs
    that they overprice are listed, too (column generation), and after some rounds all pairs.

    Args:
        num_threads: clips solved at once; None takes every core that this process may run on.
    """

    num_threads: int | None = None

    @torch.no_grad()
    def __call__(self, cost: Tensor, audio_weights: Tensor, image_weights: Tensor) -> Transport:
        """Solve B problems (see `Solver`); logs `solver_seconds`, from when the device has caught up.

        Returns:
            The transport on the device of `cost`, its plan sparse: an optimal one has at most N + M - 1 entries.

        Raises:
            RuntimeError: the solver stopped before the optimum.
        """
        require_finite(cost)
        start = time.perf_counter()
        # float32's rounding, which POT refuses
        weights = [part.double() / part.double().sum(dim=1, keepdim=True) for part in (audio_weights, image_weights)]
        problems = [*weights, cost]
        if cost[0].numel() >= MANY_PAIRS:
            problems += pair_shortlist(cost, audio_weights, image_weights)
        # a laptop's system may not know affinity; a cluster's does, and hands a rank only some of the cores
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with ThreadPoolExecutor(self.num_threads or cores) as pool:
            solved = list(pool.map(solve, *(value.cpu().numpy() for value in problems)))
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


def solve(a: np.ndarray, b: np.ndarray, cost: np.ndarray, *shortlist: np.ndarray) -> Solution:
    """Solve one clip, with the pairs of its `pair_shortlist` first, if it has one and the pairs are few."""
    # POT has absolute tolerances, made for costs near 1; a power of two scales without rounding
    scale = math.ldexp(1.0, math.frexp(max(cost.max(), -cost.min()))[1])
    if shortlist and np.count_nonzero(shortlist[0]) <= LONGEST * cost.size:
        solution = solve_listed(a, b, cost, scale, *shortlist)
        if solution is not None:
            return solution
    plan, log = ot.emd(a, b, np.divide(cost, scale, dtype=np.float64), numItermax=MAX_ITERATIONS, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"expected an optimal plan, found that POT stopped early: {log['warning']}")
    places = np.flatnonzero(plan)
    return scale * log["cost"], places, plan.ravel()[places], *centred(scale * log["u"], scale * log["v"])


def solve_listed(
    a: np.ndarray, b: np.ndarray, cost: np.ndarray, scale: float, listed: np.ndarray, u: np.ndarray, v: np.ndarray
) -> Solution | None:
    """Solve one clip with some of its pairs, and those that turn out to be missing; None where nothing proves the plan.

    Whatever v is, it and the u that is feasible with it bound the optimum from below. The plan's cost, of which POT's
    own potentials are no part, may lie above that bound by the rounding of the costs' precision.
    """
    u, v = u.astype(np.float64), v.astype(np.float64)
    if not (np.isfinite(u).all() and np.isfinite(v).all()):  # far clusters whose weights differ by many magnitudes
        return None
    listed[northwest_corner(a, b)] = True  # or there might be no plan
    for _ in range(ROUNDS):
        places = np.flatnonzero(listed)  # np.nonzero takes five times as long, and other threads wait for it
        rows, columns = np.divmod(places, cost.shape[1])
        # from reduced costs the simplex starts near its end
        reduced = cost.ravel()[places] - u[rows] - v[columns]
        pairs = coo_matrix((reduced / scale, (rows, columns)), cost.shape)
        plan, log = ot.emd(a, b, pairs, numItermax=MAX_ITERATIONS, log=True)
        if log["warning"] is not None:
            return None
        u, v = u + scale * log["u"], v + scale * log["v"]
        left = cost - v.astype(cost.dtype)
        feasible = left.min(axis=1)  # (N,)
        value = float(plan.data @ cost[plan.row, plan.col])
        gap = value - a @ feasible - b @ v  # how far the optimum may lie below the plan's cost
        if gap <= 4 * np.finfo(cost.dtype).eps * value:
            places = np.ravel_multi_index((plan.row, plan.col), cost.shape)
            order = places.argsort()  # as in a coalesced tensor
            order = order[plan.data[order] > 0]
            return value, places[order], plan.data[order], *centred(feasible, v)
        missing = left < (u - scale * np.finfo(cost.dtype).eps).astype(cost.dtype)[:, None]
        if not (missing & ~listed).any():  # what is left is rounding
            return None
        listed |= missing
    return None


def northwest_corner(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (N + M - 1,) of the plan that fills one row after the other from the left; it always exists."""
    row_ends, column_ends = a.cumsum()[:-1], b.cumsum()[:-1]
    starts = np.sort(np.concatenate([[0.0], row_ends, column_ends]))
    return np.searchsorted(row_ends, starts, side="right"), np.searchsorted(column_ends, starts, side="right")


def centred(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Potentials with their common offset, which decides nothing, so that u's mean is 0."""
    return u - u.mean(), v + u.mean()
