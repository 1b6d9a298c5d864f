"""The likelihood of a normal number of which only an interval is known, and its maximum.

In 1/sigma and coefficients over sigma the log likelihood is concave (Pratt 1981, J. Am. Stat.
Assoc. 76, 103-106; Burridge 1981, J. R. Stat. Soc. B 43, 41-45): Newton's method finds the one
maximum from anywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
_LOG_ROOT_2PI = 0.5 * np.log(2 * np.pi)
_STEPS = 200
_SMALLEST = 1e-12  # share of a step of Newton
_CERTAIN = 1e-4  # of a log likelihood whose fall by 2 and more ends an interval
_DONE = 1e-9  # of the log likelihood: what another step of Newton would gain


def maximised(
    low_NP: Floats, high_NP: Floats, start_P: Floats, most: float, *, held: bool = False
) -> tuple[Floats, float]:
    """Return the parameters p, and the value, that maximise the log likelihood of N intervals.

    A standard normal number is known to lie between low_NP @ p and high_NP @ p. p[0] is 1/sigma,
    above 0, and stays at its start where `held`. A row of an end that is not known is infinite
    in its first column. Where the value grows with 1/sigma for ever (some p puts every
    number inside), what comes back is where it is 0 to 1e-4 or 1/sigma is above `most`.
    """
    free = slice(1 if held else 0, None)
    point_P = start_P
    value, gradient_P, hessian_PP = _at(low_NP, high_NP, point_P)
    for _ in range(_STEPS):
        if value > -_CERTAIN or (point_P[0] > most and not held):
            break
        curved_PP = -hessian_PP[free, free]
        curved_PP = curved_PP + 1e-12 * np.abs(curved_PP).max() * np.eye(len(curved_PP))
        step_P = np.zeros(len(point_P))
        step_P[free] = np.linalg.lstsq(curved_PP, gradient_P[free])[0]
        gain = float(gradient_P @ step_P)
        # Neither below 0 nor, where the tails round, far beyond what is known of the curvature.
        share = min(1.0, (9.0 if step_P[0] > 0 else 0.9) * point_P[0] / max(abs(step_P[0]), 1e-300))
        while gain > _DONE:
            next_P = point_P + share * step_P
            reached = _at(low_NP, high_NP, next_P)
            if reached[0] >= value + 1e-4 * share * gain:
                break
            share /= 2
            gain = gain if share > _SMALLEST else 0.0
        if gain <= _DONE:
            break
        point_P, (value, gradient_P, hessian_PP) = next_P, reached
    return point_P, value


def _at(low_NP: Floats, high_NP: Floats, point_P: Floats) -> tuple[float, Floats, Floats]:
    """Return the log likelihood, its gradient and its Hessian."""
    endless_N, boundless_N = np.isinf(low_NP[:, 0]), np.isinf(high_NP[:, 0])
    low_NP = np.where(endless_N[:, None], 0.0, low_NP)
    high_NP = np.where(boundless_N[:, None], 0.0, high_NP)
    a_N, b_N = low_NP @ point_P, high_NP @ point_P
    log_N = _log_between(np.where(endless_N, -np.inf, a_N), np.where(boundless_N, np.inf, b_N))
    down_N = -np.exp(np.where(endless_N, -np.inf, _log_density(a_N) - log_N))
    up_N = np.exp(np.where(boundless_N, -np.inf, _log_density(b_N) - log_N))
    # The second derivatives of ln(Phi(b) - Phi(a)) by a twice, by both, by b twice.
    aa_N, ab_N, bb_N = -a_N * down_N - down_N**2, -down_N * up_N, -b_N * up_N - up_N**2
    cross_PP = low_NP.T @ (ab_N[:, None] * high_NP)
    hessian_PP = low_NP.T @ (aa_N[:, None] * low_NP) + cross_PP + cross_PP.T
    hessian_PP += high_NP.T @ (bb_N[:, None] * high_NP)
    return float(log_N.sum()), down_N @ low_NP + up_N @ high_NP, hessian_PP


def _log_density(z_N: Floats) -> Floats:
    found: Floats = -0.5 * z_N**2 - _LOG_ROOT_2PI
    return found


def _log_between(a_N: Floats, b_N: Floats) -> Floats:
    """Return ln(Phi(b) - Phi(a)), a < b, without cancelling in either tail."""
    right_N = a_N > 0
    a_N, b_N = np.where(right_N, -b_N, a_N), np.where(right_N, -a_N, b_N)
    below_N, above_N = special.log_ndtr(a_N), special.log_ndtr(b_N)
    found: Floats = above_N + np.log(-np.expm1(np.minimum(below_N - above_N, -1e-300)))
    return found
