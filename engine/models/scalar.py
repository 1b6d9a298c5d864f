"""One number."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scalar(nn.Module):
    """f() = x, a weight without dims."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        """Return x."""
        return self.x
