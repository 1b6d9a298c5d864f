"""A perceptron with as many outputs as a loss asks for."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu


class ValueNetwork(nn.Module):
    """f(x) = A_head relu(... relu(A_input x)), every A affine."""

    def __init__(self, inputs: int, width: int, hidden_layers: int, outputs: int) -> None:
        super().__init__()
        sizes = [inputs, *[width] * hidden_layers]
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.head = nn.Linear(width, outputs)

    def forward(self, x_RI: Tensor) -> Tensor:
        """Return the outputs, [rows, outputs]."""
        h_RN = x_RI
        for layer in self.hidden:
            h_RN = relu(layer(h_RN))
        f_RO: Tensor = self.head(h_RN)
        return f_RO
