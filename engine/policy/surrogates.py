"""Losses of a token whose decrease follows the policy gradient, [B, G, L]."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Update


def policy_gradient(update: Update) -> Tensor:
    """Return -A times the ratio: importance sampling without a bound."""
    return -update.advantage_BGL * update.ratio_BGL


def clip(update: Update) -> Tensor:
    """Return max(-A ratio, -A clipped ratio): PPO (Schulman et al. 2017, arXiv:1707.06347)."""
    return _clipped(update, update.params.clip_low, update.params.clip_high)


def clip_higher(update: Update) -> Tensor:
    """Return the clip with a wider upper bound, `clip_higher`: DAPO (Yu et al. 2025,
    arXiv:2503.14476), so that tokens of small probability may grow."""
    return _clipped(update, update.params.clip_low, update.params.clip_higher)


def dual_clip(update: Update) -> Tensor:
    """Return `clip_higher` with the loss of a punished token bounded by -A c, c = `dual_clip`
    (Ye et al. 2020, arXiv:1912.09729): however much likelier it became, it is pushed no more.
    verl has c = 3, STEER's scripts 10."""
    loss_BGL, advantage_BGL = clip_higher(update), update.advantage_BGL
    bounded_BGL = loss_BGL.minimum(-advantage_BGL * update.params.dual_clip)
    return bounded_BGL.where(advantage_BGL < 0, loss_BGL)


def _clipped(update: Update, low: Tensor, high: Tensor) -> Tensor:
    ratio_BGL, advantage_BGL = update.ratio_BGL, update.advantage_BGL
    bound_BGL = (1 + high).where(advantage_BGL > 0, 1 - low)
    # The larger of the two losses with its gradient, in fewer operations than a maximum takes.
    passed_BGL = advantage_BGL * (ratio_BGL.detach() - bound_BGL) > 0
    return -advantage_BGL * bound_BGL.where(passed_BGL, ratio_BGL)
