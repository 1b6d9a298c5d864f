"""SGD in a quadratic valley with noise in the gradient: its mean loss in closed form.

Each coordinate x of curvature h moves as x' = (1 - eta h) x - eta sigma xi with xi ~ N(0, 1),
so mean and variance obey m' = (1 - eta h) m and v' = (1 - eta h)^2 v + (eta sigma)^2, whatever
the schedule of eta, and the mean loss is h (m^2 + v) / 2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def moments(rates_T: Floats, curvature: float, noise: float, start: float) -> tuple[Floats, Floats]:
    """Return mean and variance of a coordinate before each step and after the last, (T + 1,).

    `rates_T` holds the learning rate of each step, `noise` the standard deviation of the
    gradient's noise, `start` where every run begins.
    """
    mean_T1, variance_T1 = np.empty(len(rates_T) + 1), np.empty(len(rates_T) + 1)
    mean_T1[0], variance_T1[0] = start, 0.0
    for t, rate in enumerate(rates_T):
        kept = 1 - rate * curvature
        mean_T1[t + 1] = kept * mean_T1[t]
        variance_T1[t + 1] = kept**2 * variance_T1[t] + (rate * noise) ** 2
    return mean_T1, variance_T1


def mean_loss(rates_T: Floats, curvature: float, noise: float, start: float) -> Floats:
    """Return the mean of h x^2 / 2 before each step and after the last, (T + 1,)."""
    mean_T1, variance_T1 = moments(rates_T, curvature, noise, start)
    found: Floats = curvature * (mean_T1**2 + variance_T1) / 2
    return found


def height(lr: float, curvature: float, noise: float) -> float:
    """Return where that mean settles at a constant rate: eta sigma^2 / (2 (2 - eta h)).

    For small rates eta sigma^2 / 4, whatever the curvature.
    """
    return lr * noise**2 / (2 * (2 - lr * curvature))


def left_by_linear_decay(lr: float, steps: int, curvature: float, noise: float) -> float:
    """Return the mean loss of a coordinate after a linear decay from `lr` to 0 over `steps`.

    sigma^2 sqrt(pi lr / (steps h)) / 8: it solves dv/ds = 2 h a s v - (a sigma s)^2 in the time
    s that is left, a = lr / steps, for small rates and a long decay, h lr steps >> 1.
    """
    return noise**2 * float(np.sqrt(np.pi * lr / (steps * curvature))) / 8
