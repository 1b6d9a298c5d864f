"""Sharpness-aware minimisation: the gradient is taken uphill of the weights.

Reference: Foret et al. 2021, arXiv:2010.01412.
"""

from __future__ import annotations

import torch
from torch import Tensor

from phasecube.engine.optimizers.rule import Hyperparameters

TINY = 1e-12  # added to the norm, as in the authors' code


class SharpnessAware:
    """Descends by the gradient at theta + sam_rho g / |g|; 0 leaves a lane's gradient as it is."""

    def __init__(self, hyper: Hyperparameters) -> None:
        self._rho_K1 = hyper.column(hyper.lanes("sam_rho"))
        self._plain_K1 = self._rho_K1 == 0

    def climb_(self, weights_KP: Tensor, gradient_KP: Tensor) -> None:
        """Move the weights uphill, in place."""
        # Row sums: each lane is reduced by itself.
        norm_K1 = gradient_KP.square().sum(1, keepdim=True).sqrt()
        weights_KP.addcmul_(gradient_KP, self._rho_K1 / (norm_K1 + TINY))

    def chosen(self, here_KP: Tensor, uphill_KP: Tensor) -> Tensor:
        """Return the gradient by which each lane descends."""
        return torch.where(self._plain_K1, here_KP, uphill_KP)
