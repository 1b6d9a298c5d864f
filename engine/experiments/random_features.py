"""A student of limited width that learns a linear teacher: scaling in width and data, solved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial
from phasecube.engine.params import VARIES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream


class RandomFeaturesParams(Params):
    """Width of the student, size of its sample, the two spectra, noise and ridge."""

    features: int = Field(64, ge=1, description="N: width of the student, random features")
    rows: int = Field(0, ge=0, description="P: training rows; 0: the whole law, endless data")
    coordinates: int = Field(2048, ge=1, description="M: inputs")
    spectrum_exponent: float = Field(
        1.5,
        gt=0,
        json_schema_extra={"static": True},
        description="b: input i has the variance i^-b",
    )
    task_exponent: float = Field(
        2.0,
        gt=1,
        json_schema_extra={"static": True},
        description="a: input i has i^-a of the labels' variance",
    )
    noise_scale: float = Field(0.0, ge=0, description="standard deviation of a label's noise")
    ridge: float = Field(
        0.0, ge=0, json_schema_extra=VARIES, description="the loss holds ridge |v|^2 / 2"
    )

    def faults(self) -> list[tuple[str, str]]:
        """Return a student that is wider than what it looks at."""
        if self.features <= self.coordinates:
            return []
        message = f"{self.features} features of {self.coordinates} inputs depend on each other"
        return [("features", message)]

    def warnings(self) -> list[tuple[str, str]]:
        """Return a task that the last inputs still hold much of."""
        size = min(self.features, self.rows or self.features)
        # Sums replaced by integrals: what lies beyond M inputs over what lies beyond N.
        beyond = (self.coordinates / size) ** (1 - self.task_exponent)
        if beyond < 0.1:
            return []
        return [
            (
                "coordinates",
                f"inputs end at {self.coordinates}, and the tail beyond {size} features or "
                f"rows lacks {beyond:.0%}: the error follows its closed form and no power law",
            )
        ]


class RandomFeatures(Experiment[RandomFeaturesParams]):
    """Train v in v.(x W) on labels of a linear teacher, W random and fixed; from v = 0.

    Input i has variance i^-b and i^-a of the labels. Full-batch gradient descent goes to ridge
    regression on W's N features, whose test error is known from the two spectra alone:
    `predicted_error`, after endless training. Without noise and ridge it falls as the smaller of
    N and P to the power -(a - 1). The largest eigenvalue of the features is about 1 for many
    features and rows, and some times that for few: without momentum a rate above 2 over it
    diverges.

    Reference: Simon, Karkada, Ghosh & Belkin 2023, arXiv:2311.14646; docs/scaling-experiments.md.
    """

    name: ClassVar[str] = "random_features"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = RandomFeaturesParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "lr": 0.3,
        "momentum": 0.9,
        "nesterov": True,
        "steps": 2000,
        "dtype": "float64",
    }
    # Forward 2 P N, backward the same again: no gradient of the inputs is asked for. The features
    # are made once. Endless data have as many equations as there are features.
    counts: ClassVar[Mapping[str, str]] = {
        "parameters": "features",
        "examples_per_step": "rows",
        "flop_per_step": "4 * features * (rows if rows > 0 else features)",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "test_error": Measure("expected squared error on a new noisy row"),
        "predicted_error": Measure("test error after endless training, from the spectra alone"),
    }

    def model(self, params: RandomFeaturesParams) -> nn.Module:
        """Return v.phi."""
        from phasecube.engine.models.linear import Linear

        return Linear(params.features)

    def init(self, model: nn.Module, params: RandomFeaturesParams, stream: Stream) -> None:
        """Start at 0: what the sample does not see is not learned."""

    def data(self, params: RandomFeaturesParams, stream: Stream) -> dict[str, Tensor]:
        """Return features and labels of the sample, and of each input by itself.

        All are scaled so that the mean square over the sample is a sum. Endless data are the
        normal equations of the whole law, N of them, and the `beyond` that none of them takes.
        """
        import numpy as np
        import torch

        from phasecube.engine.tasks.spectral_law import power_spectrum

        m, n, p = params.coordinates, params.features, params.rows
        deviation_M = power_spectrum(m, params.spectrum_exponent / 2)
        each_MN = deviation_M[:, None] * stream.normal("features", (m, n)) / n**0.5
        target_M = power_spectrum(m, params.task_exponent / 2)
        found = {"each": each_MN, "target": target_M, "beyond": np.zeros(())}
        if p == 0:
            basis_MN, x_NN = np.linalg.qr(each_MN)
            y_N = basis_MN.T @ target_M
            beyond = target_M @ target_M - y_N @ y_N + params.noise_scale**2
            found |= {"x": x_NN, "y": y_N, "beyond": np.asarray(beyond)}
        else:
            z_PM = stream.normal("rows", (p, m)) / p**0.5
            noise_P = params.noise_scale * stream.normal("noise", (p,)) / p**0.5
            found |= {"x": z_PM @ each_MN, "y": z_PM @ target_M + noise_P}
        return {name: torch.as_tensor(values) for name, values in found.items()}

    def loss(self, trial: Trial) -> Tensor:
        """Return half the mean squared error on the sample, and the ridge."""
        error_P: Tensor = trial.model(trial.data["x"]) - trial.data["y"]
        ridge = trial.params.ridge * trial.weights["weight"].square().sum()
        both: Tensor = error_P.square().sum() + trial.data["beyond"] + ridge
        return both / 2

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the error on the whole law of x, now and foretold."""
        import torch

        params, data = trial.params, trial.data
        noise = torch.as_tensor(params.noise_scale)
        found = {}
        if "test_error" in wanted:
            error_M = data["each"] @ trial.weights["weight"] - data["target"]
            found["test_error"] = error_M.square().sum() + noise**2
        if "predicted_error" in wanted:
            found["predicted_error"] = _predicted(trial)
        return found


def _predicted(trial: Trial) -> Tensor:
    import torch

    from phasecube.engine.tasks.random_features import predicted_error
    from phasecube.engine.tasks.spectral_law import power_spectrum

    params = trial.params
    spectrum_M, signal_M = (
        torch.as_tensor(power_spectrum(params.coordinates, exponent), device=trial.step.device)
        for exponent in (params.spectrum_exponent, params.task_exponent)
    )
    ridge, noise = (torch.as_tensor(v).double() for v in (params.ridge, params.noise_scale))
    rows = params.rows or math.inf
    found: Tensor = predicted_error(
        spectrum_M, signal_M, params.features, rows, ridge, noise, torch
    )
    return found.to(trial.weights["weight"].dtype)
