"""A point: weights that no input meets."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Point(nn.Module):
    """f() = x, a vector."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(dimension))

    def forward(self) -> Tensor:
        """Return x."""
        return self.x
