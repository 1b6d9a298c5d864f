"""A deep perceptron that shows every layer's sums before their nonlinearity."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def _itself(z: Tensor) -> Tensor:
    return z


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "linear": _itself,
}


class DeepMlp(nn.Module):
    """z_1 = x W_1 + b_1, z_(l+1) = phi(z_l) W_(l+1) + b_(l+1); every layer as wide as x.

    All layers stand in one tensor, weight [layers, inputs, outputs] and bias [layers, units].
    """

    def __init__(self, width: int, layers: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.weight = nn.Parameter(torch.zeros(layers, width, width))
        self.bias = nn.Parameter(torch.zeros(layers, width))

    def forward(self, x_N: Tensor) -> Tensor:
        """Return z of each layer, [layers, units], for one input."""
        z_N = x_N @ self.weight[0] + self.bias[0]
        sums = [z_N]
        for weight_NN, bias_N in zip(self.weight[1:], self.bias[1:], strict=True):
            z_N = self.activation(z_N) @ weight_NN + bias_N
            sums.append(z_N)
        return torch.stack(sums)
