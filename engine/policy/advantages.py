"""Advantages from the rewards of a prompt's own answers, [B, G]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Rollouts

VARIANCE_FLOOR = 1e-8  # of a collection whose rewards are equal: verl's
STD_FLOOR = 1e-6  # of a group whose rewards are equal: verl's epsilon, its advantages are 0


def raw(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG001
    """Return the rewards themselves: REINFORCE without a baseline (Williams 1992)."""
    return rollouts.reward_BG


def mean(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG001
    """Return reward less the group's mean: Dr. GRPO (Liu et al. 2025, arXiv:2503.20783)."""
    reward_BG = rollouts.reward_BG
    return reward_BG - reward_BG.mean(-1, keepdim=True)


def group_std(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> Tensor:
    """Return reward less the group's mean, over its standard deviation with G - 1: GRPO
    (Shao et al. 2024, arXiv:2402.03300; the unbiased deviation is that of verl)."""
    spread_B1 = rollouts.reward_BG.std(-1, keepdim=True)
    return mean(rollouts, params, memory) / (spread_B1 + STD_FLOOR)


def leave_one_out(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> Tensor:
    """Return reward less the mean of the prompt's other answers: RLOO (Ahmadian et al. 2024,
    arXiv:2402.14740). It is `mean` times G / (G - 1)."""
    answers = rollouts.reward_BG.shape[-1]
    return mean(rollouts, params, memory) * (answers / (answers - 1))


def batch_std(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG001
    """Return the reward standardised over the collection's valid tokens: REINFORCE++ without its
    KL (Hu 2025, arXiv:2501.03262). As in verl, an answer counts as often as it has tokens, so
    long answers weigh more in mean and variance."""
    reward_BG, length_BG = rollouts.reward_BG, rollouts.length_BG
    n = length_BG.sum()
    apart_BG = reward_BG - (reward_BG * length_BG).sum() / n
    variance = (apart_BG.square() * length_BG).sum() / (n - 1).clamp(min=1)
    return apart_BG / (variance + VARIANCE_FLOOR).sqrt()
