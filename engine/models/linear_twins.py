"""An encoder and a predictor, both linear: the smallest network that teaches itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearTwins(nn.Module):
    """Encoder z = W x, predictor q = W_p z, and a target: the encoder's moving average.

    `dimension` inputs, features and predictions. The target is a buffer, which training
    moves before it is used, and which no gradient and no decay reach.
    """

    target: Tensor

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.zeros(dimension, dimension))
        self.predictor = nn.Parameter(torch.zeros(dimension, dimension))
        self.register_buffer("target", torch.zeros(dimension, dimension))

    def forward(
        self,
        one_BD: Tensor,
        two_BD: Tensor,
        predictor_rate: Tensor | float,
        memory: Tensor | float,
    ) -> tuple[Tensor, Tensor]:
        """Return predictions from rows `one_BD` and what the target makes of `two_BD`.

        `predictor_rate` scales the gradient of W_p; in training the target first becomes
        memory * target + (1 - memory) * W.
        """
        if self.training:
            with torch.no_grad():
                self.target.mul_(memory).add_((1 - memory) * self.encoder.detach())
        # Its value is W_p. A learning rate of its own would multiply the decay too.
        fixed_DD = self.predictor.detach()
        predictor_DD = fixed_DD + predictor_rate * (self.predictor - fixed_DD)
        predicted_BD = one_BD @ self.encoder.T @ predictor_DD.T
        # A copy: the next step moves the buffer in place.
        return predicted_BD, two_BD @ self.target.clone().T
