"""A linear map to one number, no bias."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """f(x) = w.x."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dimension))

    def forward(self, x_RD: Tensor) -> Tensor:
        """Return w.x for each row."""
        product_R: Tensor = x_RD @ self.weight
        return product_R
