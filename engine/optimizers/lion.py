"""Lion: the sign of a gradient averaged over two times.

Reference: Chen et al. 2023, arXiv:2302.06675. With decoupled decay it keeps the weights in the box
|theta| <= 1 / weight_decay: Chen et al. 2023, arXiv:2310.05898; docs/optimizers.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from phasecube.engine.optimizers.rule import Hyperparameters


class Lion:
    """theta -= lr * (sign(beta1 m + (1 - beta1) g) + weight_decay theta)."""

    moments: tuple[str, ...] = ("momentum",)

    def __init__(self, hyper: Hyperparameters) -> None:
        beta1_K, beta2_K = hyper.lanes("beta1"), hyper.lanes("beta2")
        self._beta1, self._one_minus_beta1 = hyper.column(beta1_K), hyper.column(1 - beta1_K)
        self._beta2, self._one_minus_beta2 = hyper.column(beta2_K), hyper.column(1 - beta2_K)
        self._kept = hyper.by_step(hyper.kept_at) if hyper.decays else None
        self._minus_lr = hyper.by_step(lambda steps: np.negative(hyper.lr_at(steps)))

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move every lane by one step."""
        momentum_KP = moments["momentum"]
        direction_KP = momentum_KP * self._beta1
        direction_KP.addcmul_(gradient_KP, self._one_minus_beta1).sign_()
        if self._kept is not None:
            weights_KP.mul_(*self._kept.at(step))
        weights_KP.addcmul_(direction_KP, *self._minus_lr.at(step))
        momentum_KP.mul_(self._beta2).addcmul_(gradient_KP, self._one_minus_beta2)
