"""A multi-layer perceptron that reads a prompt one-hot and answers one token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, relu


class PromptMlp(nn.Module):
    """A_out relu(... relu(A_in [onehot p_1 .. onehot p_P])), every A affine.

    Weights stand as [inputs, outputs]. The product with the one-hot prompt is a sum of rows.
    """

    def __init__(self, places: int, symbols: int, width: int, layers: int, answers: int) -> None:
        super().__init__()
        self.symbols = symbols
        sizes = [places * symbols, *[width] * layers, answers]
        self.weight = nn.ParameterList(
            nn.Parameter(torch.zeros(sizes[i], sizes[i + 1])) for i in range(layers + 1)
        )
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes[1:])

    def forward(self, prompt_BP: Tensor, token_BGL: Tensor) -> Tensor:
        """Return the logits [B, G, 1, answers], the same for all answers to a prompt."""
        first, *others = self.weight
        first_bias, *biases = self.bias
        row_BP = prompt_BP + self.symbols * torch.arange(
            prompt_BP.shape[-1], device=prompt_BP.device
        )
        x_BN = embedding(row_BP, first).sum(-2) + first_bias
        for weight, bias in zip(others, biases, strict=True):
            x_BN = relu(x_BN) @ weight + bias
        logits_BGLV: Tensor = x_BN[:, None, None].expand(*token_BGL.shape, -1)
        return logits_BGLV
