"""pass@k: the largest reward of k answers, expected."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def powers_of_two(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4 .. up to `most`."""
    return tuple(1 << i for i in range(most.bit_length()))


def expected_best(reward_BG: Tensor, ks: tuple[int, ...]) -> Tensor:
    """Return the largest reward of k of a prompt's G answers, mean over prompts, [k].

    Over all choices of k answers, so without bias. Of rewards 0 and 1 it is pass@k,
    1 - C(G - c, k) / C(G, k) with c right ones (Chen et al. 2021, arXiv:2107.03374).
    """
    import torch

    n = reward_BG.shape[-1]
    ranked_B1G = reward_BG.sort(-1).values.unsqueeze(-2)
    # The i-th in order is the best of k where the other k - 1 are among the i - 1 below it.
    share = [[comb(i, k - 1) / comb(n, k) for i in range(n)] for k in ks]
    share_KG = torch.tensor(share, dtype=reward_BG.dtype, device=reward_BG.device)
    return (ranked_B1G * share_KG).sum(-1).mean(0)


def pass_at(right_B: Tensor, ks: tuple[int, ...]) -> Tensor:
    """Return the probability that one of k answers is right, mean over prompts, [k]."""
    import torch

    k_K1 = torch.tensor(ks, dtype=right_B.dtype, device=right_B.device).unsqueeze(-1)
    # Not 1 - (1 - p)^k: of a small p the power rounds to 1.
    found_KB = -torch.expm1(k_K1 * torch.log1p(-right_B.clamp(max=1.0)))
    return found_KB.mean(-1)
