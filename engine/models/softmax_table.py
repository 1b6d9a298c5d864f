"""A table of logits: the next symbol given the last one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SoftmaxTable(nn.Module):
    """f(left) = log softmax of the row of `left`."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(symbols, symbols))

    def forward(self, left_B: Tensor) -> Tensor:
        """Return log-probabilities of the next symbol, (B, symbols)."""
        return self.table[left_B].log_softmax(-1)
