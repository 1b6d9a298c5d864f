"""A quadratic whose minimum lies outside a box: what decoupled decay makes of Lion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class BoxedQuadraticParams(Params):
    """How many coordinates, and how far out they start."""

    dimension: int = Field(50, ge=1, description="coordinates")
    start_scale: float = Field(1.0, ge=0, description="std of where a coordinate starts")


class BoxedQuadratic(Experiment[BoxedQuadraticParams]):
    """|x - c|^2 / 2, c ~ N(0, I), from x ~ N(0, start_scale^2).

    Lion with decoupled decay lambda minimises it within the box |x_i| <= 1 / lambda, so x
    goes to c cut to the box; learning rate and schedule do not move the box. With
    `independent_weight_decay` it is lr / lambda. Without decay there is no box.

    Reference: Chen et al. 2023, arXiv:2310.05898; docs/lr_science.md.
    """

    name: ClassVar[str] = "boxed_quadratic"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = BoxedQuadraticParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "lion",
        "beta2": 0.99,
        "lr": 1e-2,
        "weight_decay": 2.0,
        "steps": 4000,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "deviation": Measure("largest distance of a coordinate from c cut to the box"),
        "box_excess": Measure("largest coordinate in units of the box, less 1"),
        "inside_gradient": Measure("largest gradient of a coordinate with c inside the box"),
        "outward_pull": Measure("smallest pull outwards of a coordinate with c outside the box"),
    }

    def model(self, params: BoxedQuadraticParams) -> nn.Module:
        """Return x."""
        from phasecube.engine.models.point import Point

        return Point(params.dimension)

    def init(self, model: nn.Module, params: BoxedQuadraticParams, stream: Stream) -> None:
        """Draw where x starts."""
        import torch

        start_D = params.start_scale * stream.normal("start", (params.dimension,))
        with torch.no_grad():
            model.get_parameter("x").copy_(torch.as_tensor(start_D))

    def data(self, params: BoxedQuadraticParams, stream: Stream) -> dict[str, Tensor]:
        """Return c."""
        import torch

        return {"centre": torch.as_tensor(stream.normal("centre", (params.dimension,)))}

    def loss(self, trial: Trial) -> Tensor:
        """Return |x - c|^2 / 2."""
        x_D: Tensor = trial.model()
        return (x_D - trial.data["centre"]).square().sum() / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return where x is by the box, and the signs of the Karush-Kuhn-Tucker conditions.

        A set of coordinates that is empty has gradient 0 inside and an infinite pull.
        """
        import torch

        params, x_D, centre_D = trial.params, trial.weights["x"], trial.data["centre"]
        radius = (params.lr if params.independent_weight_decay else 1.0) / params.weight_decay
        radius = torch.as_tensor(radius).to(x_D)
        inside_D = centre_D.abs() <= radius
        gradient_D = x_D - centre_D
        return {
            "deviation": (x_D - centre_D.clamp(-radius, radius)).abs().amax(),
            "box_excess": x_D.abs().amax() / radius - 1,
            "inside_gradient": torch.where(inside_D, gradient_D.abs(), 0.0).amax(),
            "outward_pull": torch.where(inside_D, torch.inf, -gradient_D * x_D.sign()).amin(),
        }
