"""Experiments that cost nothing: what is left when they run is overhead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import phasecube

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.experiment import Trial
    from phasecube.engine.streams import Stream


class QuadraticParams(phasecube.Params):
    curvature: float = 1.0


class Quadratic(phasecube.Experiment[QuadraticParams]):
    """loss = curvature * w^2 / 2 from w = 1: a step multiplies w by 1 - lr * curvature."""

    name = "quadratic"
    params_type = QuadraticParams
    measures: ClassVar[Mapping[str, phasecube.Measure]] = {}
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "sgd", "lr": 0.1, "steps": 1}

    def model(self, params: QuadraticParams) -> nn.Module:  # noqa: ARG002
        from torch import nn

        return nn.Linear(1, 1, bias=False)

    def init(self, model: nn.Module, params: QuadraticParams, stream: Stream) -> None:  # noqa: ARG002
        from torch import nn

        for weight in model.parameters():
            nn.init.ones_(weight)

    def data(self, params: QuadraticParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        import torch

        return {"x": torch.ones(1)}

    def loss(self, trial: Trial) -> Tensor:
        w: Tensor = trial.model(trial.data["x"])
        loss: Tensor = (0.5 * trial.params.curvature * w * w).sum()
        return loss


class Twelve(Quadratic):
    """A study of twelve measures; bench/cube.py fills its rows without training."""

    measures: ClassVar[Mapping[str, phasecube.Measure]] = {
        f"measure_{i}": phasecube.Measure(f"measure {i}") for i in range(9)
    }
