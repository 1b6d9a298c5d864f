"""Deep networks at their start: does a signal survive the way through all layers?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class CriticalityParams(Params):
    """The network and the laws that its weights and biases are drawn from."""

    activation: Literal["relu", "tanh", "linear"] = Field("relu", description="nonlinearity")
    width: int = Field(64, ge=1, description="n: units of a layer, and inputs")
    depth: int = Field(16, ge=2, description="L: layers")
    weight_variance: float = Field(2.0, gt=0, description="C_W: weights are N(0, C_W / n)")
    bias_variance: float = Field(0.0, ge=0, description="C_b: biases are N(0, C_b)")
    input_square: float = Field(1.0, gt=0, description="mean square of the one input's entries")


class Criticality(Experiment[CriticalityParams]):
    """One input on its way through a deep MLP with random weights; nothing is trained (lr 0).

    The loss is a random linear readout of the last layer, whose gradient is sent back.
    q_l is the mean square of layer l before the nonlinearity. At infinite width it follows
    `variances` in `phasecube.engine.tasks.criticality`: ReLU networks keep it for C_W = 2
    and C_b = 0 only. At width n its logarithm spreads with depth / width. Gradients grow
    by the perpendicular susceptibility a layer, which is 1 on the edge of chaos.

    Reference: Roberts, Yaida & Hanin 2021, arXiv:2106.10165; docs/lr_science.md.
    """

    name: ClassVar[str] = "criticality"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = CriticalityParams
    # float64: q passes 50 orders of magnitude on the way through 100 layers.
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.0,
        "steps": 1,
        "dtype": "float64",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "log_q_last": Measure("log of the mean square of the last layer, before the nonlinearity"),
        "log_chi": Measure("growth of the gradient's mean square, log per layer towards the input"),
        "log_q": Measure("log of the mean square before the nonlinearity", dim="layer"),
        "log_q_excess": Measure("log_q less its limit at infinite width", dim="layer"),
        "log_gradient": Measure("log of the squared gradient of the readout", dim="layer"),
    }

    def model(self, params: CriticalityParams) -> nn.Module:
        """Return the network; it gives the sums of every layer."""
        from phasecube.engine.models.deep_mlp import DeepMlp

        return DeepMlp(params.width, params.depth, params.activation)

    def init(self, model: nn.Module, params: CriticalityParams, stream: Stream) -> None:
        """Draw weights and biases; trials of one seed differ in their scale only."""
        from phasecube.engine.models.initialise import fill_normal

        std = {
            "weight": (params.weight_variance / params.width) ** 0.5,
            "bias": params.bias_variance**0.5,
        }
        fill_normal(model, std, stream)

    def data(self, params: CriticalityParams, stream: Stream) -> dict[str, Tensor]:
        """Return the input, the readout, and the limit of log_q in every layer."""
        import torch

        from phasecube.engine.tasks.criticality import variances

        x_N = torch.as_tensor(stream.normal("input", (params.width,)))
        x_N = x_N * (params.width * params.input_square) ** 0.5 / x_N.norm()
        # The first layer reads the input itself.
        first = params.bias_variance + params.weight_variance * params.input_square
        limit_L = variances(
            params.activation, first, params.depth, params.weight_variance, params.bias_variance
        )
        readout_N = torch.as_tensor(stream.normal("readout", (params.width,)))
        return {"x": x_N, "readout": readout_N, "log_q_limit": torch.as_tensor(limit_L).log()}

    def loss(self, trial: Trial) -> Tensor:
        """Return the readout: not a function of z_L alone, whose gradient would know W_L."""
        z_LN: Tensor = trial.model(trial.data["x"])
        return z_LN[-1] @ trial.data["readout"]

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return mean squares of every layer and of the gradients by them, in logarithms."""
        log_q_L = trial.model(trial.data["x"]).square().mean(-1).log()
        # A bias is added to z, so its gradient is that of z.
        log_gradient_L = trial.gradient["bias"].square().sum(-1).log()
        found = {
            "log_q_last": log_q_L[-1],
            "log_chi": (log_gradient_L[0] - log_gradient_L[-1]) / (len(log_gradient_L) - 1),
            "log_q": log_q_L,
            "log_q_excess": log_q_L - trial.data["log_q_limit"],
            "log_gradient": log_gradient_L,
        }
        return {name: value for name, value in found.items() if name in wanted}

    def labels(self, measure: str, params: CriticalityParams) -> tuple[str, ...]:  # noqa: ARG002
        """Return the layers' numbers."""
        return tuple(str(layer) for layer in range(1, params.depth + 1))
