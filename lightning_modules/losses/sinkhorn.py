"""Optimal transport on any device to a proven precision, by Sinkhorn's algorithm with falling regularisation.

Sources: stabilised scaling and epsilon scaling, Schmitzer 2019 (SIAM J. Sci. Comput. 41, sections 3.1 and 3.2);
rounding, Altschuler, Weed and Rigollet 2017 (NeurIPS, algorithm 2); Anderson acceleration, Walker and Ni 2011.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.losses.earth_mover import EarthMover
from lightning_modules.losses.transport import Transport, require_finite

FLOOR = 0.01  # of a clip's mean cost: a gap is relative to no less, for the cost of twins is 0
START = 0.5  # first regularisation, over the mean size of a cost less its row's and its column's mean
DECAY = 0.5  # of the regularisation when it falls
BLUR = 0.75  # share of the gap that is due to the regularisation, above which it falls
STALL = 0.9  # of the gap a level ago: above, and not due to the regularisation, it takes more regularisation
MEMORY = 10  # differences that Anderson's acceleration remembers
SMALLEST_WEIGHT = 1e-30  # while iterating; 0 has no logarithm


@dataclass
class Sinkhorn:
    """Solves B transport problems at once, until each one's cost is proven to be near the optimum.

    After every level of regularisation, the plan rounded to the marginals bounds the optimal cost from above, and
    potentials made feasible by c-transforms bound it from below. A clip is done, whatever its batch-mates need,
    once the bounds are close enough.

    Args:
        max_gap: largest difference of the bounds, relative to the upper one, or to a hundredth of the clip's mean
            cost if that is larger.
        max_levels: levels after which a clip that is not done is solved exactly on the CPU (`EarthMover`). Tokens
            without clear structure need 1 to 5 of them, tight clusters a dozen.
    """

    max_gap: float = 0.01
    max_levels: int = 20

    @torch.no_grad()
    def __call__(self, cost: Tensor, audio_weights: Tensor, image_weights: Tensor) -> Transport:
        """Solve B problems (see `Solver`) in the precision of the cost, float32 or float64; float32 proves 1% as well.

        Returns:
            A dense plan, feasible potentials, and the measures `transport_gap`, the largest relative gap,
            `solver_sweeps`, over all levels, and `solved_exactly`, the clips left to the exact solver.
        """
        require_finite(cost)
        found = [torch.empty_like(x) for x in (cost[:, 0, 0], cost, cost[:, :, 0], cost[:, 0])]  # as in Transport
        c = cost.to(torch.promote_types(cost.dtype, torch.float32))  # (R, N, M), the R clips that remain
        a, b = (w.to(c.dtype) / w.sum(dim=1, keepdim=True).to(c.dtype) for w in (audio_weights, image_weights))
        rows, columns = c.mean(dim=2, keepdim=True), c.mean(dim=1, keepdim=True)
        mean = rows.mean(dim=1)  # (R, 1)
        unit = torch.where(mean > 0, mean, 1)
        # what a row or a column has in common decides nothing, so it sets no scale either
        epsilon = START * (c - rows - columns + mean[:, None]).abs().mean(dim=(1, 2))[:, None]
        epsilon = torch.maximum(epsilon, 10 * torch.finfo(c.dtype).eps * unit)  # (R, 1)
        u, v = torch.zeros_like(a), torch.zeros_like(b)
        last = torch.full_like(unit[:, 0], torch.inf)  # (R,), the gap a level ago at the same regularisation
        decay = torch.full_like(last, DECAY)  # (R,)
        remaining, worst, sweeps = torch.arange(len(c)), 0.0, 0
        for level in range(self.max_levels):
            count = int(min(10 * 1.5**level, 40 + level))  # few for the easy, more for what resists
            sweeps += count
            u, v, plan = sweep(c, a, b, u, v, epsilon, count)
            feasible_u = (c - v[:, None]).amin(dim=2)  # (R, N)
            feasible_v = (c - feasible_u[:, :, None]).amin(dim=1)  # (R, M)
            lower = (a * feasible_u).sum(dim=1) + (b * feasible_v).sum(dim=1)  # (R,)
            # what the plan loses by being blurred, and does not by its wrong marginals
            blur = (plan * c).sum(dim=(1, 2)) - (plan.sum(dim=2) * feasible_u).sum(dim=1)
            blur -= (plan.sum(dim=1) * feasible_v).sum(dim=1)
            plan = round_to_marginals(plan, a, b)
            upper = (plan * c).sum(dim=(1, 2))  # (R,)
            gap = (upper - lower) / torch.maximum(upper, FLOOR * unit[:, 0])
            gaps = gap.cpu()  # the level's one wait for the device
            done = gaps <= self.max_gap
            if done.any():
                shift = feasible_u[done].mean(dim=1, keepdim=True)
                solved = (upper[done], plan[done], feasible_u[done] - shift, feasible_v[done] + shift)
                for whole, part in zip(found, solved, strict=True):
                    whole[remaining[done]] = part.to(cost.dtype)
                worst = max(worst, gaps[done].max().item())
            blurred = blur > BLUR * (upper - lower)
            # islands of tokens that the kernel no longer links balance when warmer; then cool in smaller steps
            stuck = ~blurred & (gap > STALL * last)
            epsilon = epsilon * torch.where(blurred, decay, torch.where(stuck, 1 / decay, 1))[:, None]
            decay = torch.where(stuck, decay.sqrt(), decay)
            last = torch.where(blurred | stuck, torch.inf, gap)
            if done.any():
                c, a, b, u, v, unit, epsilon, decay, last = (
                    x[~done] for x in (c, a, b, u, v, unit, epsilon, decay, last)
                )
                remaining = remaining[~done]
            if done.all():
                break
        else:
            exact = EarthMover()(c, a, b)
            solved = (exact.cost, exact.plan.to_dense(), exact.audio_potentials, exact.image_potentials)
            for whole, part in zip(found, solved, strict=True):
                whole[remaining] = part.to(cost.dtype)
        measures = {"transport_gap": worst, "solver_sweeps": sweeps, "solved_exactly": len(remaining)}
        return Transport(
            found[0], found[1], found[2], found[3], {name: float(value) for name, value in measures.items()}
        )


def sweep(
    cost: Tensor, a: Tensor, b: Tensor, u: Tensor, v: Tensor, epsilon: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Improve the potentials by `count` sweeps at one regularisation; returns them and their plan (B, N, M).

    One sweep in the log domain, where nothing overflows; then the potentials are absorbed into a kernel, and the
    others are two matrix-vector products each, on factors near 1 (Schmitzer 2019).
    """
    a, b, scale = a.clamp(min=SMALLEST_WEIGHT), b.clamp(min=SMALLEST_WEIGHT), epsilon[:, :, None]
    u = epsilon * (a.log() - ((v[:, None] - cost) / scale).logsumexp(dim=2))
    v = epsilon * (b.log() - ((u[:, :, None] - cost) / scale).logsumexp(dim=1))
    kernel = ((u[:, :, None] + v[:, None] - cost) / scale).exp()  # (B, N, M)
    tiny = torch.finfo(cost.dtype).tiny

    def rows(x: Tensor) -> Tensor:
        """Factors of the rows, (B, N, 1), for those of the columns, whose logarithms are (B, M, 1)."""
        return a[:, :, None] / (kernel @ x.exp()).clamp(min=tiny)

    x = best = torch.zeros_like(v)[:, :, None]  # (B, M, 1), logarithms of the columns' factors
    least = torch.full_like(scale, torch.inf)
    xs: list[Tensor] = []
    steps: list[Tensor] = []
    weight = b.sqrt()[:, :, None]
    for _ in range(count - 1):
        after = (b[:, :, None] / (kernel.transpose(1, 2) @ rows(x)).clamp(min=tiny)).log()
        xs, steps = [*xs, x][-MEMORY - 1 :], [*steps, after - x][-MEMORY - 1 :]
        size = (weight * steps[-1]).norm(dim=1, keepdim=True)
        best, least = torch.where(size < least, after, best), torch.minimum(size, least)
        if len(xs) > 1:
            past, moved = torch.cat(steps, dim=2).diff(dim=2), torch.cat(xs, dim=2).diff(dim=2)  # (B, M, K)
            normal = (weight * past).mT @ (weight * past)  # (B, K, K)
            ridge = 1e-6 * normal.diagonal(dim1=1, dim2=2).sum(dim=1) + 1e-25
            normal = normal + ridge[:, None, None] * torch.eye(normal.shape[1], dtype=normal.dtype, device=x.device)
            # solve_ex, unlike solve, does not wait for the device
            mix = torch.linalg.solve_ex(normal, (weight * past).mT @ (weight * steps[-1])).result
            # a wild guess is dropped for the best sweep so far
            after = torch.where(size <= 2 * least, after - (moved + past) @ mix, best)
        x = after.clamp(-30, 30)
    factors = rows(x)
    plan = factors * kernel * x.exp().mT
    return u + epsilon * factors[:, :, 0].log(), v + epsilon * x[:, :, 0], plan


def round_to_marginals(plan: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The plan near a positive matrix (B, N, M) whose rows sum to a (B, N) and columns to b (B, M)."""
    tiny = torch.finfo(plan.dtype).tiny
    plan = plan * (a / plan.sum(dim=2).clamp(min=tiny)).clamp(max=1)[:, :, None]
    plan = plan * (b / plan.sum(dim=1).clamp(min=tiny)).clamp(max=1)[:, None]
    missing_a, missing_b = (a - plan.sum(dim=2)).clamp(min=0), (b - plan.sum(dim=1)).clamp(min=0)
    missing = missing_b.sum(dim=1, keepdim=True).clamp(min=tiny)
    return plan + missing_a[:, :, None] * (missing_b / missing)[:, None]
