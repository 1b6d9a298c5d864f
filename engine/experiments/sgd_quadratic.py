"""SGD on a linear model that fits every example: where its noise alone makes it diverge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class SgdQuadraticParams(Params):
    """The law of the features, their dimension and the batch."""

    dimension: int = Field(10, ge=1, description="d: weights")
    batch: int = Field(1, ge=1, description="B: examples a step, drawn with replacement")
    features: Literal["gaussian", "sphere"] = Field(
        "gaussian", description="gaussian: N(0, I); sphere: uniform of norm sqrt(d)"
    )
    rows: int = Field(0, ge=0, description="examples of the data set; 0: each is drawn anew")


class SgdQuadratic(Experiment[SgdQuadraticParams]):
    """SGD with loss (a.theta)^2 / 2 on each example a, E aa' = I, from a unit vector.

    Every example is fitted at theta = 0, so nothing but the noise of the batch ends
    stability below lr = 2. Exact boundaries stand in
    `phasecube.engine.tasks.sgd_stability`: of the mean square 2B / (d + 1 + B) for
    gaussian features, and of almost every run, which lies higher.

    Reference: Wu, Ma & E 2018 (NeurIPS), Wu & Su 2023, arXiv:2305.17490; docs/lr_stability.md.
    """

    name: ClassVar[str] = "sgd_quadratic"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = SgdQuadraticParams
    # float64: |theta| passes 100 orders of magnitude either way before anything overflows.
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.1,
        "steps": 500,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "log_norm2": Measure("log of |theta|^2, 0 at the start"),
    }

    def model(self, params: SgdQuadraticParams) -> nn.Module:
        """Return theta.a."""
        from phasecube.engine.models.linear import Linear

        return Linear(params.dimension)

    def init(self, model: nn.Module, params: SgdQuadraticParams, stream: Stream) -> None:
        """Draw a direction; its length is 1."""
        import torch

        start_D = torch.as_tensor(stream.normal("start", (params.dimension,)))
        weight_D = model.get_parameter("weight")
        with torch.no_grad():
            weight_D.copy_(start_D / start_D.norm())

    def data(self, params: SgdQuadraticParams, stream: Stream) -> dict[str, Tensor]:
        """Return the data set, nothing where every example is drawn anew."""
        import torch

        if params.rows == 0:
            return {}
        normal_RD = torch.as_tensor(stream.normal("rows", (params.rows, params.dimension)))
        return {"rows": _of_law(normal_RD, params.features)}

    def loss(self, trial: Trial) -> Tensor:
        """Return half the mean square of theta.a over the batch."""
        params = trial.params
        if params.rows == 0:
            normal_BD = trial.rng.normal("batch", (params.batch, params.dimension))
            a_BD = _of_law(normal_BD, params.features)
        else:
            a_BD = trial.data["rows"][trial.rng.integers("batch", params.rows, (params.batch,))]
        output_B: Tensor = trial.model(a_BD)
        return output_B.square().mean() / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the logarithm of the squared norm, of numbers whose squares overflow too."""
        found: dict[str, Tensor] = {}
        if "log_norm2" in wanted:
            weight_D = trial.weights["weight"]
            largest = weight_D.abs().amax()
            found["log_norm2"] = 2 * largest.log() + (weight_D / largest).square().sum().log()
        return found


def _of_law(normal_BD: Tensor, features: str) -> Tensor:
    if features == "gaussian":
        return normal_BD
    scale = normal_BD.shape[-1] ** 0.5
    length_B1: Tensor = normal_BD.square().sum(-1, keepdim=True).sqrt()
    found_BD: Tensor = normal_BD * (scale / length_B1)
    return found_BD
