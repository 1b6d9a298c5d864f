"""Clip-Cov: some of the tokens that make the entropy fall learn nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phasecube.engine.policy.token_covariance import (
    cross_products,
    rounding_warning,
    smallest,
    tokens_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Update


def weight(update: Update) -> Tensor:
    """Return 0 for tokens drawn at random among the eligible ones, else 1, [B, G, L].

    Eligible are valid tokens whose cross product lies between `covariance_clip_low` and
    `covariance_clip_high` and which the surrogate `clip` has not cut already. Drawn are
    `covariance_clip_fraction` of all valid tokens, or all that are eligible if those are fewer
    (Cui et al. 2025, arXiv:2505.22617). The released code has a fraction of 2e-4, the
    bounds 1 and 5, and for its 7B model a clip of 1, which cuts next to nothing. The bounds are
    absolute: advantages that are not standardised, or a policy that is nearly sure of its tokens,
    leave few tokens between them.
    """
    params, rollouts = update.params, update.rollouts
    product_BGL, ratio_BGL = cross_products(update), update.ratio_BGL.detach()
    # What the clip has cut: beyond the bound, and rewarded for going on.
    over_BGL = (ratio_BGL > 1 + params.clip_high) & (update.advantage_BGL > 0)
    under_BGL = (ratio_BGL < 1 - params.clip_low) & (update.advantage_BGL < 0)
    between_BGL = (product_BGL > params.covariance_clip_low) & (
        product_BGL < params.covariance_clip_high
    )
    eligible_BGL = rollouts.valid_BGL & between_BGL & ~over_BGL & ~under_BGL
    uniform_BGL = update.rng.uniform("covariance_clip", product_BGL.shape)
    count = tokens_of(params.covariance_clip_fraction, rollouts.valid_BGL)
    # Uniforms lie below 1: tokens that are not eligible come last.
    first_BGL = smallest(uniform_BGL.where(eligible_BGL, 2.0), count)
    kept_BGL: Tensor = ~(first_BGL & eligible_BGL)
    return kept_BGL.to(ratio_BGL.dtype)


def faults(params: Any) -> list[tuple[str, str]]:
    """Return bounds between which no cross product lies."""
    low, high = params.covariance_clip_low, params.covariance_clip_high
    if low < high:
        return []
    return [
        (
            "covariance_clip_low",
            f"{low:g} is not below covariance_clip_high = {high:g}: no token is eligible",
        )
    ]


def warnings(params: Any) -> list[tuple[str, str]]:
    """Return a fraction of tokens that cannot be met."""
    return rounding_warning(params, "covariance_clip_fraction")
