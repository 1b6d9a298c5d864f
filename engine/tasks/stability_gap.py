"""Two tasks in turn for a linear model: the loss on the first one in closed form.

Row i of the first task is a unit vector u_i, of the second c u_i + sqrt(1 - c^2) v_i, all u and v
orthogonal, so each pair of rows is a plane of its own. With curvature 1 along each row, under
gradient flow on rho L_1 + (1 - rho) L_2 the residuals of a plane obey

    e' = -K P e,   K = [[1, c], [c, 1]],   P = diag(rho, 1 - rho).

From the first task's optimum, e = (0, -r), the old task's residual leaves 0 and comes back:

    e_1(t) = c (1 - rho) r (exp(-m t) - exp(-M t)) / (M - m),
    M, m = (1 +- sqrt(1 - 4 rho (1 - rho) (1 - c^2))) / 2.

That is a stability gap. It needs no conflict: one w solves both tasks for every c < 1.
Reference: De Lange, van de Ven & Tuytelaars 2022, arXiv:2205.13452, for what it is a model of.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def rates(overlap: float, replay: float) -> tuple[float, float]:
    """Return M and m, the decay rates of a plane's residuals."""
    root = math.sqrt(1 - 4 * replay * (1 - replay) * (1 - overlap**2))
    return (1 + root) / 2, (1 - root) / 2


def old_residual(time: Floats, overlap: float, replay: float, residual: float) -> Floats:
    """Return e_1 at times after the switch, `residual` being r, as an array like `time`."""
    fast, slow = rates(overlap, replay)
    away = np.exp(-slow * time) - np.exp(-fast * time)
    found: Floats = overlap * (1 - replay) * residual * away / (fast - slow)
    return found


def gap(overlap: float, replay: float, residual: float = 1.0) -> tuple[float, float]:
    """Return when the old task's residual is largest, and its half square then.

    The time is log(M / m) / (M - m), infinite where it never comes back: without replay, and for
    c = 1. It is NaN where there is no gap: for c = 0, and for the old task alone.
    """
    fast, slow = rates(overlap, replay)
    if overlap == 0 or replay == 1:
        return math.nan, 0.0
    if slow == 0:
        return math.inf, (overlap * (1 - replay) * residual) ** 2 / 2
    time = math.log(fast / slow) / (fast - slow)
    return time, float(old_residual(np.array(time), overlap, replay, residual)) ** 2 / 2


def descent_path(
    lr: float, overlap: float, replay: float, switch: int, steps: int, start_P2: Floats
) -> Floats:
    """Return the residuals of gradient descent before each step and after the last.

    Shape (steps + 1, planes, 2); `start_P2` holds those at step 0. The first `switch` steps are
    on the first task alone.
    """
    gram_22 = np.array([[1, overlap], [overlap, 1]])
    found = [np.asarray(start_P2, np.float64)]
    for step in range(steps):
        share_2 = np.array([1.0, 0.0] if step < switch else [replay, 1 - replay])
        found.append(found[-1] - lr * (found[-1] * share_2) @ gram_22)
    return np.stack(found)
