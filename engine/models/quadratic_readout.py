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
        h_RN = x_RD @ self.first
        total_R: Tensor = (h_RN + (curvature / 2) * h_RN.square()).sum(-1)
        return total_R
