"""Exact optimal transport by POT's network simplex on the CPU, all clips of a batch at once."""

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import ot
import torch
from scipy.sparse import coo_matrix
from torch import Tensor

from lightning_modules.contracts import Measures
from lightning_modules.losses.pair_shortlist import pair_shortlist
from lightning_modules.losses.transport import Transport, require_finite

MAX_ITERATIONS = 10_000_000  # 512 x 576 tokens need about 20,000; POT stops at 100,000 by default
MANY_PAIRS = 200_000  # N x M: with fewer the simplex is done before a shortlist is
LONGEST = 0.18  # of all pairs: a longer list, as of tight clusters, saves nothing
ROUNDS = 4  # of solving listed pairs; two or three are enough where one is not


@dataclass
class Problems:
    """C clips to be solved, on the device of their costs.

    Attributes:
        clips: (C,), their places in the batch.
        cost: (C, N, M), float32 or float64.
        audio_weights: (C, N), float64, each row summing to 1.
        image_weights: (C, M), likewise.
        scale: (C,), float64: powers of two, divided by which costs are at most 1.
    """

    clips: Tensor
    cost: Tensor
    audio_weights: Tensor
    image_weights: Tensor
    scale: Tensor


@dataclass
class Solved:
    """C clips that are solved.

    Attributes:
        clips: (C,), their places in the batch.
        value: (C,), float64, the plans' costs.
        places: of the plans' entries in the flattened plan of the whole batch; NumPy.
        masses: of these entries; likewise.
        u: (C, N), float64, potentials.
        v: (C, M), likewise.
    """

    clips: Tensor
    value: Tensor
    places: np.ndarray
    masses: np.ndarray
    u: Tensor
    v: Tensor


