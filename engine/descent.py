"""One step of training for all lanes: from their gradients to their next weights."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from phasecube.engine.optimizers.choose import hyperparameters, update_rule
from phasecube.engine.optimizers.sharpness_aware import SharpnessAware
from phasecube.engine.pack_state import PackState


class Gradients(Protocol):
    """What computes losses and gradients at a state's weights."""

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Return the losses [K] and gradients [K, P]."""


class Descent:
    """The update rule of a state's lanes, each at its own step; other lanes need a new one."""

    def __init__(self, state: PackState) -> None:
        self._state = state
        self._made = 0  # steps since then, of every lane
        device = state.weights_KP.device
        hyper = hyperparameters(state.trials, state.layout, state.dtype, device, state.host_steps_K)
        self._rule = update_rule(hyper, state.lr_factors)
        self._uphill = SharpnessAware(hyper) if hyper.lanes("sam_rho").any() else None
        state.needs_moments(self._rule.moments)

    def step(self, engine: Gradients, gradient_KP: Tensor) -> None:
        """Move every lane by one step; `gradient_KP`, of this step, may be overwritten."""
        state = self._state
        if self._uphill is not None:
            gradient_KP = self._uphill_gradient(self._uphill, engine, gradient_KP)
        self._rule.update(state.weights_KP, gradient_KP, state.moments, self._made)
        self._made += 1
        state.host_steps_K += 1
        state.steps_K.add_(1)

    def update(self, engine: Gradients, gradient_KP: Tensor) -> Tensor:
        """Return what the coming step adds to the weights, [K, P]; nothing is changed."""
        state = self._state
        gradient_KP = gradient_KP.clone()
        if self._uphill is not None:
            gradient_KP = self._uphill_gradient(self._uphill, engine, gradient_KP)
        weights_KP = state.weights_KP.clone()
        moments = {name: tensor.clone() for name, tensor in state.moments.items()}
        self._rule.update(weights_KP, gradient_KP, moments, self._made)
        return weights_KP - state.weights_KP

    def _uphill_gradient(
        self, uphill: SharpnessAware, engine: Gradients, gradient_KP: Tensor
    ) -> Tensor:
        state = self._state
        weights_KP = state.weights_KP.clone()
        buffers = {name: tensor.clone() for name, tensor in state.frozen.items()}
        uphill.climb_(state.weights_KP, gradient_KP)
        _, found_KP = engine.gradient()  # of the same step, so on the same batch
        state.weights_KP.copy_(weights_KP)
        for name, tensor in state.frozen.items():
            tensor.copy_(buffers[name])
        return uphill.chosen(gradient_KP, found_KP)
