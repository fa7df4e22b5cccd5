"""The cost of moving one set of tokens onto another, with its gradients, whatever solves it (DALI, Eq. 4)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.contracts import Measures
from lightning_modules.losses.token_distances import centre, distance_gradient, squared_distances, with_gradients


@dataclass(frozen=True)
class Transport:
    """How B clips' audio tokens are moved onto their image tokens.

    Attributes:
        cost: (B,), of the plan.
        plan: (B, N, M), mass from token to token, dense or sparse (COO); rows and columns sum to the masses.
        audio_potentials: (B, N), dual variables: what the cost grows by with a token's weight; their mean is 0 where
            all mass is moved.
        image_potentials: (B, M); u + v is at most the cost, up to the solver's precision, where all mass is moved.
        measures: what is to be logged.
        audio_mass: (B, N), what the plan moves from each token; None: the token's weight.
        image_mass: (B, M), what it moves to each token; likewise.
    """

    cost: Tensor
    plan: Tensor
    audio_potentials: Tensor
    image_potentials: Tensor
    measures: Measures
    audio_mass: Tensor | None = None
    image_mass: Tensor | None = None


Solver = Callable[[Tensor, Tensor, Tensor], Transport]
"""Called with the cost (B, N, M) and the weights (B, N) and (B, M), each row of which sums to 1; on any device, in
float32 or float64.

It raises FloatingPointError where a cost is NaN or infinite.
"""


def require_finite(cost: Tensor) -> None:
    """Raise FloatingPointError where a cost (B, N, M) is NaN or infinite, naming the clips."""
    finite = cost.isfinite().flatten(1).all(dim=1)  # (B,)
    if not finite.all():
        raise FloatingPointError(
            "expected finite distances between tokens, found NaN or infinity in the clips "
            f"{(~finite).nonzero().flatten().tolist()} of the batch; lower the learning rate, or look at them"
        )


def uniform_weights(tokens: Tensor) -> Tensor:
    """(B, N, D) to (B, N), each 1 / N, in the precision that distances have."""
    batch, num_tokens, _ = tokens.shape
    dtype = torch.promote_types(tokens.dtype, torch.float32)
    return torch.full((batch, num_tokens), 1 / num_tokens, dtype=dtype, device=tokens.device)


def dense_plan(
    audio_tokens: Tensor, image_tokens: Tensor, audio_weights: Tensor, image_weights: Tensor, solver: Solver
) -> Tensor:
    """The plan (B, N, M) of `transport_cost`, dense, to look at."""
    _, transport = transport_cost(audio_tokens, image_tokens, audio_weights, image_weights, solver)
    return transport.plan.to_dense() if transport.plan.is_sparse else transport.plan


def transport_cost(
    audio_tokens: Tensor, image_tokens: Tensor, audio_weights: Tensor, image_weights: Tensor, solver: Solver
) -> tuple[Tensor, Transport]:
    """Cost of the optimal plan, squared Euclidean: (B,), and the plan itself.

    Of the measures, `relative_cost` is the cost over that of moving every token to every other in proportion to their
    weights (1 means that no structure is shared); the others are the solver's.

    No gradient flows through the solver: by the envelope theorem the tokens' is that of the cost with the plan
    held fixed, and the weights' is the potentials. Only differences of potentials matter where weights sum to 1, so
    each set is centred.

    Args:
        audio_tokens: (B, N, D).
        image_tokens: (B, M, D).
        audio_weights: (B, N), each row summing to 1.
        image_weights: (B, M), likewise.
        solver: of the transport problem.

    Raises:
        FloatingPointError: a token is NaN or infinite.
    """
    # half precision under autocast would garble the costs
    with torch.autocast(audio_tokens.device.type, enabled=False):
        with torch.no_grad():
            distances = squared_distances(*centre(audio_tokens, image_tokens))  # (B, N, M)
            audio, image = (tokens.detach().to(distances.dtype) for tokens in (audio_tokens, image_tokens))
            masses = [weights.detach().to(distances.dtype) for weights in (audio_weights, image_weights)]
            transport = solver(distances, *masses)
            independent = torch.einsum("bn,bnm,bm->b", masses[0], distances, masses[1]).mean()
            transport.measures["relative_cost"] = transport.cost.mean() / independent.clamp(min=1e-30)
        plan, u, v = transport.plan, transport.audio_potentials, transport.image_potentials
        moved = (transport.audio_mass, transport.image_mass)
        rows, columns = (weight if mass is None else mass for weight, mass in zip(masses, moved))
        cost = with_gradients(
            transport.cost,
            (audio_tokens, lambda: distance_gradient(audio, image, plan, rows)),
            (image_tokens, lambda: distance_gradient(image, audio, plan.transpose(1, 2), columns)),
            (audio_weights, lambda: u - u.mean(dim=1, keepdim=True)),
            (image_weights, lambda: v - v.mean(dim=1, keepdim=True)),
        )
        return cost, transport
