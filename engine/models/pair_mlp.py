"""A multi-layer perceptron on a pair of symbols, each one-hot; no biases."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, relu

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quadratic": torch.square, "relu": relu}


class PairMlp(nn.Module):
    """f(x, y) = A_out s(... s(A_in [onehot x, onehot y])) with s = square or ReLU.

    Weights stand as [inputs, outputs]. The product with the one-hot pair is a sum of two
    rows, U[x] + V[y]; U and V stay one tensor [2 * symbols, width] because perpGrad and
    per-layer norms act on the matrix as a whole.
    """

    def __init__(
        self, symbols: int, width: int, classes: int, *, layers: int = 1, activation: str
    ) -> None:
        super().__init__()
        self.symbols = symbols
        self.activation = ACTIVATIONS[activation]
        self.input = nn.Parameter(torch.zeros(2 * symbols, width))
        self.hidden = nn.ParameterList(
            nn.Parameter(torch.zeros(width, width)) for _ in range(layers - 1)
        )
        self.output = nn.Parameter(torch.zeros(width, classes))

    def forward(self, left_R: Tensor, right_R: Tensor) -> Tensor:
        """Return the logits [rows, classes] of each pair."""
        # embedding() and not indexing: its backward is the faster of the two (docs/science.md).
        h_RN = embedding(left_R, self.input) + embedding(right_R + self.symbols, self.input)
        for weight_NN in self.hidden:
            h_RN = self.activation(h_RN) @ weight_NN
        logits_RC: Tensor = self.activation(h_RN) @ self.output
        return logits_RC
