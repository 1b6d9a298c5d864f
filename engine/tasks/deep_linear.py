"""The exact learning curves of deep linear networks that start aligned with their task.

With whitened inputs, teacher U diag(s) V' and every layer diagonal in the singular basis with
equal strengths, each mode of the product moves alone. Under gradient flow its strength u, the
product of the layers' strengths, follows du/dt = L u^(2 - 2/L) (s - u) for L matrices, where
t = lr * step. Reference: Saxe, McClelland & Ganguli 2013, arXiv:1312.6120.

The functions take numpy arrays or torch tensors: `xp` is numpy or torch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = Any  # a numpy array or a torch tensor
N_NEWTON = 8  # errors square at each; a test holds the result against an integration
HIGHEST_GUESS = 0.9
HIGHEST_LOGIT = 30.0  # u = s (1 - 1e-13); float64 cannot tell much more from s


def mode_strength(time: Array, target: Array, start: Array, depth: int, xp: Any = np) -> Array:
    """Return u(time) from u(0) = start towards `target`, for 0 < start < target.

    Explicit for one and two matrices. For more, time as a function of u is
    explicit (`scaled_time`), and u is found in it by Newton's method. For float64.
    """
    if depth == 1:
        return target - (target - start) * xp.exp(-time)
    if depth == 2:
        # The published form divided by its exponential, which would overflow.
        return target / (1 + (target / start - 1) * xp.exp(-2 * target * time))
    elapsed = time * _power(target, 2 - 2 / depth, xp)
    first = _power(start / target, 1 / depth, xp)
    wanted = scaled_time(first, depth, xp) + elapsed
    # Without its target a layer would follow b' = b^(L-1): ahead of the truth, and explicit.
    ahead = _power(first, 2 - depth, xp) - (depth - 2) * elapsed
    slowest = HIGHEST_GUESS ** (2 - depth)
    bounded = xp.where(ahead > slowest, ahead, slowest + 0 * ahead)
    share = _power(bounded, 1 / (2 - depth), xp)
    # Newton in the logit z of b^L, of which time is a concave function, dt/dz = b^(2-L) / L.
    logit = depth * xp.log(share) - xp.log(1 - _power(share, depth, xp))
    for _ in range(N_NEWTON):
        late = scaled_time(share, depth, xp) - wanted
        logit = xp.clip(logit - late * depth * _power(share, depth - 2, xp), None, HIGHEST_LOGIT)
        share = _power(1 / (1 + xp.exp(-logit)), 1 / depth, xp)
    return target * _power(share, depth, xp)


def scaled_time(share: Array, depth: int, xp: Any = np) -> Array:
    """Return s^(2 - 2/L) t, up to a constant, at which a layer's strength is `share` of its last.

    The integral of db / (b^(L-1) (1 - b^L)) = b^(1-L) + b / (1 - b^L), the second part by
    partial fractions over the L roots of one. For L >= 2 matrices.
    """
    power = xp.log(share) if depth == 2 else _power(share, 2 - depth, xp) / (2 - depth)
    rest = 0.0
    for k in range(depth):
        angle = 2 * math.pi * k / depth
        c, s = math.cos(angle), math.sin(angle)
        log_length = xp.log((1 - c * share) ** 2 + (s * share) ** 2) / 2
        turned = xp.atan(s * share / (1 - c * share))
        rest = rest - (math.cos(2 * angle) * log_length - math.sin(2 * angle) * turned) / depth
    return power + rest


def time_to(strength: Array, target: Array, start: Array, depth: int, xp: Any = np) -> Array:
    """Return the time from `start` to `strength`, both between 0 and `target`.

    For two matrices it is ln(u_f (s - u_0) / (u_0 (s - u_f))) / 2s.
    """
    if depth == 1:
        return xp.log((target - start) / (target - strength))
    last, first = (_power(u / target, 1 / depth, xp) for u in (strength, start))
    passed = scaled_time(last, depth, xp) - scaled_time(first, depth, xp)
    return passed / _power(target, 2 - 2 / depth, xp)


def _power(base: Array, exponent: float, xp: Any) -> Array:
    # torch's pow rounds by where in a tensor a number stands; its exp and log do not.
    return xp.exp(exponent * xp.log(base))
