"""A memory of classes beside one weight: the learner's own estimate of its error."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """f() = estimate, a number; buffers `seen`, 1 for each class that was, and `novel`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.estimate = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(classes))
        self.register_buffer("novel", torch.ones(()))

    def forward(self) -> Tensor:
        """Return the estimate."""
        return self.estimate
