"""A multi-layer perceptron on real inputs, with one output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": relu,
    "identity": lambda h_RN: h_RN,
}


class Mlp(nn.Module):
    """f(x) = A_head s(... s(A_0 s(A_input x))), every A affine, or linear without `bias`.

    `output_multiplier` scales what the head reads, and so not its bias.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        hidden_layers: int,
        *,
        activation: str,
        bias: bool = True,
        output_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.output_multiplier = output_multiplier
        self.input = nn.Linear(inputs, width, bias=bias)
        self.hidden = nn.ModuleList(
            nn.Linear(width, width, bias=bias) for _ in range(hidden_layers - 1)
        )
        self.head = nn.Linear(width, 1, bias=bias)

    def forward(self, x_RI: Tensor, every_layer: bool = False) -> Tensor | tuple[Tensor, ...]:
        """Return f [rows]; with `every_layer` what each affine map gives, f last."""
        found = [self.input(x_RI)]
        for layer in self.hidden:
            found.append(layer(self.activation(found[-1])))
        last_RN = self.activation(found[-1])
        if self.output_multiplier != 1:  # at 1 the numbers are those without it, bit for bit
            last_RN = last_RN * self.output_multiplier
        f_R: Tensor = self.head(last_RN).squeeze(-1)
        return (*found, f_R) if every_layer else f_R
