"""Unbalanced optimal transport: mass may appear and vanish at a price, on any device, all clips of a batch at once.

Sources: the problem, its dual and its scaling algorithm, Chizat, Peyre, Schmitzer and Vialard (arXiv 1607.05816);
the shift between the two potentials, Sejourne, Vialard and Peyre 2022 (AISTATS, translation-invariant Sinkhorn). Named
in DALI, section 3.2, as an alternative whose parameter is hard to tune; not tried there.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.contracts import Measures
from lightning_modules.losses.transport import Transport, require_finite

START = 0.5  # first regularisation, over the mean size of a cost less its row's and its column's mean
FLOOR = 0.01  # of a clip's mean cost: a gap is relative to no less, for the cost of twins is 0


@dataclass
class UnbalancedTransport:
    """Solves min <P, C> + rho KL(P 1 | a) + rho KL(P^T 1 | b), with KL(x | y) = sum x log(x / y) - x + y.

    Sinkhorn's algorithm with falling regularisation. The potentials, made feasible, bound the optimum from below; the
    plan, which needs no exact marginals here, bounds it from above and is the result.

    Args:
        marginal_weight: rho, in units of a clip's mean cost between any two tokens, as a constant: mass is given up
            where moving it costs well above 2 rho. The larger, the nearer to `EarthMover`'s transport.
        levels: of regularisation, each half of the one before.
        sweeps: at each level.

    Raises:
        InputError: a weight that is not above 0, or no level or sweep.
    """

    marginal_weight: float = 1.0
    levels: int = 10
    sweeps: int = 10

    def __post_init__(self) -> None:
        if not self.marginal_weight > 0 or min(self.levels, self.sweeps) < 1:
            raise InputError(
                "expected a marginal_weight above 0 and levels and sweeps of at least 1, found "
                f"{self.marginal_weight}, {self.levels} and {self.sweeps}; correct the solver"
            )

    @torch.no_grad()
    def __call__(self, cost: Tensor, audio_weights: Tensor, image_weights: Tensor) -> Transport:
        """Solve B problems (see `Solver`) in the precision of the cost.

        Returns:
            A dense plan; the derivatives of the cost by the weights as potentials; as measures `transport_gap`, the
            largest difference of the bounds relative to the upper one (or to a hundredth of the mean cost if that is
            larger), and `moved_mass`, the mean mass of the plans, of 1.
        """
        require_finite(cost)
        tiny = torch.finfo(cost.dtype).tiny
        a, b = audio_weights.clamp(min=tiny), image_weights.clamp(min=tiny)
        rows, columns = cost.mean(dim=2, keepdim=True), cost.mean(dim=1, keepdim=True)
        mean = rows.mean(dim=1)  # (B, 1)
        unit = torch.where(mean > 0, mean, 1)
        rho = self.marginal_weight * unit  # (B, 1)
        epsilon = START * (cost - rows - columns + mean[:, None]).abs().mean(dim=(1, 2))[:, None]
        epsilon = torch.maximum(epsilon, 0.01 * unit)  # (B, 1)
        u, v = torch.zeros_like(a), torch.zeros_like(b)
        for _ in range(self.levels):
            u, v, plan = sweep(cost, a, b, u, v, epsilon, rho, self.sweeps)
            epsilon = epsilon / 2
        u = (cost - v[:, None]).amin(dim=2)  # (B, N), feasible
        v = (cost - u[:, :, None]).amin(dim=1)  # (B, M)
        shift = balance(a, b, u, v, rho)
        slope_u, slope_v = (rho * -torch.expm1(-x / rho) for x in (u + shift, v - shift))
        lower = (a * slope_u).sum(dim=1) + (b * slope_v).sum(dim=1)  # (B,)
        moved_a, moved_b = plan.sum(dim=2), plan.sum(dim=1)
        upper = (plan * cost).sum(dim=(1, 2))
        for moved, weights in ((moved_a, a), (moved_b, b)):
            upper += rho[:, 0] * (torch.xlogy(moved, moved / weights) - moved + weights).sum(dim=1)
        gap = (upper - lower) / torch.maximum(upper, FLOOR * unit[:, 0])
        measures: Measures = {"transport_gap": gap.max(), "moved_mass": moved_a.sum(dim=1).mean()}
        return Transport(upper, plan, slope_u, slope_v, measures, moved_a, moved_b)


def balance(a: Tensor, b: Tensor, u: Tensor, v: Tensor, rho: Tensor) -> Tensor:
    """What u gains and v loses so that both sides keep the same mass, the dual's best shift: (B, 1)."""
    # a exp(-u / rho) is the mass that the potentials leave each token
    kept_a, kept_b = ((weights.log() - x / rho).logsumexp(dim=1, keepdim=True) for weights, x in ((a, u), (b, v)))
    return rho / 2 * (kept_a - kept_b)


def sweep(
    cost: Tensor, a: Tensor, b: Tensor, u: Tensor, v: Tensor, epsilon: Tensor, rho: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Improve the potentials by `count` sweeps at one regularisation; returns them and their plan (B, N, M).

    One sweep in the log domain, where nothing overflows; then the potentials are absorbed into a kernel, and the others
    are matrix-vector products on factors near 1.
    """
    scale, damping = epsilon[:, :, None], rho / (rho + epsilon)  # (B, 1, 1), (B, 1)
    u = -damping * epsilon * (b.log()[:, None] + (v[:, None] - cost) / scale).logsumexp(dim=2)
    v = -damping * epsilon * (a.log()[:, :, None] + (u[:, :, None] - cost) / scale).logsumexp(dim=1)
    shift = balance(a, b, u, v, rho)
    u, v = u + shift, v - shift
    tiny = torch.finfo(cost.dtype).tiny
    kernel = a[:, :, None] * b[:, None] * ((u[:, :, None] + v[:, None] - cost) / scale).exp()  # (B, N, M)
    x, y = torch.zeros_like(u), torch.zeros_like(v)  # logarithms of the factors
    for _ in range(count - 1):
        x = damping * (a.log() - u / rho - (kernel @ y.exp()[:, :, None])[:, :, 0].clamp(min=tiny).log())
        y = damping * (b.log() - v / rho - (x.exp()[:, None] @ kernel)[:, 0].clamp(min=tiny).log())
        shift = balance(a, b, u + epsilon * x, v + epsilon * y, rho) / epsilon
        x, y = x + shift, y - shift
    return u + epsilon * x, v + epsilon * y, kernel * x.exp()[:, :, None] * y.exp()[:, None]
