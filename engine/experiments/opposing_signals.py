"""A rare strong feature of no use: learning the others makes the loss steep along it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class OpposingSignalsParams(Params):
    """The target's strength, and how rare and how large the outliers are."""

    signal: float = Field(1.0, gt=0, description="|beta|: slope of the target along the signal")
    outlier_share: float = Field(0.05, gt=0, le=1, description="p: share of rows with the outlier")
    outlier_power: float = Field(100.0, gt=0, description="a: square of the outlier feature there")
    start: float = Field(0.1, gt=0, description="gain and signal weight at the start")
    kick: float = Field(1e-3, description="outlier weight at the start; 0 is its best value")


class OpposingSignals(Experiment[OpposingSignalsParams]):
    """c (b x_s + o x_o) fits beta x_s; x_o = +-sqrt(a) in a share p of rows, either sign as often.

    Rows of opposite x_o pull o opposite ways, so o = 0 is best. The curvature along o is
    c^2 p a, and c^2 grows to |beta| while the signal is learned: o starts to oscillate where
    lr > 2 / (|beta| p a). Then the loss spikes, and c falls until the curvature is below 2 / lr.
    The loss is that of the infinite data set, E x_s^2 = 1.

    Reference: Rosenfeld & Risteski 2023, arXiv:2311.04163; docs/lr_science.md.
    """

    name: ClassVar[str] = "opposing_signals"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = OpposingSignalsParams
    defaults: ClassVar[Mapping[str, Any]] = {"lr": 0.3, "steps": 2000, "dtype": "float64"}
    measures: ClassVar[Mapping[str, Measure]] = {
        "outlier_curvature": Measure("second derivative of the loss along the outlier's weight"),
        "outlier_weight": Measure("distance of the outlier's weight from 0"),
        "signal_error": Measure("distance of the slope along the signal from the target's"),
    }

    def model(self, params: OpposingSignalsParams) -> nn.Module:  # noqa: ARG002
        """Return the network of one hidden unit."""
        from phasecube.engine.models.one_unit import OneUnit

        return OneUnit(2)

    def init(self, model: nn.Module, params: OpposingSignalsParams, stream: Stream) -> None:  # noqa: ARG002
        """Start balanced, gain and signal weight alike, which gradient descent keeps."""
        import torch

        with torch.no_grad():
            model.get_parameter("gain").fill_(params.start)
            start_2 = torch.tensor([params.start, params.kick], dtype=torch.float64)
            model.get_parameter("weight").copy_(start_2)

    def data(self, params: OpposingSignalsParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        """Return two rows whose squared error is the mean over all rows."""
        import torch

        power = params.outlier_share * params.outlier_power
        x_22 = torch.diag(torch.tensor([1.0, power**0.5], dtype=torch.float64))
        return {"x": x_22, "y": torch.tensor([params.signal, 0.0], dtype=torch.float64)}

    def loss(self, trial: Trial) -> Tensor:
        """Return half the mean squared error."""
        output_2: Tensor = trial.model(trial.data["x"])
        return (output_2 - trial.data["y"]).square().sum() / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the state of the oscillation."""
        params, gain, weight_2 = trial.params, trial.weights["gain"], trial.weights["weight"]
        return {
            "outlier_curvature": gain.square() * params.outlier_share * params.outlier_power,
            "outlier_weight": weight_2[1].abs(),
            "signal_error": (gain * weight_2[0] - params.signal).abs(),
        }
