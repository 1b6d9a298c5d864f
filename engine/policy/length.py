"""Rewards that pay short right answers more, for all prompts or for the mastered ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Rollouts

LEAST_STD = 1e-6  # tokens; right answers of one length are all paid 1 - penalty / 2


def penalized(rollouts: Rollouts, params: Any) -> Tensor:
    """Return r (1 - penalty * sigmoid((length - mean) / std)), [B, G].

    Mean and standard deviation (with n) of the lengths are those of the prompt's right
    answers, r > 0 (Arora & Zanette 2025, arXiv:2502.04463). What is wrong stays 0.
    """
    reward_BG = rollouts.reward_BG
    right_BG = (reward_BG > 0).to(reward_BG.dtype)
    length_BG = rollouts.length_BG.to(reward_BG.dtype)
    n_B1 = right_BG.sum(-1, keepdim=True).clamp(min=1)
    mean_B1 = (right_BG * length_BG).sum(-1, keepdim=True) / n_B1
    variance_B1 = (right_BG * (length_BG - mean_B1).square()).sum(-1, keepdim=True) / n_B1
    far_BG = (length_BG - mean_B1) / variance_B1.sqrt().clamp(min=LEAST_STD)
    found: Tensor = reward_BG * (1 - params.length_penalty * far_BG.sigmoid())
    return found


def penalized_where_mastered(rollouts: Rollouts, params: Any) -> Tensor:
    """Return the penalized reward for the prompts answered best, the plain one for others.

    GRPO-lambda (Dai et al. 2025, arXiv:2505.18086): of B prompts the first lambda B by the
    share of right answers; at equal shares the one that stands first in the collection.
    """
    reward_BG = rollouts.reward_BG
    share_B = (reward_BG > 0).to(reward_BG.dtype).mean(-1)
    rank_B = share_B.argsort(descending=True, stable=True).argsort()
    chosen_B1 = (rank_B < params.lambda_share * len(share_B)).unsqueeze(-1)
    return penalized(rollouts, params).where(chosen_B1, reward_BG)


def without_effect(params: Any) -> list[tuple[str, str]]:
    """Return the warning of a penalty of 0, or one that no prompt gets."""
    found = []
    if params.length_penalty == 0:
        found.append(("length_penalty", "0: every right answer is paid alike"))
    return found


def nothing_chosen(params: Any) -> list[tuple[str, str]]:
    """Return the warnings of shares of prompts that make a plainer algorithm."""
    found = without_effect(params)
    if params.lambda_share == 0:
        found.append(("lambda_share", "0: no prompt gets the length penalty"))
    if params.lambda_share == 1:
        found.append(("lambda_share", "1: every prompt gets it, as with 'length_penalty'"))
    return found
