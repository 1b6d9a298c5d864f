"""Diagonal linear networks under SGD: what large steps do to the solution that is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class DiagonalLinearParams(Params):
    """Sizes, the teacher's sparsity, the batch and the scale of initial weights."""

    dimension: int = Field(100, ge=1, description="d: inputs")
    rows: int = Field(40, ge=1, description="n: training examples")
    sparsity: int = Field(5, ge=1, description="entries of the teacher that are 1 or -1, not 0")
    batch: int = Field(1, ge=0, description="B: examples a step, with replacement; 0: all of them")
    scale: float = Field(0.2, gt=0, description="every entry of u and v at step 0")

    def faults(self) -> list[tuple[str, str]]:
        """Return a teacher with more entries than inputs."""
        if self.sparsity > self.dimension:
            return [("sparsity", f"{self.sparsity} entries, but {self.dimension} inputs")]
        return []


class DiagonalLinear(Experiment[DiagonalLinearParams]):
    """Fit a sparse teacher by (u^2 - v^2).x from fewer examples than inputs.

    x ~ N(0, I), no label noise, loss (f(x) - y)^2 / 2 on each example. Many solutions fit; the
    trace of the Hessian is 4 sum_d E x_d^2 (u_d^2 + v_d^2), an L1-like norm, and SGD with one
    example a step cannot rest where it is above 2 / lr. So large steps lead to solutions of
    small norm, nearer to the teacher.

    Reference: Wu & Su 2023, arXiv:2305.17490; Even et al. 2023, arXiv:2302.08982;
    docs/lr_science.md.
    """

    name: ClassVar[str] = "diagonal_linear"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = DiagonalLinearParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.01,
        "steps": 10000,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "full_loss": Measure("loss, mean over all training examples"),
        "test_error": Measure("test error, |w - teacher|^2 / |teacher|^2"),
        "hessian_trace": Measure("tr(H) of the loss over all training examples"),
        "trace_ratio": Measure("lr tr(H) / 2"),
        "norm": Measure("sum of u^2 + v^2"),
    }

    def model(self, params: DiagonalLinearParams) -> nn.Module:
        """Return (u^2 - v^2).x."""
        from phasecube.engine.models.diagonal_linear import DiagonalLinear as Model

        return Model(params.dimension)

    def init(self, model: nn.Module, params: DiagonalLinearParams, stream: Stream) -> None:  # noqa: ARG002
        """Start at the output 0 with all weights equal."""
        import torch

        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(params.scale)

    def data(self, params: DiagonalLinearParams, stream: Stream) -> dict[str, Tensor]:
        """Return training examples, their labels and the teacher."""
        import torch

        d, n = params.dimension, params.rows
        teacher_D = torch.zeros(d, dtype=torch.float64)
        signs = 2 * torch.as_tensor(stream.integers("signs", 2, (params.sparsity,))) - 1
        teacher_D[: params.sparsity] = signs.to(torch.float64)
        x_RD = torch.as_tensor(stream.normal("rows", (n, d)))
        return {"x": x_RD, "y": x_RD @ teacher_D, "teacher": teacher_D}

    def loss(self, trial: Trial) -> Tensor:
        """Return half the mean squared error over the batch."""
        params, x_RD, y_R = trial.params, trial.data["x"], trial.data["y"]
        if params.batch:
            batch_B = trial.rng.integers("batch", params.rows, (params.batch,))
            x_RD, y_R = x_RD[batch_B], y_R[batch_B]
        error_R: Tensor = trial.model(x_RD) - y_R
        return error_R.square().mean() / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return errors on old and new examples, and how sharp the minimum is."""
        data, u_D, v_D = trial.data, trial.weights["u"], trial.weights["v"]
        squares_D = u_D.square() + v_D.square()
        found = {"norm": squares_D.sum()}
        if "full_loss" in wanted:
            found["full_loss"] = (trial.model(data["x"]) - data["y"]).square().mean() / 2
        if "test_error" in wanted:
            apart_D = u_D.square() - v_D.square() - data["teacher"]
            found["test_error"] = apart_D.square().sum() / data["teacher"].square().sum()
        # Exact everywhere: the second derivatives of the output by u and by v cancel in it.
        trace = 4 * (data["x"].square().mean(0) * squares_D).sum()
        found |= {"hessian_trace": trace, "trace_ratio": trial.params.lr * trace / 2}
        return {name: value for name, value in found.items() if name in wanted}
