"""A sum of nearly linear hidden units; only the first layer is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class QuadraticReadout(nn.Module):
    """g(x) = sum_i phi(w_i.x), phi(h) = h + curvature / 2 h^2; weights [inputs, units]."""

    def __init__(self, dimension: int, width: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(dimension, width))

    def forward(self, x_RD: Tensor, curvature: Tensor | float) -> Tensor:
        """Return the sum over units for each row."""
        # sum_i (w_i.x)^2 = x' W W' x: [D, D] once instead of [rows, units] in every pass.
        linear_R = x_RD @ self.first.sum(-1)
        square_R = ((x_RD @ (self.first @ self.first.T)) * x_RD).sum(-1)
        total_R: Tensor = linear_R + (curvature / 2) * square_R
        return total_R
