"""Adam with coupled decay and AdamW with decoupled decay.

Reference: Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019, arXiv:1711.05101.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from phasecube.engine.optimizers.rule import CHUNK_STEPS, BiasCorrections, Hyperparameters, Lanes


class _Adam:
    """The moments that both share; the operations and their order are torch.optim's."""

    def __init__(self, hyper: Hyperparameters) -> None:
        self._hyper = hyper
        self._lr_K = hyper.lanes("lr")
        beta1_K, beta2_K = hyper.lanes("beta1"), hyper.lanes("beta2")
        self._correction1 = BiasCorrections(beta1_K)
        self._correction2 = BiasCorrections(beta2_K)
        self._one_minus_beta1 = hyper.column(1 - beta1_K)
        self._beta2 = hyper.column(beta2_K)
        self._one_minus_beta2 = hyper.column(1 - beta2_K)
        self._eps = hyper.column(hyper.lanes("eps"))
        self._chunk = -1
        self._minus_step_size: tuple[Tensor, ...] = ()
        self._root: tuple[Tensor, ...] = ()

    @property
    def moments(self) -> tuple[str, ...]:
        """Return the names of the two moments."""
        return ("first", "second")

    def _move(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        chunk, place = divmod(step, CHUNK_STEPS)
        if chunk != self._chunk:
            self._prepare(chunk)
        first_KP, second_KP = moments["first"], moments["second"]
        first_KP.lerp_(gradient_KP, self._one_minus_beta1)
        scaled_KP = gradient_KP * self._one_minus_beta2
        second_KP.mul_(self._beta2).addcmul_(scaled_KP, gradient_KP)
        denominator_KP = second_KP.sqrt().div_(self._root[place]).add_(self._eps)
        scaled_KP.copy_(first_KP).mul_(self._minus_step_size[place]).div_(denominator_KP)
        weights_KP.add_(scaled_KP)

    def _prepare(self, chunk: int) -> None:
        counts = range(chunk * CHUNK_STEPS + 1, (chunk + 1) * CHUNK_STEPS + 1)
        step_size_CK: Lanes = self._lr_K / self._correction1.at(counts)
        self._minus_step_size = self._hyper.columns(np.negative(step_size_CK))
        self._root = self._hyper.columns(self._correction2.root_at(counts))
        self._chunk = chunk


class Adam(_Adam):
    """Adam; `l2` is added to the gradient and so passes through both moments."""

    def __init__(self, hyper: Hyperparameters) -> None:
        super().__init__(hyper)
        l2_K = hyper.lanes("l2")
        self._l2 = hyper.column(l2_K) if l2_K.any() else None

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move every lane by one step."""
        if self._l2 is not None:
            gradient_KP.addcmul_(weights_KP, self._l2)
        self._move(weights_KP, gradient_KP, moments, step)


class AdamW(_Adam):
    """AdamW; the weights shrink by lr * weight_decay before the step."""

    def __init__(self, hyper: Hyperparameters) -> None:
        super().__init__(hyper)
        decay_K = 1 - self._lr_K * hyper.lanes("weight_decay")
        self._decay = hyper.column(decay_K) if (decay_K != 1).any() else None

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move every lane by one step."""
        if self._decay is not None:
            weights_KP.mul_(self._decay)
        self._move(weights_KP, gradient_KP, moments, step)
