"""KL-Cov: the tokens that make the entropy fall most are held where they were."""

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


def penalty(update: Update) -> Tensor:
    """Return `covariance_kl_coefficient` times |log ratio| of the tokens with the largest cross
    products, `covariance_kl_fraction` of the valid ones, reduced as the loss is.

    Cui et al. 2025 (arXiv:2505.22617). The released code has no clip beside it, a
    coefficient of 1, and its `k_percent` of .2 is a PERCENTAGE: a fraction of .002.

    The slope of |x| at 0 is 0, so that nothing is held at the first update of a collection, and
    elsewhere it is 1 however small x is. An update therefore carries a held token past 0 by up to
    lr * coefficient * its share of the loss: where that is no small log ratio, the penalty
    throws tokens about instead of holding them. A network whose log-probabilities round
    otherwise in a minibatch than in a collection has no exact 0.
    """
    params, valid_BGL = update.params, update.rollouts.valid_BGL
    product_BGL = cross_products(update).where(valid_BGL, -float("inf"))
    count = tokens_of(params.covariance_kl_fraction, valid_BGL)
    held_BGL = smallest(-product_BGL, count) & valid_BGL
    distance_BGL = update.log_ratio_BGL.abs().where(held_BGL, 0.0)
    found: Tensor = params.covariance_kl_coefficient * update.mean(distance_BGL)
    return found


def warnings(params: Any) -> list[tuple[str, str]]:
    """Return a fraction of tokens that cannot be met."""
    return rounding_warning(params, "covariance_kl_fraction")
