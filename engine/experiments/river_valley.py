"""Steep noisy hillsides and a slow river: why a decay of the learning rate pays at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class RiverValleyParams(Params):
    """The valley's two curvatures and the noise on its hillsides."""

    modes: int = Field(4, ge=1, description="steep coordinates")
    curvature: float = Field(1.0, gt=0, description="second derivative along each of them")
    noise: float = Field(1.0, ge=0, description="std of the gradient's noise along each of them")
    hill_start: float = Field(0.0, description="where each of them starts; 0 is the minimum")
    river_curvature: float = Field(1e-3, ge=0, description="second derivative along the river")
    river_start: float = Field(10.0, description="where the river coordinate starts")


class RiverValley(Experiment[RiverValleyParams]):
    """sum_i h x_i^2 / 2 + k r^2 / 2 with noise in the gradient along every x_i.

    At a constant rate the height over the river settles at eta sigma^2 / (2 (2 - eta h)) a
    mode: a larger rate hovers higher, but is further down the river, whose progress is the
    sum of the rates. A decay at the end comes down and keeps the progress. The mean of both
    is known at every step, `phasecube.engine.tasks.river_valley`.

    Reference: Wen et al. 2024, arXiv:2410.05192; docs/lr_science.md.
    """

    name: ClassVar[str] = "river_valley"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = RiverValleyParams
    defaults: ClassVar[Mapping[str, Any]] = {"lr": 0.5, "steps": 3000, "dtype": "float64"}
    measures: ClassVar[Mapping[str, Measure]] = {
        "hill": Measure("loss of the steep coordinates, without noise"),
        "river": Measure("loss of the river coordinate"),
        "excess_loss": Measure("both together, 0 at the minimum"),
    }

    def model(self, params: RiverValleyParams) -> nn.Module:
        """Return the place in the valley."""
        from phasecube.engine.models.valley import Valley

        return Valley(params.modes)

    def init(self, model: nn.Module, params: RiverValleyParams, stream: Stream) -> None:  # noqa: ARG002
        """Start where `params` says."""
        import torch

        with torch.no_grad():
            model.get_parameter("hill").fill_(params.hill_start)
            model.get_parameter("river").fill_(params.river_start)

    def data(self, params: RiverValleyParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        """Return nothing: the loss is a formula."""
        return {}

    def loss(self, trial: Trial) -> Tensor:
        """Return the loss tilted by the step's noise: its gradient is the noisy one."""
        params = trial.params
        hill_M, _ = trial.model()
        tilt_M = params.noise * trial.rng.normal("gradient", (params.modes,))
        hill, river = _losses(trial)
        tilted: Tensor = hill + river + (tilt_M * hill_M).sum()
        return tilted

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the loss without the noise, and its two parts."""
        hill, river = _losses(trial)
        return {"hill": hill, "river": river, "excess_loss": hill + river}


def _losses(trial: Trial) -> tuple[Tensor, Tensor]:
    hill_M, river = trial.model()
    hill: Tensor = trial.params.curvature * hill_M.square().sum() / 2
    return hill, trial.params.river_curvature * river.square() / 2
