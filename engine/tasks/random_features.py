"""Test error of ridge regression on random features, from the spectrum alone.

Inputs x_i ~ N(0, lambda_i), i = 1 to M, labels sum_i w_i x_i + noise; a student v.(x W), W with N
columns of N(0, 1 / N), is the minimum over P rows of

    mean (v.(x W) - y)^2 + ridge |v|^2.

With z = sum l_i, q = sum l_i^2 where l_i = lambda_i / (lambda_i + gamma), gamma the solution of
(1 - z / N)(1 - z / P) gamma = ridge, and kappa = gamma (1 - z / N), the test error is about

    [sum_i (1 - l_i - kappa l_i / (lambda_i + gamma) N / (N - q)) lambda_i w_i^2 + noise^2]
        / (1 - (q (N - 2 z) + z^2) / (P (N - q))),

the closer the larger N and P: Simon, Karkada, Ghosh & Belkin 2023 (arXiv:2311.14646), section 3,
in their delta = P ridge. P infinite stands for the whole law of x; N infinite gives kernel ridge
regression (Bordelon, Canatar & Pehlevan 2020, arXiv:2002.02561).

For lambda_i = i^-b and lambda_i w_i^2 = i^-a it falls as the smaller of N and P to the power
-(a - 1), without noise and ridge, for a - 1 < b.

The functions take numpy arrays or torch tensors: `xp` is numpy or torch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = Any  # a numpy array or a torch tensor
N_HALVINGS = 120  # of an interval of 60 decades, down to the rounding of float64
LEAST_GAMMA, LARGEST_GAMMA = math.log(1e-40), math.log(1e20)


def effective_ridge(
    spectrum_M: Array, features: float, rows: float, ridge: Array, xp: Any = np
) -> Array:
    """Return gamma; `features` and `rows` may be math.inf, `ridge` may be 0."""
    low, high = ridge * 0 + LEAST_GAMMA, ridge * 0 + LARGEST_GAMMA
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        gamma = xp.exp(middle)
        z = (spectrum_M / (spectrum_M + gamma)).sum()
        # Below the root either factor may be negative; both rise with gamma.
        left = xp.clip(1 - z / features, 0, None) * xp.clip(1 - z / rows, 0, None) * gamma
        below = left <= ridge
        low, high = xp.where(below, middle, low), xp.where(below, high, middle)
    return xp.exp((low + high) / 2)


def predicted_error(
    spectrum_M: Array,
    signal_M: Array,
    features: float,
    rows: float,
    ridge: Array,
    noise: Array,
    xp: Any = np,
) -> Array:
    """Return the expected squared error on a new noisy row; `signal_M` is lambda_i w_i^2.

    Infinite for no ridge and as many rows as features.
    """
    gamma = effective_ridge(spectrum_M, features, rows, ridge, xp)
    learned_M = spectrum_M / (spectrum_M + gamma)
    z, q = learned_M.sum(), (learned_M * learned_M).sum()
    kappa = gamma * (1 - z / features)
    share = 1 / (1 - q / features)
    kept_M = 1 - learned_M - kappa * learned_M / (spectrum_M + gamma) * share
    grows = (q * (1 - 2 * z / features) + z * z / features) * share / rows
    return ((kept_M * signal_M).sum() + noise * noise) / (1 - grows)
