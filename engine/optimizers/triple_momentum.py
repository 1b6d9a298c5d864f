"""The triple momentum method, with heavy ball and Nesterov's method as two of its cases.

Reference: Van Scoy, Freeman and Lynch 2018, IEEE Control Systems Letters 2(1), 49-54. With
r = 1 - sqrt(mu / L), for a function of curvature between mu and L:

    lr = (1 + r) / L,  momentum = r^2 / (2 - r),  lookahead = r^2 / ((1 + r) (2 - r))

The iterate xi moves by d' = momentum * d - lr * gradient(xi + lookahead * d). A trial's weights are
the point at which the gradient is taken, as in torch.optim's Nesterov momentum; only d is kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from phasecube.engine.optimizers.rule import Hyperparameters


class TripleMomentum:
    """lookahead = 0 is heavy ball, lookahead = momentum is Nesterov's method."""

    moments: tuple[str, ...] = ("velocity",)

    def __init__(self, hyper: Hyperparameters) -> None:
        lookahead_K = hyper.lanes("lookahead")
        self._momentum = hyper.column(hyper.lanes("momentum"))
        self._minus_lookahead = hyper.column(-lookahead_K)
        self._ahead = hyper.column(1 + lookahead_K)
        self._minus_lr = hyper.by_step(lambda steps: np.negative(hyper.lr_at(steps)))

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move every lane by one step."""
        velocity_KP = moments["velocity"]
        weights_KP.addcmul_(velocity_KP, self._minus_lookahead)
        velocity_KP.mul_(self._momentum).addcmul_(gradient_KP, *self._minus_lr.at(step))
        weights_KP.addcmul_(velocity_KP, self._ahead)
