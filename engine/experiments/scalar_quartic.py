"""Gradient descent on (x^2 - 1)^2 / 4: its whole way from convergence to chaos is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class ScalarQuarticParams(Params):
    """Where a trial starts."""

    start: Literal["random", "minimum"] = Field(
        "random", description="random: uniform in (-1.3, 1.3); minimum: 1 + kick, a random sign"
    )
    kick: float = Field(1e-3, gt=0, description="distance from the minimum of start = minimum")


class ScalarQuartic(Experiment[ScalarQuarticParams]):
    """x -> (1 + lr) x - lr x^3: a linear network of two tied layers and one weight.

    The minima at +-1 have sharpness 2. They attract for lr < 1; from lr = 1 on x moves on
    cycles of period 2, from sqrt(5) - 1 of period 4, and so on into chaos; for lr = 2 the
    map is the Chebyshev cubic with Lyapunov exponent ln 3; beyond, almost every start
    diverges. What is stable near the minimum, what converges and what does not diverge are
    three questions: start = "minimum" asks the first.

    Reference: the edge of stability in Cohen et al. 2021, arXiv:2103.00065; docs/lr_stability.md.
    """

    name: ClassVar[str] = "scalar_quartic"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = ScalarQuarticParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.5,
        "steps": 2000,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "position": Measure("x"),
        "distance": Measure("distance of x from the nearer minimum"),
        "stretch": Measure("log |dx' / dx| of this step; its mean is the Lyapunov exponent"),
    }

    def model(self, params: ScalarQuarticParams) -> nn.Module:  # noqa: ARG002
        """Return the one weight."""
        from phasecube.engine.models.scalar import Scalar

        return Scalar()

    def init(self, model: nn.Module, params: ScalarQuarticParams, stream: Stream) -> None:
        """Draw the start; every start in (-1.3, 1.3) stays finite for every lr <= 2."""
        import torch

        share = float(stream.uniform("start"))
        if params.start == "minimum":
            x = 1 + params.kick if share < 0.5 else 1 - params.kick
        else:
            x = 2.6 * share - 1.3
        with torch.no_grad():
            model.get_parameter("x").fill_(x)

    def data(self, params: ScalarQuarticParams, stream: Stream) -> dict[str, Tensor]:  # noqa: ARG002
        """Return nothing: the loss is a formula."""
        return {}

    def loss(self, trial: Trial) -> Tensor:
        """Return (x^2 - 1)^2 / 4."""
        x: Tensor = trial.model()
        return (x.square() - 1).square() / 4

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return where x is and by how much the coming step stretches small differences."""
        x = trial.weights["x"]
        found = {"position": x, "distance": (x.abs() - 1).abs()}
        if "stretch" in wanted:
            found["stretch"] = (1 - trial.params.lr * (3 * x.square() - 1)).abs().log()
        return {name: value for name, value in found.items() if name in wanted}
