"""Grokking without weight decay: from the lazy to the rich regime by an output scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class LazyToRichParams(Params):
    """Sizes of the task and of the network, and the two dials, alpha and curvature."""

    dimension: int = Field(30, ge=1, description="D: inputs")
    train_rows: int = Field(150, ge=2, description="P: training rows")
    test_rows: int = Field(1000, ge=2, description="test rows")
    width: int = Field(200, ge=1, description="N: hidden units")
    alpha: float = Field(1.0, gt=0, description="output scale: large is lazy")
    curvature: float = Field(
        0.25, ge=0, description="epsilon in phi(h) = h + epsilon / 2 h^2: small is misaligned"
    )
    centred: bool = Field(False, description="whether the output at the start is subtracted")


class LazyToRich(Experiment[LazyToRichParams]):
    """Fit y = (b.x)^2 / 2 with f(x) = alpha / N sum_i phi(w_i.x), only w trained.

    x ~ N(0, I / D), |b|^2 = D, w ~ N(0, 1); the loss is the mean squared error. The
    published step is lr = 0.5 N / alpha^2: derive it in the sweep file.

    Reference: Kumar et al. 2023, arXiv:2310.06110, section 4; docs/science.md, G6.
    """

    name: ClassVar[str] = "lazy_to_rich"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = LazyToRichParams
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "sgd", "lr": 100.0, "steps": 20000}
    measures: ClassVar[Mapping[str, Measure]] = {
        "train_mse": Measure("mean squared error over label variance, training rows"),
        "test_mse": Measure("mean squared error over label variance, test rows"),
        "alignment": Measure("b'Mb / (|b|^2 tr M), M = W'W / N: share of W along the teacher"),
        "weight_movement": Measure("|W - W_0| / |W_0|"),
    }

    def model(self, params: LazyToRichParams) -> nn.Module:
        """Return the first layer and its nonlinearity, before alpha / N."""
        from phasecube.engine.models.quadratic_readout import QuadraticReadout

        return QuadraticReadout(params.dimension, params.width)

    def init(self, model: nn.Module, params: LazyToRichParams, stream: Stream) -> None:  # noqa: ARG002
        """Draw every weight from N(0, 1)."""
        from phasecube.engine.models.initialise import fill_normal

        fill_normal(model, {"first": 1.0}, stream)

    def data(self, params: LazyToRichParams, stream: Stream) -> dict[str, Tensor]:
        """Return inputs, labels, the teacher and the network at the start."""
        import torch

        d = params.dimension

        def normal(purpose: str, *shape: int) -> Tensor:
            return torch.as_tensor(stream.normal(purpose, shape))

        teacher_D = normal("teacher", d)
        teacher_D = teacher_D * (d**0.5 / teacher_D.norm())
        start = self.model(params).to(teacher_D.dtype)
        self.init(start, params, stream)
        found = {"teacher": teacher_D, "start": start.state_dict()["first"]}
        for part, rows in (("train", params.train_rows), ("test", params.test_rows)):
            x_RD = normal(f"{part} inputs", rows, d) / d**0.5
            with torch.no_grad():
                output_R = _scale(params) * start(x_RD, params.curvature)
            found[f"{part}_x"] = x_RD
            found[f"{part}_y"] = (x_RD @ teacher_D).square() / 2
            found[f"{part}_start"] = output_R if params.centred else torch.zeros(rows)
        return found

    def loss(self, trial: Trial) -> Tensor:
        """Return the mean squared error on the training rows."""
        return _residual(trial, "train").square().mean()

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return errors relative to the variance of their own labels, and how W has turned."""
        found = {}
        for part in ("train", "test"):
            if f"{part}_mse" in wanted:
                error = _residual(trial, part).square().mean()
                found[f"{part}_mse"] = error / trial.data[f"{part}_y"].var(correction=0)
        weight_DN, start_DN = trial.weights["first"], trial.data["start"]
        if "alignment" in wanted:
            teacher_D = trial.data["teacher"]
            along = (teacher_D @ weight_DN).square().sum() / teacher_D.square().sum()
            found["alignment"] = along / weight_DN.square().sum()
        if "weight_movement" in wanted:
            found["weight_movement"] = (weight_DN - start_DN).norm() / start_DN.norm()
        return found


def _scale(params: Any) -> Any:
    return params.alpha / params.width


def _residual(trial: Trial, part: str) -> Tensor:
    output_R = _scale(trial.params) * trial.model(trial.data[f"{part}_x"], trial.params.curvature)
    residual_R: Tensor = output_R - trial.data[f"{part}_start"] - trial.data[f"{part}_y"]
    return residual_R
