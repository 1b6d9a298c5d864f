"""A normal law, given by its mean and the logarithm of its variance."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gaussian(nn.Module):
    """f() = (mean, log variance), two numbers; N(0, 1) as it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(()))
        self.log_variance = nn.Parameter(torch.zeros(()))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return mean and log variance."""
        return self.mean, self.log_variance
