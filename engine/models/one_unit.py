"""The smallest network of two layers: one hidden unit without activation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class OneUnit(nn.Module):
    """f(x) = gain (weight.x)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(()))
        self.weight = nn.Parameter(torch.zeros(dimension))

    def forward(self, x_RD: Tensor) -> Tensor:
        """Return the output for each row."""
        product_R: Tensor = x_RD @ self.weight
        return self.gain * product_R
