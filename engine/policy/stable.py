"""StableReinforce: log-ratios are cut before exp, and advantages far out are dropped.

Zhang et al. 2025, R1-Reward, arXiv:2505.02835. Advantages are standardised over
the tokens of the collection, with n (not n - 1) in the variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Rollouts, Update

LEAST_VARIANCE = 1e-8  # as released
MOST_RELEASED = 10.0  # the released code drops |z| above it a second time


def pre_clip(update: Update) -> Tensor:
    """Return PPO's clipped loss of a ratio whose logarithm was first held to +-limit.

    A ratio outside exp(+-limit) has no gradient, even where PPO's max would give one (A < 0
    and a large ratio), and exp never overflows.
    """
    params = update.params
    limit = params.log_ratio_limit
    log_ratio_BGL = update.log_ratio_BGL
    ratio_BGL = log_ratio_BGL.maximum(-limit).minimum(limit).exp()
    inside_BGL = ratio_BGL.maximum(1 - params.clip_low).minimum(1 + params.clip_high)
    advantage_BGL = update.advantage_BGL
    return (-advantage_BGL * ratio_BGL).maximum(-advantage_BGL * inside_BGL)


def advantage_filter(
    rollouts: Rollouts,
    params: Any,
    memory: Mapping[str, Tensor],  # noqa: ARG001
) -> Tensor:
    """Return z of the rewards, 0 where |z| > width (the paper's 3-sigma rule), [B, G].

    With rewards of 0 and 1 a success at rate p has z = sqrt((1 - p) / p): below p = 1 / 10
    the rule drops every success, and above p = 9 / 10 every failure.
    """
    score_BG, _ = _standardized(rollouts)
    return score_BG.where(score_BG.abs() <= params.filter_width, 0.0)


def advantage_filter_released(
    rollouts: Rollouts,
    params: Any,
    memory: Mapping[str, Tensor],  # noqa: ARG001
) -> Tensor:
    """Return z, 0 outside the RAW mean of the rewards +- width and for |z| > 10, [B, G]:
    the window of the released code is centred on the mean before standardisation."""
    score_BG, middle = _standardized(rollouts)
    inside_BG = (score_BG >= middle - params.filter_width) & (
        score_BG <= middle + params.filter_width
    )
    return score_BG.where(inside_BG & (score_BG.abs() <= MOST_RELEASED), 0.0)


def _standardized(rollouts: Rollouts) -> tuple[Tensor, Tensor]:
    """Return z and the raw mean, each answer counted by its tokens."""
    reward_BG, weight_BG = rollouts.reward_BG, rollouts.length_BG
    n = weight_BG.sum()
    middle = (weight_BG * reward_BG).sum() / n
    variance = (weight_BG * (reward_BG - middle).square()).sum() / n
    return (reward_BG - middle) * variance.clamp(min=LEAST_VARIANCE).rsqrt(), middle
