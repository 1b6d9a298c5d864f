"""Gradient descent on a power-law spectrum: a loss L(N, t) that is known exactly.

Mode i has curvature lambda_i = i^-b and, before training, the loss c_i = i^-a. A model of size N
trains the first N modes. Gradient descent of rate eta shrinks each by 1 - eta lambda_i a step, so

    L(N, t) = E + sum_{i <= N} c_i (1 - eta lambda_i)^(2 t) + sum_{i > N} c_i.

For N and t large, with tau = eta t and s = (a - 1) / b,

    L(N, inf) - E ~ N^-(a - 1) / (a - 1),    L(inf, t) - E ~ Gamma(s) / b (2 tau)^-s,

and at compute C = N t the best size is N* ~ C^(1 / (1 + b)), L* - E ~ C^(-(a - 1) / (1 + b)).
Sums replaced by integrals. It is the model of Bordelon, Atanasov & Pehlevan 2024
(arXiv:2402.01092) without noise and with the first N modes in place of N random projections.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gamma

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Exponents:
    """What falls or grows as which power."""

    size: float  # L - E ~ N^-size
    time: float  # L - E ~ t^-time
    optimal_size: float  # N* ~ C^optimal_size
    optimal_loss: float  # L* - E ~ C^-optimal_loss


def exponents(task_exponent: float, spectrum_exponent: float) -> Exponents:
    """Return the exponents of the law for c_i = i^-a and lambda_i = i^-b."""
    gain, b = task_exponent - 1, spectrum_exponent
    return Exponents(gain, gain / b, 1 / (1 + b), gain / (1 + b))


def power_spectrum(n: int, exponent: float) -> Floats:
    """Return i^-exponent for i = 1 to n."""
    found: Floats = np.arange(1.0, n + 1) ** -exponent
    return found


def untrained_loss(modes: int, task_exponent: float) -> float:
    """Return the sum of c_i over all i > N: the Hurwitz zeta function at a and N + 1."""
    from scipy.special import zeta

    return float(zeta(task_exponent, modes + 1))


def excess_loss(
    modes: int, steps_T: npt.ArrayLike, lr: float, task_exponent: float, spectrum_exponent: float
) -> Floats:
    """Return L(N, t) - E after each number of steps, (T,), for a constant learning rate."""
    kept_N = 1 - lr * power_spectrum(modes, spectrum_exponent)
    loss_TN = kept_N ** (2 * np.asarray(steps_T)[:, None])
    trained_T: Floats = loss_TN @ power_spectrum(modes, task_exponent)
    return trained_T + untrained_loss(modes, task_exponent)


def size_limit(modes: npt.ArrayLike, task_exponent: float) -> Floats:
    """Return what L - E goes to after infinitely many steps, for large N."""
    gain = task_exponent - 1
    found: Floats = np.asarray(modes, np.float64) ** -gain / gain
    return found


def time_limit(
    steps: npt.ArrayLike, lr: float, task_exponent: float, spectrum_exponent: float
) -> Floats:
    """Return L - E of an infinite model, for many steps."""
    power = exponents(task_exponent, spectrum_exponent).time
    tau = lr * np.asarray(steps, np.float64)
    found: Floats = gamma(power) / spectrum_exponent * (2 * tau) ** -power
    return found
