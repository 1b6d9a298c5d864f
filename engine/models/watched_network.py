"""A network beside numbers that a trial keeps about its past."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class WatchedNetwork(nn.Module):
    """f(x) = network(x); a buffer without dims for each name, 0 as it is made."""

    def __init__(self, network: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.network = network
        for name in names:
            self.register_buffer(name, torch.zeros(()))

    def forward(self, x_RI: Tensor) -> Tensor:
        """Return what the network returns."""
        f_R: Tensor = self.network(x_RI)
        return f_R
