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
    """One trial at one step; `gradient` is that of the step's loss and stands in `measure` only."""

    def __init__(
        self,
        params: LaneParams,
        data: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        rng: Stream,
        model: Callable[..., Any],
        gradient: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.params = params
        self.data = data
        self.weights = weights
        self.rng = rng
        self._model = model
        self._gradient = gradient

    def model(self, *inputs: Any) -> Any:
        """Return the module's output under this trial's weights."""
        return self._model(*inputs)

    @property
    def gradient(self) -> Mapping[str, Tensor]:
        """Return the gradient of the step's loss by weight name."""
        if self._gradient is None:
            raise AttributeError("trial.gradient stands in measure() only; loss() has none yet")
        return self._gradient


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
        weights: Mapping[str, Tensor],
        frozen: Mapping[str, Tensor],
        vector_V: Tensor,
        data: Mapping[str, Tensor],
        key_2: Tensor,
        step: Tensor,
        gradient: Mapping[str, Tensor] | None = None,
    ) -> LaneTrial:
        """Return the trial of one lane."""
        both = {**weights, **frozen}

        def model(*inputs: Any) -> Any:
            return functional_call(self.model, both, inputs)

        params = LaneParams(self.static, self.places, vector_V)
        rng = Stream.traced(key_2, step, self.dtype)
        return LaneTrial(params, data, weights, rng, model, gradient)
