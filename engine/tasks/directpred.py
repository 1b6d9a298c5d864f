"""Where self-supervised linear twins collapse: closed forms of the eigenmode equations.

One eigenmode of the predictor, p, and of the features' covariance, s, under weight decay eta:

    p' = a s (tau - (1 + s2) p) - eta p,    s' = 2 p s (tau - (1 + s2) p) - 2 eta s

with target ratio tau, variance of augmentation s2 and learning rate ratio a of the predictor.
s - p^2 / a decays as exp(-2 eta t); where it is 0, p' = p^2 (tau - (1 + s2) p) - eta p.
Reference: Tian, Chen & Ganguli 2021, arXiv:2102.06810, section 3.
"""

from __future__ import annotations

import math


def critical_decay(augmentation: float, target_ratio: float = 1.0) -> float:
    """Return tau^2 / (4 (1 + s2)): with more weight decay every start collapses to 0."""
    return target_ratio**2 / (4 * (1 + augmentation))


def fixed_points(
    decay: float, augmentation: float, target_ratio: float = 1.0
) -> tuple[float, float]:
    """Return p*_-, below which a start collapses, and p*_+, where the others end.

    (tau -+ sqrt(tau^2 - 4 eta (1 + s2))) / (2 (1 + s2)); NaN above the critical decay.
    """
    inside = target_ratio**2 - 4 * decay * (1 + augmentation)
    root = math.sqrt(inside) if inside >= 0 else math.nan
    scale = 2 * (1 + augmentation)
    return (target_ratio - root) / scale, (target_ratio + root) / scale


def passage_time(decay: float, augmentation: float, target_ratio: float = 1.0) -> float:
    """Return the time that a start needs past the place where the two fixed points met.

    Above the critical decay, where the speed is least: pi / (p_c sqrt((1 + s2) (eta -
    eta_c))), p_c = tau / (2 (1 + s2)). A run that is shorter does not show its collapse.
    """
    over = decay - critical_decay(augmentation, target_ratio)
    if over <= 0:
        return math.inf
    place = target_ratio / (2 * (1 + augmentation))
    return math.pi / (place * math.sqrt((1 + augmentation) * over))
