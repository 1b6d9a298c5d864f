"""STEER: tokens that would change the entropy much weigh less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Update

LEAST_SCALE = 0.02  # of the exponential law: a minibatch whose tokens all change less keeps them
MARGIN = 1e-8  # between a probability and 0 or 1


def entropy_change(update: Update) -> Tensor:
    """Return A / pi_old * pi (1 - pi)(log pi + H) of each token, without a gradient, [B, G, L].

    STEER's estimate of the entropy that a token's update takes (Hao et al. 2025,
    arXiv:2510.10150). On the policy that answered, -pi times it is what the sampled logit adds
    to the change, which is most of it (correlation .85). The released code names the factor
    pi (1 - pi)^2 and computes pi (1 - pi); without that pi it weighs rare tokens higher.
    """
    log_prob_BGL = update.log_prob_BGL.detach()
    chance_BGL = log_prob_BGL.exp().clamp(MARGIN, 1 - MARGIN)
    chance_then_BGL = update.rollouts.log_prob_BGL.exp().clamp(min=MARGIN)
    surprise_BGL = chance_BGL.log() + update.entropy_BGL.detach()
    return update.advantage_BGL / chance_then_BGL * chance_BGL * (1 - chance_BGL) * surprise_BGL


def exponential(update: Update) -> Tensor:
    """Return exp(-k m), m the size of a token's entropy change, k such that the largest of the
    minibatch weighs `steer_min`: in [steer_min, 1], [B, G, L].

    Where the largest m is under .02, k is -ln(steer_min) / .02 and no token weighs that little.
    """
    low = update.params.steer_min
    size_BGL, valid_BGL = entropy_change(update).abs(), update.rollouts.valid_BGL
    largest = size_BGL.where(valid_BGL, 0.0).amax().clamp(min=LEAST_SCALE)
    weight_BGL = (low.log() / largest * size_BGL).exp()
    found: Tensor = weight_BGL.maximum(low).where(valid_BGL, 1.0)
    return found


def linear(update: Update) -> Tensor:
    """Return the weight that falls from `steer_max` at the minibatch's smallest entropy change
    to `steer_min` at its largest, [B, G, L]; where all are equal, the middle of the two."""
    low, high = update.params.steer_min, update.params.steer_max
    size_BGL, valid_BGL = entropy_change(update).abs(), update.rollouts.valid_BGL
    largest = size_BGL.where(valid_BGL, 0.0).amax()
    least = size_BGL.where(valid_BGL, largest).amin()
    spread = largest - least
    place_BGL = (size_BGL - least) / spread.where(spread > 0, 1.0)
    weight_BGL = high - (high - low) * place_BGL.where(spread > 0, 0.5)
    found: Tensor = weight_BGL.where(valid_BGL, 1.0)
    return found


def faults(params: Any) -> list[tuple[str, str]]:
    """Return a least weight above the largest."""
    low, high = params.steer_min, params.steer_max
    if low <= high:
        return []
    return [("steer_min", f"{low:g} is above steer_max = {high:g}: large changes would weigh more")]
