"""A product of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class DeepLinear(nn.Module):
    """f(x) = W_L ... W_1 x, no biases; `layers` holds W_1 first, each [outputs, inputs]."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ParameterList(
            nn.Parameter(torch.zeros(outputs, inputs)) for inputs, outputs in pairwise(sizes)
        )

    def forward(self, x_RD: Tensor) -> Tensor:
        """Return the outputs [rows, outputs] of each row."""
        h_RN = x_RD
        for weight_MN in self.layers:
            h_RN = h_RN @ weight_MN.T
        return h_RN


def product(layers: Sequence[Tensor]) -> Tensor:
    """Return W_L ... W_1, [outputs, inputs], of layers that stand W_1 first."""
    found = layers[0]
    for weight in layers[1:]:
        found = weight @ found
    return found
