"""A small network over the learning rates of its two layers: where training ends is a fractal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream

MOST = 1e6  # what a normalised loss counts at most


class TrainabilityFractalParams(Params):
    """The network, its data and the learning rate of each layer, times `lr`."""

    width: int = Field(8, ge=1, description="inputs and hidden units")
    activation: Literal["tanh", "relu", "identity"] = Field("tanh", description="of hidden units")
    points: int = Field(
        0, ge=0, description="examples; 0: one for each parameter, width of them for identity"
    )
    lr_layer0: float = Field(1.0, ge=0, description="multiplies lr for the hidden layer")
    lr_layer1: float = Field(1.0, ge=0, description="multiplies lr for the output layer")


class TrainabilityFractal(Experiment[TrainabilityFractalParams]):
    """Full-batch gradient descent on a network of one hidden layer that fits noise.

    Inputs, targets and all weights are N(0, 1); the loss is the mean squared error; no
    biases. All trials of one seed have the same data and the same start, so a map over
    lr_layer0 and lr_layer1 shows the learning rates alone. A run converges where the mean
    loss of its last 20 steps is below the first: label `locally_stable` of train_loss with
    tail = 20, or `converged` of normalised_loss with a bound of 1.

    Reference: Sohl-Dickstein 2024, arXiv:2402.06184; docs/lr_science.md.
    """

    name: ClassVar[str] = "trainability_fractal"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = TrainabilityFractalParams
    # float64: another precision is another picture.
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 1.0,
        "steps": 100,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "normalised_loss": Measure("loss over the first loss, at most 1e6"),
    }

    def model(self, params: TrainabilityFractalParams) -> nn.Module:
        """Return the network."""
        from phasecube.engine.models.mean_field import MeanField

        return MeanField(params.width, params.activation)

    def init(self, model: nn.Module, params: TrainabilityFractalParams, stream: Stream) -> None:  # noqa: ARG002
        """Draw every weight from N(0, 1)."""
        from phasecube.engine.models.initialise import fill_normal

        fill_normal(model, {"layer0": 1.0, "layer1": 1.0}, stream)

    def lr_factor(self, params: TrainabilityFractalParams) -> Mapping[str, float]:
        """Return each layer's own learning rate."""
        return {"layer0": params.lr_layer0, "layer1": params.lr_layer1}

    def data(self, params: TrainabilityFractalParams, stream: Stream) -> dict[str, Tensor]:
        """Return inputs [width, points], targets [points] and the loss at the start."""
        import torch

        points = params.points or (
            params.width if params.activation == "identity" else params.width * (params.width + 1)
        )
        x_DR = torch.as_tensor(stream.normal("inputs", (points, params.width))).T.contiguous()
        y_R = torch.as_tensor(stream.normal("targets", (points,)))
        start = self.model(params).to(x_DR.dtype)
        self.init(start, params, stream)
        with torch.no_grad():
            first = (start(x_DR) - y_R).square().mean()
        return {"x": x_DR, "y": y_R, "first_loss": first}

    def loss(self, trial: Trial) -> Tensor:
        """Return the mean squared error over all examples."""
        error_R: Tensor = trial.model(trial.data["x"]) - trial.data["y"]
        return error_R.square().mean()

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the loss over that of the start, capped."""
        found: dict[str, Tensor] = {}
        if "normalised_loss" in wanted:
            ratio = self.loss(trial) / trial.data["first_loss"]
            found["normalised_loss"] = ratio.clamp(max=MOST)
        return found
