"""Optimal transport between a clip's audio tokens and its image tokens, all tokens with the same weight.

Source: DALI, section 3.2, Eq. 4.
"""

from torch import Tensor, nn

from lightning_modules.contracts import Measures
from lightning_modules.losses.earth_mover import EarthMover
from lightning_modules.losses.transport import Solver, dense_plan, transport_cost, uniform_weights


class OptimalTransport(nn.Module):
    """Earth mover's distance with the squared Euclidean cost and uniform weights, averaged over the clips.

    Args:
        solver: of the transport problem; None is exact (`EarthMover`).
    """

    def __init__(self, solver: Solver | None = None) -> None:
        super().__init__()
        self.solver = solver or EarthMover()

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Measures]:
        """The mean cost, with the transport's measures; its gradients are `transport_cost`'s.

        Raises:
            FloatingPointError: a token is NaN or infinite.
        """
        weights = uniform_weights(audio_tokens), uniform_weights(image_tokens)
        cost, transport = transport_cost(audio_tokens, image_tokens, *weights, self.solver)  # (B,)
        return cost.mean(), transport.measures

    def couple(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `lightning_modules.contracts.TransportCriterion`."""
        weights = uniform_weights(audio_tokens), uniform_weights(image_tokens)
        return dense_plan(audio_tokens, image_tokens, *weights, self.solver), *weights
