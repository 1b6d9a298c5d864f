"""An encoder and a predictor, both linear: the smallest network that teaches itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearTwins(nn.Module):
    """Encoder z = W x, predictor q = W_p z; `dimension` inputs, features and predictions."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.zeros(dimension, dimension))
        self.predictor = nn.Parameter(torch.zeros(dimension, dimension))

    def forward(self, x_BD: Tensor, predictor_rate: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return encodings and predictions of rows; `predictor_rate` scales W_p's gradient."""
        z_BD = x_BD @ self.encoder.T
        # Its value is W_p. A learning rate of its own would multiply the decay too.
        fixed_DD = self.predictor.detach()
        predictor_DD = fixed_DD + predictor_rate * (self.predictor - fixed_DD)
        return z_BD, z_BD @ predictor_DD.T
