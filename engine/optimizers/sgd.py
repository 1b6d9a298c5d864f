"""Gradient descent with momentum, Nesterov's momentum, coupled and decoupled decay."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from phasecube.engine.optimizers.rule import Hyperparameters


class Sgd:
    """theta -= lr * (g + l2 theta), through momentum where a lane has some.

    Differs from torch.optim.SGD by rounding: torch multiplies and adds with one rounding
    (fma), which no tensor operation with a coefficient per lane offers.
    """

    def __init__(self, hyper: Hyperparameters) -> None:
        momentum_K, l2_K = hyper.lanes("momentum"), hyper.lanes("l2")
        # Skipped where it does nothing for any lane: 0 * buffer + g and 1 * theta are exact,
        # so what the company uses does not show in a lane's numbers.
        self._momentum = hyper.column(momentum_K) if momentum_K.any() else None
        self._l2 = hyper.column(l2_K) if l2_K.any() else None
        self._kept = hyper.by_step(hyper.kept_at) if hyper.decays else None
        self._minus_lr = hyper.by_step(lambda steps: np.negative(hyper.lr_at(steps)))
        self._nesterov = bool(hyper.static("nesterov"))

    @property
    def moments(self) -> tuple[str, ...]:
        """Return the names of the buffers in use."""
        return () if self._momentum is None else ("momentum",)

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move every lane by one step."""
        if self._l2 is not None:
            gradient_KP.addcmul_(weights_KP, self._l2)
        if self._momentum is not None:
            buffer_KP = moments["momentum"]
            buffer_KP.mul_(self._momentum).add_(gradient_KP)
            if self._nesterov:
                gradient_KP.addcmul_(buffer_KP, self._momentum)
            else:
                gradient_KP = buffer_KP
        if self._kept is not None:
            weights_KP.mul_(*self._kept.at(step))
        weights_KP.addcmul_(gradient_KP, *self._minus_lr.at(step))
