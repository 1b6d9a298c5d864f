"""BNPO: a prompt's advantages are divided by a Beta density at its success rate.

Xiao et al. 2025, arXiv:2506.02864; the density is fitted to the success rates of the
collection's prompts. REINFORCE with a baseline and GRPO without its factor are the limits
alpha = beta = 1 and alpha = beta = 3/2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phasecube.engine.policy.advantages import mean

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Rollouts

MOST_WEIGHT = 1e6  # as released: the density is 0 at success rates of 0 and 1
LEAST_VARIANCE = 1e-6  # of equal success rates, where the released code divides by 0


def beta_normalized(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> Tensor:
    """Return (r - p) / Beta(p; alpha, beta), [B, G], for rewards in [0, 1].

    p is the group's mean; m and v the mean and the variance (with B - 1) of p over prompts;
    nu = m (1 - m) / v - 1, alpha = max(1, 1 + nu m / 3), beta = max(1, 1 + nu (1 - m) / 3).
    """
    import torch

    success_B1 = rollouts.reward_BG.mean(-1, keepdim=True)
    middle = success_B1.mean()
    n = success_B1.shape[0]
    variance = (success_B1 - middle).square().sum() / max(n - 1, 1)
    spread = middle * (1 - middle) / variance.clamp(min=LEAST_VARIANCE) - 1
    alpha = (1 + spread * middle / 3).clamp(min=1)
    beta = (1 + spread * (1 - middle) / 3).clamp(min=1)
    log_density_B1 = (
        torch.xlogy(alpha - 1, success_B1)  # 0 log 0 = 0
        + torch.xlogy(beta - 1, 1 - success_B1)
        + torch.lgamma(alpha + beta)
        - torch.lgamma(alpha)
        - torch.lgamma(beta)
    )
    weight_B1 = (-log_density_B1).exp().clamp(max=MOST_WEIGHT)
    return weight_B1 * mean(rollouts, params, memory)


def too_few_prompts(params: Any) -> list[tuple[str, str]]:
    """Return the fault of a single prompt, whose success rate has no spread."""
    if params.prompts > 1:
        return []
    return [("prompts", "BNPO fits a density to the success rates of the prompts: use 2 or more")]