@dataclass
class EarthMover:
    """Solves each clip exactly, in a pool of threads: POT releases the GIL.

    Few pairs of tokens carry mass in an optimal plan. Where `pair_shortlist` can tell most of them, the simplex looks
    at those alone, and potentials that are feasible for all pairs prove the plan optimal. Where they are not, the pairs
    that they overprice are listed, too (column generation), and after some rounds all pairs. Lists and proofs are made
    of the whole batch where the costs are, so that a GPU hands over the listed pairs, and not all costs.

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
        a, b = (part.double() / part.double().sum(dim=1, keepdim=True) for part in (audio_weights, image_weights))
        problems = Problems(torch.arange(len(cost), device=cost.device), cost, a, b, scales(cost))
        # a laptop's system may not know affinity; a cluster's does, and hands a rank only some of the cores
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with ThreadPoolExecutor(self.num_threads or cores) as pool:
            solved: list[Solved] = []
            if cost[0].numel() >= MANY_PAIRS:
                shortlist = pair_shortlist(cost, audio_weights, image_weights)
                solved, problems = solve_listed(problems, *shortlist, pool)
            if len(problems.clips):
                solved.append(solve_all(problems, pool))
        return transport(solved, cost, start)


def scales(cost: Tensor) -> Tensor:
    """(B,): POT has absolute tolerances, made for costs near 1; a power of two scales without rounding."""
    most = torch.maximum(cost.amax((1, 2)), -cost.amin((1, 2))).tolist()
    return torch.tensor([math.ldexp(1.0, math.frexp(value)[1]) for value in most], dtype=torch.float64).to(cost.device)


def transport(solved: list[Solved], cost: Tensor, start: float) -> Transport:
    """All clips of the batch, of costs (B, N, M), in their order."""
    clips = torch.cat([part.clips for part in solved])
    order = clips.argsort()
    value, u, v = (torch.cat([getattr(part, name) for part in solved])[order] for name in ("value", "u", "v"))
    offset = u.mean(dim=1, keepdim=True)  # decides nothing
    places, masses = (np.concatenate([getattr(part, name) for part in solved]) for name in ("places", "masses"))
    coalesced = places.argsort()
    indices = np.stack(np.unravel_index(places[coalesced], cost.shape))  # (3, entries)
    plan = torch.sparse_coo_tensor(
        torch.from_numpy(indices), torch.from_numpy(masses[coalesced]), cost.shape,
        dtype=cost.dtype, device=cost.device, is_coalesced=True, check_invariants=False,
    )  # fmt: skip
    measures: Measures = {"solver_seconds": time.perf_counter() - start}
    return Transport(value.to(cost), plan, (u - offset).to(cost), (v + offset).to(cost), measures)


def solve_all(problems: Problems, pool: ThreadPoolExecutor) -> Solved:
    """Solve clips with all their pairs.

    Raises:
        RuntimeError: the solver stopped before the optimum.
    """
    cost, scale = problems.cost, problems.scale
    given = (problems.audio_weights, problems.image_weights, cost, scale)
    found = list(pool.map(solve_one, *(part.cpu().numpy() for part in given)))
    places, masses, values, u, v = zip(*found)
    first = problems.clips.cpu().numpy() * cost[0].numel()
    potentials = (torch.from_numpy(np.stack(part)).to(cost.device) * scale[:, None] for part in (u, v))
    value = torch.tensor(values, dtype=torch.float64).to(cost.device) * scale
    flat = np.concatenate([places + offset for places, offset in zip(places, first)])
    return Solved(problems.clips, value, flat, np.concatenate(masses), *potentials)


def solve_one(
    a: np.ndarray, b: np.ndarray, cost: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray]:
    """Places in the flattened plan and their masses, the cost, and potentials, both divided by the scale."""
    plan, log = ot.emd(a, b, np.divide(cost, scale, dtype=np.float64), numItermax=MAX_ITERATIONS, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"expected an optimal plan, found that POT stopped early: {log['warning']}")
    places = np.flatnonzero(plan)
    return places, plan.ravel()[places], log["cost"], log["u"], log["v"]


def solve_listed(
    problems: Problems, listed: Tensor, u: Tensor, v: Tensor, pool: ThreadPoolExecutor
) -> tuple[list[Solved], Problems]:
    """Solve clips with some of their pairs, and those that turn out to be missing.

    Whatever v is, it and the u that is feasible with it bound the optimum from below. The plan's cost, of which POT's
    own potentials are no part, may lie above that bound by the rounding of the costs' precision.

    Args:
        problems: B clips.
        listed: (B, N, M), the pairs; more are added.
        u: (B, N), near-optimal potentials.
        v: (B, M), likewise.
        pool: solves them.

    Returns:
        Clips that are solved, and those where nothing proves a plan.
    """
    whole, u, v = problems, u.double(), v.double()
    solved: list[Solved] = []
    eps = torch.finfo(problems.cost.dtype).eps
    # potentials are not finite at far clusters whose weights differ by many magnitudes
    few = listed.sum((1, 2), dtype=torch.int32) <= LONGEST * listed[0].numel()
    left = few & u.isfinite().all(1) & v.isfinite().all(1)
    rows, columns = northwest_corner(problems.audio_weights.cpu(), problems.image_weights.cpu())
    # or there might be no plan
    listed[problems.clips[:, None], rows.to(listed.device), columns.to(listed.device)] = True
    for _ in range(ROUNDS):
        problems, listed, u, v = kept(problems, left), listed[left], u[left], v[left]
        if not len(problems.clips):
            break
        places, masses, ended, u, v = simplex(problems, listed, u, v, pool)
        slack = problems.cost - v.to(problems.cost.dtype)[:, None]  # (C, N, M)
        feasible = slack.amin(dim=2).double()  # (C, N)
        entries = torch.from_numpy(places).to(u.device)
        prices = problems.cost.flatten()[entries].double().cpu().numpy()
        clips = places // listed[0].numel()
        value = torch.from_numpy(np.bincount(clips, masses * prices, len(u))).to(u.device)  # (C,)
        bound = (problems.audio_weights * feasible).sum(1) + (problems.image_weights * v).sum(1)
        proven = ended & (value - bound <= 4 * eps * value)  # how far the optimum may lie below the plan's cost
        solved.append(proven_plans(problems, proven, value, places, masses, feasible, v))
        left = ended & ~proven
        if left.any():
            missing = slack < (u - problems.scale[:, None] * eps).to(slack.dtype)[:, :, None]
            missing &= ~listed
            left &= missing.flatten(1).any(1)  # what is left elsewhere is rounding
            listed |= missing
    rest = torch.ones_like(whole.clips, dtype=torch.bool)
    for part in solved:
        rest[part.clips] = False
    return solved, kept(whole, rest)


def kept(problems: Problems, rows: Tensor) -> Problems:
    """Those of the rows (C,), boolean; as they are, and not a copy, where these are all."""
    if rows.all():
        return problems
    cost, a, b = problems.cost[rows], problems.audio_weights[rows], problems.image_weights[rows]
    return Problems(problems.clips[rows], cost, a, b, problems.scale[rows])


def simplex(
    problems: Problems, listed: Tensor, u: Tensor, v: Tensor, pool: ThreadPoolExecutor
) -> tuple[np.ndarray, np.ndarray, Tensor, Tensor, Tensor]:
    """Solve clips with their listed pairs (C, N, M) alone, given near-optimal potentials (C, N) and (C, M).

    Returns:
        Places of the entries in the flattened plan of these clips, their masses, which clips ended at an optimum (C,),
        and their potentials (C, N) and (C, M).
    """
    clip, row, column = listed.nonzero(as_tuple=True)
    # from reduced costs the simplex starts near its end
    reduced = (problems.cost[clip, row, column] - u[clip, row] - v[clip, column]) / problems.scale[clip]
    ends = clip.bincount(minlength=len(u)).cumsum(0)[:-1].cpu().numpy()
    pairs = (np.split(part.cpu().numpy(), ends) for part in (row.int(), column.int(), reduced))
    weights = (part.cpu().numpy() for part in (problems.audio_weights, problems.image_weights))
    plans, logs = zip(*pool.map(solve_pairs, *weights, *pairs))
    _, rows, columns = listed.shape
    places = [(number * rows + plan.row.astype(np.int64)) * columns + plan.col for number, plan in enumerate(plans)]
    ended = torch.tensor([log["warning"] is None for log in logs]).to(u.device)
    du, dv = (torch.from_numpy(np.stack([log[name] for log in logs])).to(u.device) for name in "uv")
    scale = problems.scale[:, None]
    return np.concatenate(places), np.concatenate([plan.data for plan in plans]), ended, u + scale * du, v + scale * dv


def solve_pairs(
    a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray, cost: np.ndarray
) -> tuple[coo_matrix, dict[str, Any]]:
    """POT's plan of one clip, and its log."""
    pairs = coo_matrix((cost, (rows, columns)), (len(a), len(b)))
    return ot.emd(a, b, pairs, numItermax=MAX_ITERATIONS, log=True, check_marginals=False)  # they are; it holds the GIL


def proven_plans(
    problems: Problems, proven: Tensor, value: Tensor, places: np.ndarray, masses: np.ndarray, u: Tensor, v: Tensor
) -> Solved:
    """Those of C clips whose plans are proven (C,); places are in the flattened plan of these C clips."""
    size = problems.cost[0].numel()
    clip, place = np.divmod(places, size)
    used = proven.cpu().numpy()[clip] & (masses > 0)
    places = (problems.clips.cpu().numpy()[clip] * size + place)[used]
    return Solved(problems.clips[proven], value[proven], places, masses[used], u[proven], v[proven])


def northwest_corner(audio_weights: Tensor, image_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns (B, N + M - 1) of the plan that fills one row after the other from the left; it always exists.

    Args:
        audio_weights: (B, N), on the CPU: CUDA's cumulative sums differ from run to run, and so would the pairs.
        image_weights: (B, M), likewise.
    """
    row_ends, column_ends = (part.cumsum(1)[:, :-1].contiguous() for part in (audio_weights, image_weights))
    starts = torch.cat([torch.zeros_like(audio_weights[:, :1]), row_ends, column_ends], 1).sort(1).values
    return torch.searchsorted(row_ends, starts, right=True), torch.searchsorted(column_ends, starts, right=True)
