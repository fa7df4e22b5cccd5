"""Optimal transport with learnt token weights: what only one modality shows can get less weight.

Source: DALI, section 3.2, Eq. 5, and Appendices E and F, Eq. 6 and 7.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from earshot.errors import InputError
from lightning_modules.contracts import Measures
from lightning_modules.losses.earth_mover import EarthMover
from lightning_modules.losses.transport import Solver, dense_plan, transport_cost, uniform_weights

HEAVIEST = 10


class AttentiveOptimalTransport(nn.Module):
    """OT(w_a, w_v) - epsilon (H(w_a) + H(w_v)), averaged over the clips; both weights from attention (Eq. 5).

    The attention trains beside the audio encoder and is not used afterwards. In validation its weights count from
    the start and epsilon is the last one, so that one epoch's value compares with another's. The encoder with the
    lowest value is exported.

    Args:
        width: D of the tokens.
        num_heads: of each attention.
        temperature: of the softmax over tokens.
        entropy_weights: epsilon, in squared units of the tokens, for each epoch after the uniform ones; the last stays.
            It must follow the scale of the costs: the paper's is for CLIP's tokens of width 1024.
        uniform_epochs: epochs at the start in which all weights are equal.
        uniform_mix: share of the uniform weights in the weights; the paper 0.0, the authors' code 0.5.
        solver: of the transport problem; None is exact (`EarthMover`).
        uniform_validation: validate, and so choose the encoder, by the transport's cost with uniform weights alone.
            The paper does not say; the authors' code: True.
    """

    def __init__(
        self,
        width: int = 1024,
        num_heads: int = 8,
        temperature: float = 20.0,
        entropy_weights: Sequence[float] = (500.0, 400.0, 300.0, 200.0, 100.0),
        uniform_epochs: int = 1,
        uniform_mix: float = 0.0,
        solver: Solver | None = None,
        uniform_validation: bool = False,
    ) -> None:
        super().__init__()
        if not entropy_weights:
            raise InputError("expected at least one entropy weight, found none; set the criterion's entropy_weights")
        if not (temperature > 0 and 0 <= uniform_mix <= 1):
            raise InputError(
                f"expected a temperature above 0 and a uniform_mix from 0 to 1, found {temperature} and {uniform_mix}; "
                "correct the criterion"
            )
        self.audio_attention = FeatureMeanAttention(width, num_heads)
        self.image_attention = FeatureMeanAttention(width, num_heads)
        self.width = width
        self.temperature = temperature
        self.entropy_weights = entropy_weights
        self.uniform_epochs = uniform_epochs
        self.uniform_mix = uniform_mix
        self.solver = solver or EarthMover()
        self.uniform_validation = uniform_validation
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the stage with the number of the epoch, from 0."""
        self.epoch = epoch

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Measures]:
        """The loss; gradients reach the tokens and the attention, through plan and potentials.

        Logs `entropy_weight` in squared units of the tokens; for audio and image `<modality>_entropy` beside
        `<modality>_entropy_uniform`, the log of the number of tokens, both in nats, and `<modality>_top10_mass`, the
        share of the weight on the ten heaviest tokens; and the transport's measures.

        Raises:
            FloatingPointError: a token is NaN or infinite.
        """
        audio_weights, image_weights = self.weights(audio_tokens, image_tokens)
        cost, transport = transport_cost(audio_tokens, image_tokens, audio_weights, image_weights, self.solver)
        past_uniform = self.epoch - self.uniform_epochs if self.training else len(self.entropy_weights)
        epsilon = self.entropy_weights[max(0, min(past_uniform, len(self.entropy_weights) - 1))]
        if self._validates_uniformly:
            epsilon = 0.0
        measures = {"entropy_weight": epsilon, **transport.measures}
        total = cost.mean()
        for modality, weights in (("audio", audio_weights), ("image", image_weights)):
            # the slope of the entropy is infinite where a weight has underflowed
            entropy = torch.special.entr(weights.clamp(min=torch.finfo(weights.dtype).tiny)).sum(dim=1).mean()
            total = total - epsilon * entropy
            measures[f"{modality}_entropy"] = entropy.detach()
            measures[f"{modality}_entropy_uniform"] = math.log(weights.shape[1])
            heaviest = weights.detach().topk(min(HEAVIEST, weights.shape[1]), dim=1).values
            measures[f"{modality}_top10_mass"] = heaviest.sum(dim=1).mean()
        return total, measures

    def couple(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `lightning_modules.contracts.TransportCriterion`; with the weights that validation has."""
        weights = self.weights(audio_tokens, image_tokens)
        return dense_plan(audio_tokens, image_tokens, *weights, self.solver), *weights

    @property
    def _validates_uniformly(self) -> bool:
        return self.uniform_validation and not self.training

    def weights(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of the audio tokens (B, N) and of the image tokens (B, M), Eq. 6 and 7; rows sum to 1.

        Raises:
            InputError: the tokens are of another width than the attention.
        """
        if (found := audio_tokens.shape[-1]) != self.width:
            raise InputError(
                f"expected tokens of width {self.width}, found {found}; set the criterion's width to {found}"
            )
        uniform = self._validates_uniformly or (self.training and self.epoch < self.uniform_epochs)
        # the attention is called all the same: DDP wants a gradient, be it zero, for every parameter
        mix = 1.0 if uniform else self.uniform_mix

        def from_attention(attention: FeatureMeanAttention, queries: Tensor, keys: Tensor) -> Tensor:
            even = uniform_weights(queries)
            logits = attention(queries, keys).to(even.dtype) / self.temperature
            return logits.softmax(dim=1).lerp(even, mix)

        return (
            from_attention(self.audio_attention, audio_tokens, image_tokens),
            from_attention(self.image_attention, image_tokens, audio_tokens),
        )


class FeatureMeanAttention(nn.Module):
    """The mean over the features of a multi-head cross-attention's output: one number for each query token.

    Linear maps of queries, keys and values come before `nn.MultiheadAttention`'s own. As only the mean is wanted, the
    value path (its two maps, the output map, the mean) comes down to one vector a head; the two maps of the queries,
    and of the keys, are multiplied once a step instead of being applied to every token one after the other.

    Args:
        width: D of the tokens.
        num_heads: heads of width D / num_heads.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)  # holds weights, is not called

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Attend from (B, N, D) to (B, M, D); (B, N)."""
        heads, width = self.attention.num_heads, self.attention.embed_dim
        queries, keys = (tokens.to(self.query.weight.dtype) for tokens in (queries, keys))
        inner_weights, inner_biases = self.attention.in_proj_weight.chunk(3), self.attention.in_proj_bias.chunk(3)
        query, key = (
            nn.functional.linear(tokens, inner @ outer.weight, inner @ outer.bias + bias).unflatten(-1, (heads, -1))
            for tokens, outer, inner, bias in zip((queries, keys), (self.query, self.key), inner_weights, inner_biases)
        )  # (B, N, heads, D / heads), (B, M, heads, D / heads)
        output = self.attention.out_proj
        readout = output.weight.mean(dim=0).view(heads, 1, -1)  # of each head's features
        value_map = (readout @ inner_weights[2].view(heads, -1, width)).squeeze(1)  # (heads, D)
        value_bias = (readout.squeeze(1) * inner_biases[2].view(heads, -1)).sum(dim=1) + value_map @ self.value.bias
        values = nn.functional.linear(keys, value_map @ self.value.weight, value_bias)  # (B, M, heads)
        scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1) / math.sqrt(width // heads)  # (B, heads, N, M)
        attended = scores.softmax(dim=-1) @ values.transpose(1, 2).unsqueeze(-1)  # (B, heads, N, 1)
        return attended.squeeze(-1).sum(dim=1) + output.bias.mean()
