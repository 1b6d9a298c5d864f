"""Test error of linear regression with as many rows as dimensions, in the limit of many of both.

y = x.teacher + noise, rows x ~ N(0, I / N), P = alpha N of them. Gradient descent of rate eta on
|y - X w|^2 / 2 moves each eigenvector of X'X alone, with lambda its eigenvalue and
r = (1 - eta lambda)^steps (gradient flow: r = exp(-lambda t), t = eta * steps), so that

    E = noise^2 + mean over the N eigenvalues of
        (teacher^2 + start^2) r^2 + noise^2 / lambda (1 - r)^2

is the mean error on a new noisy row. As N grows the eigenvalues follow Marchenko and Pastur:
density sqrt((b - x)(x - a)) / (2 pi x) between a, b = (sqrt(alpha) -+ 1)^2, and 1 - alpha of them 0
for alpha < 1. Reference: Advani & Saxe 2017, arXiv:1710.03667, equations 7 to 9.

`limit_error` takes numpy arrays or torch tensors: `xp` is numpy or torch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = Any  # a numpy array or a torch tensor
Floats = npt.NDArray[np.float64]
N_NODES = 1024


def spectrum(alpha: float, nodes: int = N_NODES) -> tuple[Floats, Floats]:
    """Return eigenvalues and weights that integrate over the density; weights sum to min(alpha, 1).

    With x = 1 + alpha - 2 sqrt(alpha) cos(angle) both ends are smooth and the midpoint rule
    converges faster than any power, also at alpha = 1 where the density has a pole at 0.
    """
    angle_K = (np.arange(nodes) + 0.5) * math.pi / nodes
    x_K: Floats = 1 + alpha - 2 * math.sqrt(alpha) * np.cos(angle_K)
    weight_K: Floats = 4 * alpha * np.sin(angle_K) ** 2 / (2 * math.pi * x_K) * math.pi / nodes
    return x_K, weight_K


def limit_error(
    rest: Array, alpha: float, *, teacher: Array, start: Array, noise: Array, xp: Any = np
) -> Array:
    """Return E in the limit; `rest` is r at each eigenvalue of `spectrum(alpha)`, [..., nodes].

    `teacher`, `start` and `noise` are standard deviations.
    """
    x_K, weight_K = (xp.asarray(values) for values in spectrum(alpha, rest.shape[-1]))
    unlearned = teacher**2 + start**2
    each = unlearned * rest**2 + noise**2 / x_K * (1 - rest) ** 2
    return noise**2 + unlearned * max(0.0, 1 - alpha) + (each * weight_K).sum(-1)


def flow_rest(times_T: npt.ArrayLike, alpha: float, nodes: int = N_NODES) -> Floats:
    """Return exp(-lambda t), [T, nodes]."""
    x_K, _ = spectrum(alpha, nodes)
    found: Floats = np.exp(-np.asarray(times_T, np.float64)[:, None] * x_K)
    return found


def descent_rest(steps_T: npt.ArrayLike, lr: float, alpha: float, nodes: int = N_NODES) -> Floats:
    """Return (1 - lr lambda)^steps, [T, nodes]."""
    x_K, _ = spectrum(alpha, nodes)
    found: Floats = (1 - lr * x_K) ** np.asarray(steps_T)[:, None]
    return found


def final_error(alpha: float, *, teacher: float, start: float, noise: float) -> float:
    """Return E after infinitely long a time: infinite at alpha = 1, unless there is no noise."""
    unlearned = max(0.0, 1 - alpha) * (teacher**2 + start**2)
    if noise == 0:
        return unlearned
    if alpha == 1:
        return math.inf
    return unlearned + noise**2 * (1 + min(alpha, 1.0) / abs(alpha - 1))


def run_error(
    x_PN: Floats,
    teacher_N: Floats,
    start_N: Floats,
    noise_P: Floats,
    *,
    lr: float,
    steps_T: npt.ArrayLike,
) -> Floats:
    """Return |w - teacher|^2 / N of one run of gradient descent after each number of steps, (T,).

    Exact: in the basis of X'X's eigenvectors each coordinate relaxes alone.
    """
    n = len(teacher_N)
    _, singular, basis_NN = np.linalg.svd(x_PN, full_matrices=True)
    lam_N = np.zeros(n)
    lam_N[: len(singular)] = singular**2
    pull_N = basis_NN @ (x_PN.T @ noise_P)
    shift_N = np.divide(pull_N, lam_N, out=np.zeros(n), where=lam_N > 0)
    offset_N = basis_NN @ (start_N - teacher_N) - shift_N
    rest_TN = (1 - lr * lam_N) ** np.asarray(steps_T)[:, None]
    found: Floats = ((shift_N + rest_TN * offset_N) ** 2).mean(1)
    return found
