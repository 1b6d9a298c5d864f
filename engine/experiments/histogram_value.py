"""Values learned as numbers or as histograms, from targets with noise and outliers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class HistogramValueParams(Params):
    """The loss and its bins, the targets, and the network."""

    loss: Literal["mse", "two_hot", "hl_gauss"] = Field(
        "hl_gauss",
        description="mse: squared error of one output; two_hot, hl_gauss: cross-entropy with the"
        " target shared among two bins, or among all as a normal law",
    )
    bins: int = Field(51, ge=3, description="K: bins of the histogram; mse has none")
    bound: float = Field(4.0, gt=0, description="bins reach from -bound to bound, targets too")
    sigma_ratio: float = Field(
        0.75, ge=0.01, description="hl_gauss: standard deviation of the law in widths of a bin"
    )
    noise: float = Field(0.1, ge=0, description="standard deviation of the targets' noise")
    outlier_share: float = Field(
        0.0, ge=0, le=1, description="p: chance that a target is uniform on the support instead"
    )
    rows: int = Field(256, ge=1, description="examples, drawn once")
    batch: int = Field(32, ge=0, description="examples a step, with replacement; 0: all rows")
    test_rows: int = Field(256, ge=1, description="examples of test_error")
    inputs: int = Field(4, ge=1, description="numbers an example has, N(0, I)")
    teacher_units: int = Field(4, ge=1, description="tanh units of the target function")
    width: int = Field(32, ge=1, description="units of each hidden layer")
    hidden_layers: int = Field(2, ge=1, description="hidden layers")

    def warnings(self) -> list[tuple[str, str]]:
        """Return bins that are wider than what they are to resolve."""
        width = 2 * self.bound / self.bins
        if self.loss == "hl_gauss" and self.sigma_ratio * width > self.bound / 2:
            return [
                (
                    "sigma_ratio",
                    f"a law of {self.sigma_ratio * width:g} does not fit the support; means are "
                    "pulled to its middle",
                )
            ]
        return []


class HistogramValue(Experiment[HistogramValueParams]):
    """Regression on sum_u tanh(2 w_u.x) / sqrt(units), by squared error or by cross-entropy.

    Targets y = f(x) + noise, a share of them outliers, all cut to [-bound, bound]. HL-Gauss: the
    share of bin i is the normal law's around y, sigma = sigma_ratio widths, over its mass in
    the support; two-hot: y between two centres shares linearly. The prediction is the mean of
    the predicted histogram. `engine.tasks.histogram_value` has what a histogram loses.

    Under outliers all of these losses have their best at E[y | x]: what differs is the way there.
    A row pulls at the outputs by |f - y| under squared error, by at most sqrt(2) else.

    Reference: Imani & White 2018, arXiv:1806.04613; Farebrother et al. 2024, arXiv:2403.03950,
    section 3. Their values are bootstrapped or of data sets; this regression is ours.
    """

    name: ClassVar[str] = "histogram_value"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = HistogramValueParams
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "adam", "lr": 3e-3, "steps": 1000}
    measures: ClassVar[Mapping[str, Measure]] = {
        "test_error": Measure("mean squared distance of the prediction from f, new examples"),
        "train_error": Measure("mean squared distance of the prediction from the rows' targets"),
        "largest_pull": Measure("largest gradient of a row's loss by the outputs, norm"),
    }

    def model(self, params: HistogramValueParams) -> nn.Module:
        """Return the network: one output, or one for each bin."""
        from phasecube.engine.models.value_network import ValueNetwork

        outputs = 1 if params.loss == "mse" else params.bins
        return ValueNetwork(params.inputs, params.width, params.hidden_layers, outputs)

    def init(self, model: nn.Module, params: HistogramValueParams, stream: Stream) -> None:  # noqa: ARG002
        """Draw weights and biases uniformly up to 1 / sqrt(fan in), as torch does."""
        from phasecube.engine.models.initialise import fill_uniform

        weights = dict(model.named_parameters())
        fan_in = {name: weights[name.replace("bias", "weight")].shape[-1] for name in weights}
        fill_uniform(model, {name: n**-0.5 for name, n in fan_in.items()}, stream)

    def data(self, params: HistogramValueParams, stream: Stream) -> dict[str, Tensor]:
        """Return rows with their targets, and test rows with f."""
        import torch

        from phasecube.engine.tasks.regression import tanh_teacher

        def drawn(purpose: str, rows: int) -> tuple[Tensor, Tensor]:
            x_RI = torch.as_tensor(stream.normal(purpose, (rows, params.inputs)))
            return x_RI, tanh_teacher(x_RI, teacher_UI, 2.0)

        shape = (params.teacher_units, params.inputs)
        teacher_UI = torch.as_tensor(stream.normal("teacher", shape)) / params.inputs**0.5
        x_RI, f_R = drawn("rows", params.rows)
        y_R = f_R + params.noise * torch.as_tensor(stream.normal("noise", (params.rows,)))
        anywhere_R = torch.as_tensor(stream.uniform("outliers", (params.rows,))) * 2 - 1
        is_outlier_R = torch.as_tensor(stream.uniform("is outlier", (params.rows,)))
        is_outlier_R = is_outlier_R < params.outlier_share
        y_R = torch.where(is_outlier_R, params.bound * anywhere_R, y_R)
        test_x_RI, test_y_R = drawn("test", params.test_rows)
        y_R = y_R.clamp(-params.bound, params.bound)
        return {"x": x_RI, "y": y_R, "test_x": test_x_RI, "test_y": test_y_R}

    def loss(self, trial: Trial) -> Tensor:
        """Return half the squared error, or the cross-entropy, mean over the batch."""
        params, data = trial.params, trial.data
        x_RI, y_R = data["x"], data["y"]
        if params.batch:
            row_B = trial.rng.integers("batch", params.rows, (params.batch,))
            x_RI, y_R = x_RI[row_B], y_R[row_B]
        out_RO: Tensor = trial.model(x_RI)
        if params.loss == "mse":
            return (out_RO[:, 0] - y_R).square().mean() / 2
        return -(_target(params, y_R) * out_RO.log_softmax(-1)).sum(-1).mean()

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the errors of the predictions, and the largest pull of a row."""
        params, data = trial.params, trial.data
        out_RO = trial.model(data["x"])
        if params.loss == "mse":
            pull_R = (out_RO[:, 0] - data["y"]).abs()
        else:
            pull_R = (out_RO.softmax(-1) - _target(params, data["y"])).square().sum(-1).sqrt()
        test_R = _predicted(params, trial.model(data["test_x"]))
        return {
            "test_error": (test_R - data["test_y"]).square().mean(),
            "train_error": (_predicted(params, out_RO) - data["y"]).square().mean(),
            "largest_pull": pull_R.amax(),
        }


