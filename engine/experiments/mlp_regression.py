"""A multi-layer perceptron learns a function of real inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream

PROBE_ROWS = 32  # test rows on which a layer's change since the start is looked at


class MlpRegressionParams(Params):
    """Target, data, network and how the network is scaled with its width."""

    task: Literal["chebyshev", "tanh_sum", "teacher"] = Field(
        "chebyshev",
        description="chebyshev: T_degree(x); tanh_sum: sum_i tanh(x_i) / sqrt(inputs);"
        " teacher: sum_u tanh(gain w_u.x) / sqrt(units), w_u ~ N(0, I / inputs) drawn once",
    )
    degree: int = Field(4, ge=0, description="chebyshev: degree of the polynomial")
    teacher_units: int = Field(4, ge=1, description="teacher: hidden units")
    teacher_gain: float = Field(
        1.0, ge=0, description="teacher: standard deviation of what its tanh is applied to"
    )
    target_scale: float = Field(1.0, gt=0, description="factor on the target")
    inputs: int = Field(1, ge=1, description="numbers an example has; chebyshev: 1")
    rows: int = Field(20, ge=0, description="examples of the data set; 0: each is drawn anew")
    batch: int = Field(0, ge=0, description="examples a step, drawn with replacement; 0: all rows")
    test_rows: int = Field(256, ge=1, description="examples of test_loss, drawn once")
    width: int = Field(32, ge=1, description="units of each hidden layer")
    hidden_layers: int = Field(2, ge=1, description="hidden layers")
    activation: Literal["tanh", "relu", "identity"] = Field("tanh", description="nonlinearity")
    bias: bool = Field(True, description="whether each layer has biases, as torch's Linear")
    init: Literal["torch", "normal_fan_in"] = Field(
        "torch",
        description="torch: weights and biases uniform up to 1 / sqrt(inputs of the layer);"
        " normal_fan_in: weights of std 1 / sqrt(inputs of the layer), biases 0",
    )
    parametrization: Literal["standard", "mup", "mup_sgd"] = Field(
        "standard",
        description="how start, output and lr follow the width; mup: for adam, adamw,"
        " adamw_8bit and lion; mup_sgd: for sgd and triple_momentum",
    )
    base_width: int = Field(
        32, ge=1, description="mup, mup_sgd: the width at which they are the standard one"
    )

    def faults(self) -> list[tuple[str, str]]:
        """Return what has no examples, or inputs that the target cannot take."""
        found = []
        if self.task == "chebyshev" and self.inputs != 1:
            found.append(("inputs", f"chebyshev is a function of 1 number, not {self.inputs}"))
        if self.rows == 0 and self.batch == 0:
            found.append(("batch", "rows = 0 draws each example anew; say how many a step"))
        return found


class MlpRegression(Experiment[MlpRegressionParams]):
    """Loss: mean of (f - y)^2 / 2 over all rows, over a batch of them, or over new examples.

    Inputs are N(0, I); those of chebyshev lie evenly spaced on [-1, 1] where `rows` is not
    0, as in the data sets of Cohen et al., and are uniform there otherwise. The defaults
    are the protocol of the edge of stability: 1-32-32-1, tanh, T_4 on 20 points.

    mup is the maximal update parametrization: with m = width / base_width, what the head
    reads is divided by m; head weights and biases start as at the base width; and lr is
    divided by m for the weights between hidden layers (mup), or multiplied by m for biases
    of hidden layers and the weights of input and head (mup_sgd). Decoupled decay of a
    weight follows its lr; to decay alike at every width take independent_weight_decay, as
    lr * weight_decay of MuAdamW does not change with the width either.

    Reference: Cohen et al. 2021, arXiv:2103.00065; Yang et al. 2022, arXiv:2203.03466,
    table 8; docs/lr_science.md.
    """

    name: ClassVar[str] = "mlp_regression"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = MlpRegressionParams
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "sgd", "lr": 0.1, "steps": 1000}
    measures: ClassVar[Mapping[str, Measure]] = {
        "test_loss": Measure("mean of (f - y)^2 / 2 over the test examples"),
        "layer_rms": Measure(
            "root mean square of a layer's output before the activation",
            dim="layer",
            recorded=False,
        ),
        "layer_change": Measure(
            "root mean square of a layer's change since the start, before the activation",
            dim="layer",
            recorded=False,
        ),
    }

    def model(self, params: MlpRegressionParams) -> nn.Module:
        """Return the network that reads [rows, inputs] and gives f [rows]."""
        from phasecube.engine.models.mlp import Mlp

        return Mlp(
            params.inputs,
            params.width,
            params.hidden_layers,
            activation=params.activation,
            bias=params.bias,
            output_multiplier=1 / _width_multiplier(params),
        )

    def init(self, model: nn.Module, params: MlpRegressionParams, stream: Stream) -> None:
        """Draw the weights as `init` says; under mup some of them as at the base width."""
        from phasecube.engine.models.initialise import fill_normal, fill_uniform

        spread = {name: _fan_in(name, params) ** -0.5 for name, _ in model.named_parameters()}
        if params.init == "torch":
            fill_uniform(model, spread, stream)
        else:
            zero = {name: 0.0 for name in spread if name.endswith("bias")}
            fill_normal(model, spread | zero, stream)

    def lr_factor(self, params: MlpRegressionParams) -> Mapping[str, float]:
        """Return the learning rates of muP over that of the base width."""
        m = _width_multiplier(params)
        hidden = [f"hidden.{i}" for i in range(params.hidden_layers - 1)]
        if params.parametrization == "mup":
            return {f"{name}.weight": 1 / m for name in hidden}
        if params.parametrization == "mup_sgd":
            biases = [f"{name}.bias" for name in ("input", *hidden) if params.bias]
            return dict.fromkeys(("input.weight", *biases, "head.weight"), m)
        return {}

    def data(self, params: MlpRegressionParams, stream: Stream) -> dict[str, Tensor]:
        """Return the data set, the test examples, the teacher and the probes' first outputs."""
        import torch

        found: dict[str, Tensor] = {}
        if params.task == "teacher":
            direction_UI = stream.normal("teacher", (params.teacher_units, params.inputs))
            found["teacher"] = torch.as_tensor(direction_UI) / params.inputs**0.5
        if params.rows and params.task == "chebyshev":
            found["x"] = torch.linspace(-1, 1, params.rows, dtype=torch.float64).unsqueeze(-1)
        elif params.rows:
            found["x"] = torch.as_tensor(_inputs(stream, "inputs", params.rows, params))
        found["test_x"] = torch.as_tensor(_inputs(stream, "test", params.test_rows, params))
        for name in ("x", "test_x"):
            if name in found:
                found[name.replace("x", "y")] = _target(found[name], params, found)
        start = self.model(params).to(torch.float64)
        self.init(start, params, stream)
        with torch.no_grad():
            outputs = start(found["test_x"][:PROBE_ROWS], True)
        names = self.labels("layer_change", params)
        return found | {f"start.{n}": out for n, out in zip(names, outputs, strict=True)}

    def loss(self, trial: Trial) -> Tensor:
        """Return half the mean square of f - y over the step's examples."""
        params, data = trial.params, trial.data
        if params.rows == 0:
            x_RI = _inputs(trial.rng, "batch", params.batch, params)
            return _half_mse(trial, x_RI, _target(x_RI, params, data))
        if params.batch == 0:
            return _half_mse(trial, data["x"], data["y"])
        row_B = trial.rng.integers("batch", params.rows, (params.batch,))
        return _half_mse(trial, data["x"][row_B], data["y"][row_B])

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the loss on the test examples, and what the layers do on the first of them."""
        import torch

        from phasecube.engine.measures.activations import rms

        data, found = trial.data, {}
        if "test_loss" in wanted:
            found["test_loss"] = _half_mse(trial, data["test_x"], data["test_y"])
        if wanted & {"layer_rms", "layer_change"}:
            now = trial.model(data["test_x"][:PROBE_ROWS], True)
            names = self.labels("layer_change", trial.params)
            moved = [out - data[f"start.{n}"] for n, out in zip(names, now, strict=True)]
            found["layer_rms"] = torch.stack([rms(out) for out in now])
            found["layer_change"] = torch.stack([rms(out) for out in moved])
        return found

    def labels(self, measure: str, params: MlpRegressionParams) -> tuple[str, ...]:  # noqa: ARG002
        """Return the names of the layers from input to output."""
        return ("input", *(f"hidden.{i}" for i in range(params.hidden_layers - 1)), "head")


def _width_multiplier(params: MlpRegressionParams) -> float:
    return 1.0 if params.parametrization == "standard" else params.width / params.base_width


def _fan_in(name: str, params: MlpRegressionParams) -> int:
    """Return the inputs of the layer that holds a weight; under mup those of the base width,
    except for matrices between hidden layers, of which both sides grow."""
    layer, _, kind = name.rpartition(".")
    if layer == "input":
        return params.inputs
    as_base = params.parametrization != "standard" and (layer == "head" or kind == "bias")
    return params.base_width if as_base else params.width


def _inputs(stream: Stream, purpose: str, rows: int, params: Any) -> Any:
    if params.task == "chebyshev":
        return 2 * stream.uniform(purpose, (rows, 1)) - 1
    return stream.normal(purpose, (rows, params.inputs))


def _target(x_RI: Tensor, params: Any, data: Mapping[str, Tensor]) -> Tensor:
    from phasecube.engine.tasks import regression

    if params.task == "chebyshev":
        target_R = regression.chebyshev(x_RI[:, 0], params.degree)
    elif params.task == "tanh_sum":
        target_R = regression.tanh_sum(x_RI)
    else:
        target_R = regression.tanh_teacher(x_RI, data["teacher"], params.teacher_gain)
    scaled_R: Tensor = params.target_scale * target_R
    return scaled_R


def _half_mse(trial: Trial, x_RI: Tensor, y_R: Tensor) -> Tensor:
    error_R: Tensor = trial.model(x_RI) - y_R
    return error_R.square().mean() / 2
