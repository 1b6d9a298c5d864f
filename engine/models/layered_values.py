"""Action values of states that stand in layers: a table, or straight lines along the layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LayeredValues(nn.Module):
    """f() = Q [members, layers, states, actions].

    A table has a number of its own for each; a line has two, value and slope along layer /
    layers, for each state and action.
    """

    def __init__(self, members: int, layers: int, states: int, actions: int, line: bool) -> None:
        super().__init__()
        self.layers = layers
        self.line = line
        self.values = nn.Parameter(torch.zeros(members, 2 if line else layers, states, actions))

    def forward(self) -> Tensor:
        """Return Q."""
        if not self.line:
            return self.values
        place_N = torch.arange(self.layers, device=self.values.device) / self.layers
        place_N11 = place_N.to(self.values.dtype)[:, None, None]
        return self.values[:, :1] + self.values[:, 1:] * place_N11