def _centres(params: Any, like: Tensor) -> Tensor:
    import torch

    place_K = torch.arange(params.bins, device=like.device).to(like.dtype) + 0.5
    centre_K: Tensor = params.bound * (2 * place_K / params.bins - 1)
    return centre_K


def _target(params: Any, y_R: Tensor) -> Tensor:
    """Return the histogram of each target, [rows, bins]."""
    import torch

    width, centre_K = 2 * params.bound / params.bins, _centres(params, y_R)
    if params.loss == "two_hot":
        inside_R = torch.minimum(torch.maximum(y_R, centre_K[0]), centre_K[-1])
        away_RK: Tensor = (inside_R.unsqueeze(-1) - centre_K).abs() / width
        return (1 - away_RK).clamp(min=0)
    edge_E = torch.cat((centre_K - width / 2, centre_K[-1:] + width / 2))
    away_RE = (edge_E - y_R.unsqueeze(-1)) / (2**0.5 * params.sigma_ratio * width)
    below_RE = torch.erf(away_RE) / 2
    share_RK: Tensor = below_RE.diff(dim=-1) / (below_RE[:, -1:] - below_RE[:, :1])
    return share_RK


def _predicted(params: Any, out_RO: Tensor) -> Tensor:
    """Return the predicted value of each row."""
    if params.loss == "mse":
        return out_RO[:, 0]
    mean_R: Tensor = out_RO.softmax(-1) @ _centres(params, out_RO)
    return mean_R
