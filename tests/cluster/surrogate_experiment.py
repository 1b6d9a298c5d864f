"""Figure 2 of Jaderberg et al. 2017: what is climbed is not what is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from phasecube.engine.experiment import Experiment, Measure, Params

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.experiment import Trial
    from phasecube.engine.streams import Stream


class SurrogateParams(Params):
    h: float = 1.0
    k: float = 0.0


class Surrogate(Experiment[SurrogateParams]):
    """Q = 1.2 - x^2 - y^2 from (0.9, 0.9), climbed along 1.2 - h x^2 - k y^2."""

    name = "surrogate"
    params_type = SurrogateParams
    measures: ClassVar = {"q": Measure("Q"), "x": Measure("x"), "y": Measure("y")}
    defaults: ClassVar = {"optimizer": "sgd", "lr": 0.02, "steps": 40, "dtype": "float64"}

    def model(self, params: SurrogateParams) -> nn.Module:
        import torch
        from torch import nn

        module = nn.Module()
        module.theta = nn.Parameter(torch.full((2,), 0.9))
        return module

    def data(self, params: SurrogateParams, stream: Stream) -> dict[str, Tensor]:
        return {}

    def loss(self, trial: Trial) -> Tensor:
        x, y = trial.weights["theta"].square().unbind()
        return trial.params.h * x + trial.params.k * y - 1.2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        x, y = trial.weights["theta"].unbind()
        return {"q": 1.2 - x.square() - y.square(), "x": x, "y": y}
