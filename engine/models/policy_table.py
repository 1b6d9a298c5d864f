"""A policy as a table of logits, one row for each state."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PolicyTable(nn.Module):
    """f() = log-probabilities of every action in every state."""

    def __init__(self, states: int, actions: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(states, actions))

    def forward(self) -> Tensor:
        """Return log softmax of each row, (states, actions)."""
        return self.logits.log_softmax(-1)
