"""Two ReLU layers without biases in the tangent kernel's scaling."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TwoLayerNtk(nn.Module):
    """f(x) = relu(x first).second / sqrt(n); first [inputs, n], second [n], both of order 1."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(inputs, width))
        self.second = nn.Parameter(torch.zeros(width))

    def forward(self, x_RD: Tensor) -> Tensor:
        """Return f for each row."""
        f_R: Tensor = torch.relu(x_RD @ self.first) @ self.second / len(self.second) ** 0.5
        return f_R
