"""The cheapest trial there is, one weight on a quadratic: what is left is overhead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import phasecube

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.experiment import Trial
    from phasecube.engine.streams import Stream


class QuadraticParams(phasecube.Params):
    curvature: float = 1.0


class Quadratic(phasecube.Experiment[QuadraticParams]):
    """loss = curvature * w^2 / 2 from w = 1: gradient descent multiplies w by 1 - lr * curvature."""

    name = "quadratic"
    params_type = QuadraticParams
    measures = {}
    defaults = {"optimizer": "sgd", "lr": 0.1, "steps": 1}

    def model(self, params: QuadraticParams) -> nn.Module:
        from torch import nn

        return nn.Linear(1, 1, bias=False)

    def init(self, model: nn.Module, params: QuadraticParams, stream: Stream) -> None:
        from torch import nn

        for weight in model.parameters():
            nn.init.ones_(weight)

    def data(self, params: QuadraticParams, stream: Stream) -> dict[str, Tensor]:
        import torch

        return {"x": torch.ones(1)}

    def loss(self, trial: Trial) -> Tensor:
        w: Tensor = trial.model(trial.data["x"].to(trial.weights["weight"].dtype))
        loss: Tensor = (0.5 * trial.params.curvature * w * w).sum()
        return loss
