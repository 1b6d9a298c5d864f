"""What `loss` and `measure` are given: one trial, which under vmap is one lane of a pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from phasecube.engine.experiment import Experiment
from phasecube.engine.streams import Stream

Tensors = Mapping[str, Tensor]
Known = Mapping[str, Any]
Call = Callable[[Tensors, tuple[Any, ...]], Any]


class LaneParams:
    """A trial's parameters as attributes: plain values, and a 0-d tensor for each varying one."""

    def __init__(self, static: Mapping[str, Any], places: Mapping[str, int], vector: Tensor):
        self._static = static
        self._places = places
        self._vector = vector

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # before __init__ there is nothing to look in
            raise AttributeError(name)
        if name in self._places:
            return self._vector[self._places[name]]
        try:
            return self._static[name]
        except KeyError:
            known = ", ".join(sorted({*self._static, *self._places}))
            raise AttributeError(f"no parameter {name!r}; there are: {known}") from None


class LaneTrial:
    """One trial at one step.

    `call` runs the module under any weights; `model` does so under the trial's own. `known`
    holds what stands in `measure` only: "gradient", "moments" and, where asked for, "update".
    """

    def __init__(
        self,
        params: LaneParams,
        data: Tensors,
        weights: Tensors,
        rng: Stream,
        step: Tensor,
        call: Call,
        buffers: Tensors,
        known: Known | None = None,
        model: Callable[..., Any] | None = None,
    ) -> None:
        self.params = params
        self.data = data
        self.weights = weights
        self.buffers = buffers
        self.rng = rng
        self.step = step
        self._call = call
        self._model = model
        self._known = known or {}

    def model(self, *inputs: Any) -> Any:
        """Return the module's output under this trial's weights."""
        if self._model is not None:
            return self._model(*inputs)
        return self._call(self.weights, inputs)

    def at(self, weights: Tensors) -> LaneTrial:
        """Return the same trial at other weights; those not named stay."""
        for name, tensor in weights.items():
            if name not in self.weights:
                raise ValueError(
                    f"trial.at(): there is no trained weight {name!r}; there are: "
                    f"{', '.join(self.weights)}"
                )
            if tensor.shape != self.weights[name].shape:
                raise ValueError(
                    f"trial.at(): {name} must have shape {tuple(self.weights[name].shape)}, "
                    f"got {tuple(tensor.shape)}"
                )
        moved = {**self.weights, **weights}
        return self._with(moved, self.rng)

    def redrawn(self, name: str) -> LaneTrial:
        """Return the same trial with other random numbers, those under `name`."""
        return self._with(self.weights, self.rng.apart(name))

    def _with(self, weights: Tensors, rng: Stream) -> LaneTrial:
        return LaneTrial(self.params, self.data, weights, rng, self.step, self._call, self.buffers)

    @property
    def gradient(self) -> Tensors:
        """Return the gradient of the step's loss by weight name."""
        found: Tensors = self._in_measure("gradient")
        return found

    @property
    def moments(self) -> Mapping[str, Tensors]:
        """Return what the optimizer keeps, by its name for it and by weight name."""
        found: Mapping[str, Tensors] = self._in_measure("moments")
        return found

    @property
    def update(self) -> Tensors:
        """Return what the coming step will add to each weight."""
        if "gradient" in self._known and "update" not in self._known:
            raise AttributeError(
                "trial.update stands only where a wanted measure is declared with "
                "Measure(..., of_update=True), because it takes a step to know"
            )
        found: Tensors = self._in_measure("update")
        return found

    def _in_measure(self, name: str) -> Any:
        if name not in self._known:
            raise AttributeError(
                f"trial.{name} stands in measure() only, at the trial's own weights; loss() and "
                "trial.at() have none"
            )
        return self._known[name]


@dataclass(frozen=True)
class LaneCode:
    """What a lane computes with, none of it a lane's own: every tensor is an argument."""

    experiment: Experiment[Any]
    model: nn.Module
    static: Mapping[str, Any]
    places: Mapping[str, int]
    dtype: torch.dtype

    def trial(
        self,
        weights: Tensors,
        frozen: Tensors,
        vector_V: Tensor,
        data: Tensors,
        key_2: Tensor,
        step: Tensor,
        known: Known | None = None,
    ) -> LaneTrial:
        """Return the trial of one lane."""

        def call(weights: Tensors, inputs: tuple[Any, ...]) -> Any:
            return functional_call(self.model, {**weights, **frozen}, inputs)

        params = LaneParams(self.static, self.places, vector_V)
        rng = Stream.traced(key_2, step, self.dtype)
        return LaneTrial(params, data, weights, rng, step, call, frozen, known)
