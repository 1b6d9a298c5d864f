"""Steep coordinates, the hill, and a flat one, the river."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Valley(nn.Module):
    """f() = (hill, river): a vector and a number."""

    def __init__(self, modes: int) -> None:
        super().__init__()
        self.hill = nn.Parameter(torch.zeros(modes))
        self.river = nn.Parameter(torch.zeros(()))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return hill and river."""
        return self.hill, self.river
