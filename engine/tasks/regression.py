"""Targets of regression on real inputs."""

from __future__ import annotations

import torch
from torch import Tensor


def chebyshev(x_R: Tensor, degree: int) -> Tensor:
    """Return T_degree(x), the Chebyshev polynomial of the first kind, for x in [-1, 1]."""
    before_R, now_R = torch.ones_like(x_R), x_R
    if degree == 0:
        return before_R
    for _ in range(degree - 1):
        before_R, now_R = now_R, 2 * x_R * now_R - before_R
    return now_R


def tanh_sum(x_RI: Tensor) -> Tensor:
    """Return sum_i tanh(x_i) / sqrt(inputs): variance .394 for x ~ N(0, I)."""
    found_R: Tensor = x_RI.tanh().sum(-1) / x_RI.shape[-1] ** 0.5
    return found_R


def tanh_teacher(x_RI: Tensor, direction_UI: Tensor, gain: Tensor | float) -> Tensor:
    """Return sum_u tanh(gain direction_u.x) / sqrt(units), a teacher of one hidden layer."""
    return tanh_sum(gain * (x_RI @ direction_UI.T))
