"""RiskPO: the gradient of a risk measure of bundles, not of the mean reward.

Ren et al. 2025, arXiv:2510.00911. Prompts are bundled in order; the g-th answers to the
prompts of a bundle are one paper, whose score s is the sum of their rewards. Two quantiles
of the scores are tracked over collections. Quirks of the released code, kept: sums are
divided by levels of quantiles and not by quantiles; a constant bundle is divided by an
epsilon, so that advantages are cut at +-LIMIT here; papers without a spread train too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Rollouts

LOW, HIGH, SEEN = "risk_low_quantile", "risk_high_quantile", "risk_collections"
LIMIT = 10.0
EPSILON = 1e-6  # of standard deviations and levels, as released
LEAST_STD = 1e-3  # of a prompt's rewards; below it the released code divides by 1


def averse(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> Tensor:
    """Return advantages of the mixed measure, [B, G], none of them positive.

    (w CVaR + RVaR) / (1 + w): RVaR = ((s - q)+ - (s - Q)+ + q - Q) / (level Q - level q),
    between the two quantiles q < Q; CVaR = -(q - s)+ / level q, below q; over the bundle's
    and then the prompt's standard deviation (credit mode "std").
    """
    score_KG, low, high = _scores(rollouts, params, memory)
    below_KG = -(low - score_KG).clamp(min=0) / (params.risk_low + EPSILON)
    middle_KG = _middle(score_KG, low, high, params)
    mixed_KG = (params.risk_mix * below_KG + middle_KG) / (1 + params.risk_mix)
    return _credited(mixed_KG, score_KG, rollouts, params)


def seeking(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> Tensor:
    """Return advantages of the risk-seeking measure, [B, G]: above the upper quantile
    (s - Q)+ / (1 - level Q) in the place of CVaR. The authors report that it collapses."""
    score_KG, low, high = _scores(rollouts, params, memory)
    above_KG = (score_KG - high).clamp(min=0) / (1 - params.risk_high + EPSILON)
    middle_KG = _middle(score_KG, low, high, params)
    mixed_KG = (params.risk_mix * above_KG + middle_KG) / (1 + params.risk_mix)
    return _credited(mixed_KG, score_KG, rollouts, params)


def remember(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return both quantiles after one step of stochastic approximation on these scores."""
    score_KG, low, high = _scores(rollouts, params, memory)

    def after(quantile: Tensor, level: Tensor) -> Tensor:
        below = (score_KG <= quantile).to(score_KG.dtype).mean()
        moved: Tensor = quantile + params.risk_lr * (level - below)
        return moved

    return {
        LOW: after(low, params.risk_low),
        HIGH: after(high, params.risk_high),
        SEEN: memory[SEEN] + 1,
    }


def cannot_bundle(params: Any) -> list[tuple[str, str]]:
    """Return the faults of prompts that make no whole bundles, and of levels out of order."""
    found = []
    if params.prompts % params.bundle:
        found.append(
            (
                "prompts",
                f"RiskPO scores bundles of {params.bundle} prompts: {params.prompts} is no "
                f"multiple; use {params.prompts - params.prompts % params.bundle or params.bundle}"
                " or another bundle",
            )
        )
    if params.risk_low >= params.risk_high:
        found.append(
            (
                "risk_low",
                f"the lower level {params.risk_low:g} must be below risk_high = "
                f"{params.risk_high:g}",
            )
        )
    return found


def _scores(
    rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores [K, G] and the quantiles: of these scores where none was tracked yet."""
    reward_BG = rollouts.reward_BG
    score_KG = reward_BG.reshape(-1, params.bundle, reward_BG.shape[-1]).sum(1)
    ordered = score_KG.flatten().sort().values
    new = memory[SEEN] == 0
    low = _quantile(ordered, params.risk_low).where(new, memory[LOW])
    high = _quantile(ordered, params.risk_high).where(new, memory[HIGH])
    return score_KG, low, high


def _quantile(ordered: Tensor, level: Tensor | float) -> Tensor:
    """Return the level's quantile, linear between neighbours, as torch.quantile."""
    import torch

    place = torch.as_tensor(level * (len(ordered) - 1), device=ordered.device)
    left = place.floor()
    pair = torch.stack([left, place.ceil()]).to(torch.int64)
    at_left, at_right = ordered.gather(0, pair)
    found: Tensor = at_left + (place - left).to(ordered.dtype) * (at_right - at_left)
    return found


def _middle(score_KG: Tensor, low: Tensor, high: Tensor, params: Any) -> Tensor:
    # (s - q)+ - (s - Q)+ + q - Q, without rounding above 0 and for tracked q > Q too
    cut_KG = score_KG.maximum(low).minimum(high) - high
    found: Tensor = cut_KG / (params.risk_high - params.risk_low + EPSILON)
    return found


def _credited(mixed_KG: Tensor, score_KG: Tensor, rollouts: Rollouts, params: Any) -> Tensor:
    normed_KG = mixed_KG / (score_KG.std(-1, keepdim=True) + EPSILON)
    spread_B1 = rollouts.reward_BG.std(-1, keepdim=True)
    spread_B1 = spread_B1.where(spread_B1 > LEAST_STD, 1.0) + EPSILON
    advantage_BG: Tensor = normed_KG.repeat_interleave(params.bundle, 0) / spread_B1
    return advantage_BG.clamp(-LIMIT, LIMIT)
