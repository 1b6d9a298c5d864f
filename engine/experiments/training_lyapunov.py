"""Is training chaotic? The largest Lyapunov exponent of gradient descent on a perceptron."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Measure, Trial
from phasecube.engine.experiments.mlp_regression import MlpRegression, MlpRegressionParams

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class TrainingLyapunovParams(MlpRegressionParams):
    """Those of mlp_regression; of the optimizers only those whose map has a tangent here."""

    optimizer: str = Field("sgd", description="sgd, with momentum if wanted")
    clip_norm: float = Field(0.0, ge=0, description="0: a clipped step is not linear")
    sam_rho: float = Field(0.0, ge=0, description="0: the tangent knows one gradient a step")
    gradient_projection: str = Field("none", description="none: a projection is not linear")

    def faults(self) -> list[tuple[str, str]]:
        """Return the optimizers that the tangent vector does not follow."""
        allowed = {"optimizer": "sgd", "clip_norm": 0, "sam_rho": 0, "gradient_projection": "none"}
        found = [
            (name, f"the tangent vector follows {name} = {value!r} only; train mlp_regression")
            for name, value in allowed.items()
            if getattr(self, name) != value
        ]
        return [*super().faults(), *found]


class TrainingLyapunov(MlpRegression):
    """mlp_regression with a tangent vector v beside the weights, |v| = 1 at the start.

    Training moves v as it would move a small difference between two runs, so the slope of
    log_tangent over steps is the largest Lyapunov exponent of training per step: negative
    where runs forget their start, positive where training is chaotic. gradient_norm and
    weight_norm are those of weights and v together.

    Reference: Benettin et al. 1980 for the method, Cohen et al. 2021, arXiv:2103.00065, for
    the protocol; docs/lr_science.md.
    """

    name: ClassVar[str] = "training_lyapunov"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[MlpRegressionParams]] = TrainingLyapunovParams
    # float64: |v| grows by many orders of magnitude before it overflows.
    defaults: ClassVar[Mapping[str, Any]] = {**MlpRegression.defaults, "dtype": "float64"}
    measures: ClassVar[Mapping[str, Measure]] = {
        "log_tangent": Measure("log of the tangent vector's length"),
        **MlpRegression.measures,
    }

    def model(self, params: MlpRegressionParams) -> nn.Module:
        """Return the network with a tangent for each of its weights."""
        from phasecube.engine.measures.tangent import add_tangent

        model = super().model(params)
        add_tangent(model)
        return model

    def init(self, model: nn.Module, params: MlpRegressionParams, stream: Stream) -> None:
        """Draw the weights of mlp_regression, bit for bit, and the direction of v."""
        from phasecube.engine.measures.tangent import fill_tangent

        super().init(model, params, stream)
        fill_tangent(model, stream)

    def lr_factor(self, params: MlpRegressionParams) -> Mapping[str, float]:
        """Return the learning rates of mlp_regression; a tangent has that of its weight."""
        from phasecube.engine.measures.tangent import tangent_name

        found = super().lr_factor(params)
        return {**found, **{tangent_name(name): factor for name, factor in found.items()}}

    def loss(self, trial: Trial) -> Tensor:
        """Return the loss of mlp_regression, whose gradient carries v along."""
        from phasecube.engine.measures.tangent import carried_loss

        plain = super().loss
        return carried_loss(lambda weights: plain(trial.at(weights)), trial.weights)

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the length of v beside the measures of mlp_regression."""
        from phasecube.engine.measures.tangent import log_tangent

        found = super().measure(trial, wanted)
        if "log_tangent" in wanted:
            found["log_tangent"] = log_tangent(trial.weights)
        return found
