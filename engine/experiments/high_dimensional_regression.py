"""Linear regression with about as many rows as dimensions: double descent, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class HighDimensionalRegressionParams(Params):
    """Sizes of the regression; spread of its teacher, start and noise."""

    dimension: int = Field(200, ge=1, description="N: inputs, and weights")
    rows: int = Field(200, ge=1, description="P: training rows; alpha = P / N")
    teacher_scale: float = Field(1.0, ge=0, description="standard deviation of a teacher's weight")
    start_scale: float = Field(0.5, ge=0, description="standard deviation of an initial weight")
    noise_scale: float = Field(0.5, ge=0, description="standard deviation of a label's noise")


class HighDimensionalRegression(Experiment[HighDimensionalRegressionParams]):
    """Gradient descent on |y - X w|^2 / 2, rows ~ N(0, I / N), y = X teacher + noise.

    The sum over rows makes lr * step the time of gradient flow. At P = N some directions are
    barely seen; in them the weights slowly fit noise, so the test error peaks there and is
    least long before the training error is. `limit_error` is the exact mean over all draws as N
    grows at P / N (`phasecube.engine.tasks.high_dimensional`), for `sgd` at constant lr. A
    rate above 2 / (sqrt(P / N) + 1)^2 diverges.

    Reference: Advani & Saxe 2017, arXiv:1710.03667; docs/scaling-experiments.md, A2.
    """

    name: ClassVar[str] = "high_dimensional_regression"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = HighDimensionalRegressionParams
    defaults: ClassVar[Mapping[str, Any]] = {"lr": 0.1, "steps": 1000, "dtype": "float64"}
    # Forward 2 P N, backward the same again: no gradient of the inputs is asked for.
    counts: ClassVar[Mapping[str, str]] = {
        "parameters": "dimension",
        "examples_per_step": "rows",
        "flop_per_step": "4 * rows * dimension",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "test_error": Measure("expected squared error on a new noisy row"),
        "train_error": Measure("mean squared error on the training rows"),
        "limit_error": Measure("test error in the limit of many dimensions, exact"),
    }

    def model(self, params: HighDimensionalRegressionParams) -> nn.Module:
        """Return w.x."""
        from phasecube.engine.models.linear import Linear

        return Linear(params.dimension)

    def init(
        self, model: nn.Module, params: HighDimensionalRegressionParams, stream: Stream
    ) -> None:
        """Draw every weight from N(0, start_scale^2)."""
        from phasecube.engine.models.initialise import fill_normal

        fill_normal(model, {"weight": params.start_scale}, stream)

    def data(self, params: HighDimensionalRegressionParams, stream: Stream) -> dict[str, Tensor]:
        """Return rows, noisy labels, the teacher and the noise."""
        import torch

        n = params.dimension
        x_PN = torch.as_tensor(stream.normal("inputs", (params.rows, n))) / n**0.5
        teacher_N = torch.as_tensor(stream.normal("teacher", (n,))) * params.teacher_scale
        noise_P = torch.as_tensor(stream.normal("noise", (params.rows,))) * params.noise_scale
        return {"x": x_PN, "y": x_PN @ teacher_N + noise_P, "teacher": teacher_N, "noise": noise_P}

    def loss(self, trial: Trial) -> Tensor:
        """Return half the squared error, summed over rows."""
        error_P: Tensor = trial.model(trial.data["x"]) - trial.data["y"]
        return error_P.square().sum() / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return both errors; a new row x ~ N(0, I / N) errs by |w - teacher|^2 / N and noise."""
        import torch

        params, data, weight_N = trial.params, trial.data, trial.weights["weight"]
        noise = torch.as_tensor(params.noise_scale)
        found = {
            "test_error": noise**2 + (weight_N - data["teacher"]).square().mean(),
            "train_error": (data["x"] @ weight_N - data["y"]).square().mean(),
        }
        if "limit_error" in wanted:
            found["limit_error"] = _limit_error(trial)
        return {name: value for name, value in found.items() if name in wanted}


def _limit_error(trial: Trial) -> Tensor:
    import torch

    from phasecube.engine.tasks.high_dimensional import limit_error, spectrum

    params = trial.params
    alpha = params.rows / params.dimension
    x_K = torch.as_tensor(spectrum(alpha)[0], device=trial.step.device)
    base_K = 1 - torch.as_tensor(params.lr).double() * x_K
    # torch's pow rounds by where in a tensor a number stands; its exp and log do not.
    odd_K = (base_K < 0) & (trial.step % 2 == 1)
    power_K = (trial.step * base_K.abs().log()).exp() * torch.where(odd_K, -1.0, 1.0)
    rest_K = torch.where(trial.step == 0, torch.ones_like(x_K), power_K)
    found: Tensor = limit_error(
        rest_K,
        alpha,
        teacher=torch.as_tensor(params.teacher_scale).double(),
        start=torch.as_tensor(params.start_scale).double(),
        noise=torch.as_tensor(params.noise_scale).double(),
        xp=torch,
    )
    return found.to(trial.weights["weight"].dtype)
