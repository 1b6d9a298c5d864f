"""Grokking in ridge regression: the case that is solved in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class LinearTeacherParams(Params):
    """Sizes of the regression and of its teacher."""

    rows: int = Field(50, ge=1, description="n: training rows")
    dimension: int = Field(
        200, ge=1, description="d: inputs; more than rows leaves null directions"
    )
    teacher_scale: float = Field(0.1, ge=0, description="standard deviation of the teacher")


class LinearTeacher(Experiment[LinearTeacherParams]):
    """Gradient descent on |Xw - y|^2 / 2n with ridge `l2`, y = X teacher, w_0 ~ N(0, 1).

    What the data do not see decays only by the ridge, so the test error falls at a step
    ~ 1 / (lr * l2) while the training error has long fallen.
    `phasecube.engine.tasks.ridge.error_curves` is its exact solution.

    Reference: Levi et al. 2023, arXiv:2310.16441; docs/science.md, G0.
    """

    name: ClassVar[str] = "linear_teacher"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = LinearTeacherParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 1.0,
        "l2": 0.01,
        "steps": 1000,
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "train_error": Measure("mean squared error on the training rows, relative to step 0"),
        "test_error": Measure("expected squared error on a new row, relative to step 0"),
    }

    def model(self, params: LinearTeacherParams) -> nn.Module:
        """Return w.x."""
        from phasecube.engine.models.linear import Linear

        return Linear(params.dimension)

    def init(self, model: nn.Module, params: LinearTeacherParams, stream: Stream) -> None:  # noqa: ARG002
        """Draw every weight from N(0, 1)."""
        from phasecube.engine.models.initialise import fill_normal

        fill_normal(model, {"weight": 1.0}, stream)

    def data(self, params: LinearTeacherParams, stream: Stream) -> dict[str, Tensor]:
        """Return rows N(0, I / d), the teacher, its labels and the start."""
        import torch

        n, d = params.rows, params.dimension
        x_RD = torch.as_tensor(stream.normal("inputs", (n, d))) / d**0.5
        teacher_D = torch.as_tensor(stream.normal("teacher", (d,))) * params.teacher_scale
        start = self.model(params).to(x_RD.dtype)
        self.init(start, params, stream)
        start_D = start.state_dict()["weight"]
        return {"x": x_RD, "y": x_RD @ teacher_D, "teacher": teacher_D, "start": start_D}

    def loss(self, trial: Trial) -> Tensor:
        """Return the data term; the ridge is the run's `l2`."""
        residual_R: Tensor = trial.model(trial.data["x"]) - trial.data["y"]
        return residual_R.square().mean() / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return both errors; a new row x ~ N(0, I / d) errs by |w - teacher|^2 / d."""
        data, weight_D = trial.data, trial.weights["weight"]
        found = {}
        if "train_error" in wanted:
            at_start = (data["x"] @ data["start"] - data["y"]).square().sum()
            found["train_error"] = (data["x"] @ weight_D - data["y"]).square().sum() / at_start
        if "test_error" in wanted:
            at_start = (data["start"] - data["teacher"]).square().sum()
            found["test_error"] = (weight_D - data["teacher"]).square().sum() / at_start
        return found
