"""Optimal transport between a clip's audio tokens and its image tokens, all tokens with the same weight.

Source: DALI, section 3.2, Eq. 4.
"""

from torch import Tensor, nn

from lightning_modules.losses.earth_mover import EarthMover
from lightning_modules.losses.transport import Solver, transport_cost, uniform_weights


class OptimalTransport(nn.Module):
    """Earth mover's distance with the squared Euclidean cost and uniform weights, averaged over the clips.

    Args:
        solver: of the transport problem; None is exact (`EarthMover`).
    """

    def __init__(self, solver: Solver | None = None) -> None:
        super().__init__()
        self.solver = solver or EarthMover()

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Compute the loss; its gradient flows through the cost with the plan held fixed (envelope theorem).

        Args:
            audio_tokens: (B, N, D).
            image_tokens: (B, M, D).

        Returns:
            The loss, a float32 scalar (float64 for float64 tokens), and the transport's measures.

        Raises:
            FloatingPointError: a token is NaN or infinite.
        """
        weights = uniform_weights(audio_tokens), uniform_weights(image_tokens)
        cost, transport = transport_cost(audio_tokens, image_tokens, *weights, self.solver)  # (B,)
        return cost.mean(), transport.measures
