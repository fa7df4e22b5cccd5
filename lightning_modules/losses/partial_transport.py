"""Partial optimal transport: a share of the mass stays where it is, on both sides, where moving it costs most.

Source: the dummy tokens of Chapel, Alaya and Gasso 2020 (NeurIPS), as POT's `ot.partial.partial_wasserstein` has them.
Not in DALI, whose section 3.2 names unbalanced transport as the other way out of strict mass preservation.
"""

import torch
from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.losses.earth_mover import EarthMover
from lightning_modules.losses.transport import Solver, Transport


class PartialTransport:
    """A solver that moves the share `mass` alone: the plan's rows and columns sum to at most the weights.

    Each side gets a dummy token of weight 1 - mass that any token of the other side reaches at no cost; between the two
    dummies it costs most. That is an ordinary problem, exactly equivalent, which another solver solves, all clips of a
    batch at once.

    Args:
        mass: what is moved, over 0 and at most 1; with 1 it is `solver` itself.
        solver: of the ordinary problem, in which all mass is moved; None is exact (`EarthMover`).
    """

    def __init__(self, mass: float = 0.8, solver: Solver | None = None) -> None:
        if not 0 < mass <= 1:
            raise InputError(f"expected a mass over 0 and at most 1, found {mass}; set the solver's mass")
        self.mass = mass
        self.solver = solver or EarthMover()

    @torch.no_grad()
    def __call__(self, cost: Tensor, audio_weights: Tensor, image_weights: Tensor) -> Transport:
        """Solve B problems (see `Solver`); logs what `solver` does."""
        if self.mass == 1:
            return self.solver(cost, audio_weights, image_weights)
        stays, total = 1 - self.mass, 2 - self.mass
        highest = cost.amax(dim=(1, 2))  # (B,)
        padded = nn.functional.pad(cost, (0, 1, 0, 1))  # (B, N + 1, M + 1)
        padded[:, -1, -1] = torch.where(highest > 0, highest, 1)  # more than 0 is enough
        weights = [nn.functional.pad(part, (0, 1), value=stays) / total for part in (audio_weights, image_weights)]
        found = self.solver(padded, *weights)
        plan = found.plan.to_dense() if found.plan.is_sparse else found.plan
        plan = plan[:, :-1, :-1] * total  # (B, N, M)
        return Transport(
            total * found.cost, plan, found.audio_potentials[:, :-1], found.image_potentials[:, :-1], found.measures,
            plan.sum(dim=2), plan.sum(dim=1),
        )  # fmt: skip
