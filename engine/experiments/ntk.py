"""Lazy training: how near a network of finite width stays to its kernel at infinite width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class NtkParams(Params):
    """Sizes of the network and of the data."""

    width: int = Field(512, ge=1, description="n: hidden units")
    inputs: int = Field(6, ge=1, description="d: numbers an example has")
    rows: int = Field(12, ge=1, description="examples")
    points: Literal["sphere", "normal"] = Field(
        "sphere", description="sphere: uniform of length 1; normal: N(0, I / d)"
    )


class Ntk(Experiment[NtkParams]):
    """Gradient descent on |f - y|^2 / 2, the sum over rows, f = a.relu(W x) / sqrt(n), y ~ N(0, 1).

    Every weight starts as N(0, 1). The kernel at the start, the relative change of the
    weights and the outputs differ from the limit by 1 / sqrt(n); the kernel itself moves by
    nearly 1 / n. linear_deviation and frozen_deviation hold the outputs against
    (I - lr K)^t (f_0 - y), which is true of plain "sgd" without schedule, momentum or decay.

    Reference: Jacot et al. 2018, arXiv:1806.07572; docs/lr_science.md.
    """

    name: ClassVar[str] = "ntk"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = NtkParams
    # float64: what moves by 1 / n is a small difference.
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.2,
        "steps": 400,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "kernel_error": Measure("|K - Theta| / |Theta|, Theta the kernel at infinite width"),
        "kernel_change": Measure("|K - K_0| / |K_0|, K_0 the kernel at the start"),
        "weight_change": Measure("|w - w_0| / |w_0| over all weights"),
        "linear_deviation": Measure("distance of the outputs from training under Theta, relative"),
        "frozen_deviation": Measure("distance of the outputs from training under K_0, relative"),
    }

    def model(self, params: NtkParams) -> nn.Module:
        """Return the two layers."""
        from phasecube.engine.models.two_layer_ntk import TwoLayerNtk

        return TwoLayerNtk(params.inputs, params.width)

    def init(self, model: nn.Module, params: NtkParams, stream: Stream) -> None:  # noqa: ARG002
        """Draw every weight from N(0, 1)."""
        from phasecube.engine.models.initialise import fill_normal

        fill_normal(model, {"first": 1.0, "second": 1.0}, stream)

    def data(self, params: NtkParams, stream: Stream) -> dict[str, Tensor]:
        """Return the examples, weights and outputs at the start, and both kernels with modes."""
        import torch
        from torch.func import functional_call

        from phasecube.engine.measures.ntk import tangent_kernel
        from phasecube.engine.tasks.ntk import Modes, limit_kernel

        x_RD = torch.as_tensor(stream.normal("inputs", (params.rows, params.inputs)))
        if params.points == "sphere":
            x_RD = x_RD / x_RD.norm(dim=1, keepdim=True)
        else:
            x_RD = x_RD / params.inputs**0.5
        model = self.model(params).to(x_RD.dtype)
        self.init(model, params, stream)
        start = {name: weight.detach() for name, weight in model.named_parameters()}
        f_R = functional_call(model, start, (x_RD,))
        kernels = {
            "limit": torch.as_tensor(limit_kernel(x_RD.numpy())),
            "start": tangent_kernel(lambda w: functional_call(model, dict(w), (x_RD,)), start),
        }
        found = {"x": x_RD, "y": torch.as_tensor(stream.normal("labels", (params.rows,)))}
        found |= {f"start.{name}": weight for name, weight in start.items()}
        found["residual"] = f_R - found["y"]
        for name, kernel_RR in kernels.items():
            modes = Modes.of(kernel_RR.numpy())
            found[f"{name}.kernel"] = kernel_RR
            found[f"{name}.values"] = torch.as_tensor(modes.value_M)
            found[f"{name}.vectors"] = torch.as_tensor(modes.vector_RM)
        return found

    def loss(self, trial: Trial) -> Tensor:
        """Return half the sum of squares, so that lr stands before the kernel without a factor."""
        return _residual(trial).square().sum() / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return how far kernel, weights and outputs are from the limit, and from the start."""
        import torch

        from phasecube.engine.measures.ntk import relative_distance, tangent_kernel

        data, found = trial.data, {}
        if wanted & {"kernel_error", "kernel_change"}:
            kernel_RR = tangent_kernel(lambda w: trial.at(w).model(data["x"]), trial.weights)
            found["kernel_error"] = relative_distance(kernel_RR, data["limit.kernel"])
            found["kernel_change"] = relative_distance(kernel_RR, data["start.kernel"])
        if "weight_change" in wanted:
            now, start = (
                torch.cat([t.flatten() for t in tensors])
                for tensors in (
                    trial.weights.values(),
                    [data[f"start.{name}"] for name in trial.weights],
                )
            )
            found["weight_change"] = relative_distance(now, start)
        for measure, kernel in (("linear_deviation", "limit"), ("frozen_deviation", "start")):
            if measure in wanted:
                apart_R = _residual(trial) - _linear_residual(trial, kernel)
                found[measure] = apart_R.norm() / data["residual"].norm()
        return {name: value for name, value in found.items() if name in wanted}


def _residual(trial: Trial) -> Tensor:
    residual_R: Tensor = trial.model(trial.data["x"]) - trial.data["y"]
    return residual_R


def _linear_residual(trial: Trial, kernel: str) -> Tensor:
    """Return (I - lr K)^t (f_0 - y) at the trial's step."""
    data = trial.data
    vector_RM = data[f"{kernel}.vectors"]
    share_M = (1 - trial.params.lr * data[f"{kernel}.values"]) ** trial.step
    residual_R: Tensor = vector_RM @ (share_M * (data["residual"] @ vector_RM))
    return residual_R
