"""What Clip-Cov and KL-Cov choose tokens by: the cross product of advantage and log-probability.

Cui et al. 2025 (arXiv:2505.22617): tokens whose product is large make the entropy fall. Both
algorithms choose a share of a minibatch's tokens, here a fraction and never a percentage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Update

OFF = 0.1  # relative: what a warning tells of the share that whole tokens make of the one asked for


def cross_products(update: Update) -> Tensor:
    """Return (A - mean A)(log pi - mean log pi) of each token, means over the minibatch's valid
    tokens, [B, G, L]; without a gradient, 0 where a token is not valid."""
    valid_BGL = update.rollouts.valid_BGL
    n = valid_BGL.sum()

    def apart(value_BGL: Tensor) -> Tensor:
        return value_BGL - value_BGL.where(valid_BGL, 0.0).sum() / n

    product_BGL = apart(update.advantage_BGL) * apart(update.log_prob_BGL.detach())
    return product_BGL.where(valid_BGL, 0.0)


def tokens_of(fraction: Tensor, valid_BGL: Tensor) -> Tensor:
    """Return the whole number of valid tokens that a fraction is, rounded down, as a float.

    A fraction above 0 is one token at least, as in the released code: with few tokens that is
    a larger fraction. A fraction of 0 is none; the released Clip-Cov drops one token even then.
    """
    asked = fraction * valid_BGL.sum()
    return asked.floor().clamp(min=1.0).where(fraction > 0, 0.0)


def smallest(key_BGL: Tensor, count: Tensor) -> Tensor:
    """Return which entries are among the `count` smallest, bool; of equal ones, the first.

    By ranks, since a count that varies over the trials of a pack can cut no tensor.
    """
    order = key_BGL.flatten().argsort(stable=True)
    return (order.argsort() < count).reshape(key_BGL.shape)


def rounding_warning(params: Any, name: str) -> list[tuple[str, str]]:
    """Return that whole tokens make another fraction of a minibatch than is asked for."""
    fraction, tokens = getattr(params, name), params.update_tokens
    if tokens is None or fraction == 0:
        return []
    asked = fraction * tokens
    taken = max(int(asked), 1)
    if abs(taken / asked - 1) <= OFF:
        return []
    return [
        (
            name,
            f"{fraction:g} of the {tokens} tokens of a minibatch is {asked:.3g}, and "
            f"{'at least ' if asked < 1 else ''}{taken} {'is' if taken == 1 else 'are'} taken: "
            f"a fraction of {taken / tokens:.3g}; take more prompts or answers, or write that",
        )
    ]
