"""Adam with coupled decay and AdamW with decoupled decay.

Reference: Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019, arXiv:1711.05101.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from phasecube.engine.optimizers.rule import BiasCorrections, Hyperparameters
from phasecube.engine.schedules import Lanes


class AdamMoments:
    """The step of both; the operations and their order are torch.optim's.

    `lr_factor` scales the learning rate of every lane.
    """

    def __init__(self, hyper: Hyperparameters, lr_factor: Lanes | float = 1.0) -> None:
        self._hyper = hyper
        self._lr_factor = lr_factor
        beta1_K, beta2_K = hyper.lanes("beta1"), hyper.lanes("beta2")
        self._correction1 = BiasCorrections(beta1_K, hyper.from_K)
        self._correction2 = BiasCorrections(beta2_K, hyper.from_K)
        self._one_minus_beta1 = hyper.column(1 - beta1_K)
        self._beta2 = hyper.column(beta2_K)
        self._one_minus_beta2 = hyper.column(1 - beta2_K)
        self._eps = hyper.column(hyper.lanes("eps"))
        self._coefficients = hyper.by_step(self._minus_step_size_at, self._correction2.root_at)

    def move(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move weights and moments in place."""
        minus_step_size, root = self._coefficients.at(step)
        first_KP, second_KP = moments["first"], moments["second"]
        first_KP.lerp_(gradient_KP, self._one_minus_beta1)
        scaled_KP = gradient_KP * self._one_minus_beta2
        second_KP.mul_(self._beta2).addcmul_(scaled_KP, gradient_KP)
        denominator_KP = second_KP.sqrt().div_(root).add_(self._eps)
        scaled_KP.copy_(first_KP).mul_(minus_step_size).div_(denominator_KP)
        weights_KP.add_(scaled_KP)

    def _minus_step_size_at(self, steps: range) -> Lanes:
        lr_CK = self._hyper.lr_at(steps) * self._lr_factor
        return np.negative(lr_CK / self._correction1.at(steps))


class Adam:
    """Adam; `l2` is added to the gradient and so passes through both moments."""

    moments: tuple[str, ...] = ("first", "second")

    def __init__(self, hyper: Hyperparameters) -> None:
        self._adam = AdamMoments(hyper)
        l2_K = hyper.lanes("l2")
        self._l2 = hyper.column(l2_K) if l2_K.any() else None

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move every lane by one step."""
        if self._l2 is not None:
            gradient_KP.addcmul_(weights_KP, self._l2)
        self._adam.move(weights_KP, gradient_KP, moments, step)


class AdamW:
    """AdamW; the weights shrink by lr * weight_decay before the step."""

    moments: tuple[str, ...] = ("first", "second")

    def __init__(self, hyper: Hyperparameters) -> None:
        self._adam = AdamMoments(hyper)
        self._kept = hyper.by_step(hyper.kept_at) if hyper.decays else None

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move every lane by one step."""
        if self._kept is not None:
            weights_KP.mul_(*self._kept.at(step))
        self._adam.move(weights_KP, gradient_KP, moments, step)
