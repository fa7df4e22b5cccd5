"""Exact optimal transport between a clip's audio tokens and its image tokens.

Source: DALI, section 3.2, Eq. 4. Solved by POT's network simplex on the CPU, all clips of a batch at once.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import ot
import torch
from torch import Tensor, nn

MAX_ITERATIONS = 10_000_000  # 512 x 576 tokens need about 20,000; POT stops at 100,000 by default


class OptimalTransport(nn.Module):
    """Earth mover's distance with the squared Euclidean cost and uniform weights, averaged over the clips.

    Args:
        num_threads: clips solved at once; None takes every core that this process may run on.
    """

    def __init__(self, num_threads: int | None = None) -> None:
        super().__init__()
        self.num_threads = num_threads

    def forward(self, audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Compute the loss; its gradient flows through the cost with the plan held fixed (envelope theorem).

        Args:
            audio_tokens: (B, N, D).
            image_tokens: (B, M, D).

        Returns:
            The loss, a float32 scalar (float64 for float64 tokens), and what to log: `relative_cost`, the
            loss over the mean cost of every token to every token (1 means that no structure is shared), and
            `solver_seconds`.

        Raises:
            FloatingPointError: a token is NaN or infinite.
        """
        # half precision under autocast would garble the costs
        with torch.autocast(audio_tokens.device.type, enabled=False):
            audio, image = centre(audio_tokens, image_tokens)
            with torch.no_grad():
                # the solver's time starts once the device has caught up
                cost = squared_distances(audio, image).cpu()  # (B, N, M)
                start = time.perf_counter()
                plan = self._solve(cost).to(audio.device)  # (B, N, M)
                seconds = time.perf_counter() - start
            loss = transport_cost(audio, image, plan).mean()
            return loss, {"relative_cost": loss.detach() / cost.mean(), "solver_seconds": seconds}

    @torch.no_grad()
    def plan(self, audio_tokens: Tensor, image_tokens: Tensor) -> Tensor:
        """Compute the coupling: (B, N, M), each row summing to 1 / N and each column to 1 / M."""
        with torch.autocast(audio_tokens.device.type, enabled=False):
            return self._solve(squared_distances(*centre(audio_tokens, image_tokens)))

    def _solve(self, cost: Tensor) -> Tensor:
        batch, num_audio, num_image = cost.shape
        audio_weights = torch.full((batch, num_audio), 1 / num_audio, dtype=torch.float64)
        image_weights = torch.full((batch, num_image), 1 / num_image, dtype=torch.float64)
        return solve(cost, audio_weights, image_weights, self.num_threads)


def centre(audio_tokens: Tensor, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract from both sets of a clip their common mean, in float32 or float64.

    No distance changes, but squares of large coordinates no longer cancel in `squared_distances`.
    """
    dtype = torch.promote_types(torch.promote_types(audio_tokens.dtype, image_tokens.dtype), torch.float32)
    audio, image = audio_tokens.to(dtype), image_tokens.to(dtype)
    mean = torch.cat([audio.detach(), image.detach()], dim=1).mean(dim=1, keepdim=True)  # (B, 1, D)
    return audio - mean, image - mean


def squared_distances(audio: Tensor, image: Tensor) -> Tensor:
    """(B, N, D) and (B, M, D) to squared Euclidean distances (B, N, M), without a (B, N, M, D) between."""
    norms = audio.square().sum(dim=-1)[:, :, None] + image.square().sum(dim=-1)[:, None, :]
    return torch.baddbmm(norms, audio, image.transpose(1, 2), alpha=-2).clamp(min=0)


def transport_cost(audio: Tensor, image: Tensor, plan: Tensor) -> Tensor:
    """Cost of a plan that counts as constant: (B, N, D), (B, M, D) and (B, N, M) to (B,).

    The sum of plan * squared distance, expanded so that backward keeps no (B, N, M) graph: the audio tokens'
    gradient is 2 (weight * token - plan @ image), already there from the forward pass.
    """
    audio_norms = (plan.sum(dim=2) * audio.square().sum(dim=-1)).sum(dim=1)
    image_norms = (plan.sum(dim=1) * image.square().sum(dim=-1)).sum(dim=1)
    return audio_norms + image_norms - 2 * (audio * (plan @ image)).sum(dim=(1, 2))


def solve(cost: Tensor, audio_weights: Tensor, image_weights: Tensor, num_threads: int | None = None) -> Tensor:
    """Compute the exact optimal plans of B clips, without gradient.

    Args:
        cost: (B, N, M), on any device.
        audio_weights: (B, N), each row summing to 1.
        image_weights: (B, M), each row summing to 1.
        num_threads: clips solved at once (POT releases the GIL); None takes every core of this process.

    Returns:
        (B, N, M) on the device and in the dtype of `cost`.

    Raises:
        FloatingPointError: a cost is NaN or infinite.
        RuntimeError: the solver stopped before the optimum.
    """
    arrays = [value.detach().cpu().double().numpy() for value in (audio_weights, image_weights, cost)]
    if not (finite := np.isfinite(arrays[2]).all(axis=(1, 2))).all():
        raise FloatingPointError(
            "expected finite distances between tokens, found NaN or infinity in the clips "
            f"{np.flatnonzero(~finite).tolist()} of the batch; lower the learning rate, or look at them"
        )

    def solve_one(audio_weights: np.ndarray, image_weights: np.ndarray, cost: np.ndarray) -> Tensor:
        plan, log = ot.emd(audio_weights, image_weights, cost, numItermax=MAX_ITERATIONS, log=True)
        if log["warning"] is not None:
            raise RuntimeError(f"expected an optimal plan, found that POT stopped early: {log['warning']}")
        return torch.from_numpy(plan).to(dtype)

    dtype = cost.dtype
    # a laptop's system may not know affinity; a cluster's does, and hands a rank only some of the cores
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(num_threads or cores) as pool:
        return torch.stack(list(pool.map(solve_one, *arrays))).to(cost.device)  # (B, N, M)
