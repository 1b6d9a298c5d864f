"""One hidden layer without biases in mean-field scaling: the output is of order 1/sqrt(width)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["tanh", "relu", "identity"]
# The gain and the function: a gain of sqrt(2) keeps the scale of N(0, 1) inputs at the start.
_ACTIVATIONS: dict[Activation, tuple[float, Callable[[Tensor], Tensor]]] = {
    "tanh": (math.sqrt(2.0), torch.tanh_),  # in place: its input is needed no more
    "relu": (math.sqrt(2.0), torch.relu_),
    "identity": (1.0, lambda z_HR: z_HR),
}


class MeanField(nn.Module):
    """f(x) = layer1 phi(gain layer0 x / sqrt(width)) / width, all layers `width` wide.

    Reference: Sohl-Dickstein 2024, arXiv:2402.06184, its code (a gain of sqrt(2) outside
    the relu is the same inside it).
    """

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.layer0 = nn.Parameter(torch.zeros(width, width))
        self.layer1 = nn.Parameter(torch.zeros(1, width))
        gain, self._phi = _ACTIVATIONS[activation]
        self._scale0, self._scale1 = gain / math.sqrt(width), 1.0 / width

    def forward(self, x_DR: Tensor) -> Tensor:
        """Return the output for each column of the inputs, [R]."""
        # Examples last and the scales at the small tensors: of eight hidden units each pass
        # over all examples is dear.
        hidden_HR = self._phi((self.layer0 * self._scale0) @ x_DR)
        output_R: Tensor = ((self.layer1 * self._scale1) @ hidden_HR).squeeze(0)
        return output_R
