"""A linear map whose weights are differences of squares."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DiagonalLinear(nn.Module):
    """f(x) = (u^2 - v^2).x, squares by entry: a linear network of two diagonal layers."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.zeros(dimension))
        self.v = nn.Parameter(torch.zeros(dimension))

    def forward(self, x_RD: Tensor) -> Tensor:
        """Return the output of each row."""
        output_R: Tensor = x_RD @ (self.u.square() - self.v.square())
        return output_R
