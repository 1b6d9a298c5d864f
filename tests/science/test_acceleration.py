"""Rates of accelerated gradient methods, a cycle of heavy ball, limits of stability (card A6)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from packs import grid, train
from pydantic import Field
from torch import Tensor, nn

from phasecube.engine.experiment import Experiment, Measure, Params

SMALLEST, LARGEST = 1.0, 100.0  # curvatures: mu and L
ROOT = (LARGEST / SMALLEST) ** 0.5
STEPS = 400


class Bowl(Experiment[Params]):
    """sum h w^2 / 2 from w = 1, ten curvatures h from mu to L in equal ratios."""

    name = "bowl"
    params_type = Params
    defaults: ClassVar[dict[str, Any]] = {"dtype": "float64"}
    measures: ClassVar[dict[str, Measure]] = {"distance": Measure("from the minimum")}

    def model(self, params: Params) -> nn.Module:
        module = nn.Module()
        module.w = nn.Parameter(torch.ones(10))
        return module

    def data(self, params: Params, stream: Any) -> dict[str, Tensor]:
        return {"curvature": torch.logspace(0, 2, 10, dtype=torch.float64)}

    def loss(self, trial: Any) -> Tensor:
        return (trial.data["curvature"] * trial.weights["w"].square()).sum() / 2

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        return {"distance": trial.weights["w"].square().sum().sqrt()}


class StartParams(Params):
    start: float = Field(1.0)


class Kink(Experiment[StartParams]):
    """Lessard, Recht and Packard 2016: curvature 25 but for 1 <= x < 2, where it is 1."""

    name = "kink"
    params_type = StartParams
    defaults: ClassVar[dict[str, Any]] = {"dtype": "float64"}
    measures: ClassVar[dict[str, Measure]] = {"place": Measure("x")}

    def model(self, params: StartParams) -> nn.Module:
        module = nn.Module()
        module.x = nn.Parameter(torch.zeros(()))
        return module

    def init(self, model: nn.Module, params: StartParams, stream: Any) -> None:
        with torch.no_grad():
            model.x.fill_(params.start)

    def data(self, params: StartParams, stream: Any) -> dict[str, Tensor]:
        return {}

    def loss(self, trial: Any) -> Tensor:
        x = trial.weights["x"]
        outer = torch.where(x < 1, 25 * x.square() / 2, 25 * x.square() / 2 - 24 * x + 36)
        return torch.where((x >= 1) & (x < 2), x.square() / 2 + 24 * x - 12, outer)

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        return {"place": trial.weights["x"]}


class Well(Kink):
    """x^2 / 2 from x = 1."""

    name = "well"

    def loss(self, trial: Any) -> Tensor:
        return trial.weights["x"].square() / 2


def triple(smallest: float, largest: float) -> dict[str, Any]:
    r = 1 - (smallest / largest) ** 0.5
    return {
        "optimizer": "triple_momentum",
        "lr": (1 + r) / largest,
        "momentum": r**2 / (2 - r),
        "lookahead": r**2 / ((1 + r) * (2 - r)),
    }


def nesterov(smallest: float, largest: float) -> dict[str, Any]:
    root = (largest / smallest) ** 0.5
    return {"lr": 1 / largest, "momentum": (root - 1) / (root + 1), "nesterov": True}


def heavy_ball(smallest: float, largest: float) -> dict[str, Any]:
    roots = largest**0.5 + smallest**0.5, largest**0.5 - smallest**0.5
    return {"lr": 4 / roots[0] ** 2, "momentum": (roots[1] / roots[0]) ** 2}


# method: (its tuning, its contraction a step, tolerance). Heavy ball and Nesterov have double
# roots, which put a factor of t to the power: over the second half d ln t / dt = ln 2 / 200 =
# .35 %. Gradient descent and triple momentum have simple ones.
RATES = {
    "gradient descent": (
        {"lr": 2 / (LARGEST + SMALLEST)},
        (ROOT**2 - 1) / (ROOT**2 + 1),
        1e-2,
    ),
    "nesterov": (nesterov(SMALLEST, LARGEST), 1 - 1 / ROOT, 5e-3),
    "heavy ball": (heavy_ball(SMALLEST, LARGEST), (ROOT - 1) / (ROOT + 1), 5e-3),
    "triple momentum": (triple(SMALLEST, LARGEST), 1 - 1 / ROOT, 1e-4),
}


def rate(distance_S: np.ndarray) -> float:
    """Return the contraction a step over the second half."""
    half = len(distance_S) // 2
    slope = np.polyfit(np.arange(half, len(distance_S)), np.log(distance_S[half:]), 1)[0]
    return float(np.exp(slope))


@pytest.mark.parametrize("method", RATES)
def test_a_tuned_method_contracts_at_its_rate(method: str) -> None:
    tuning, expected, tolerance = RATES[method]
    _, found = train(Bowl(), grid(seed=[0]), STEPS, **tuning)
    assert rate(found["distance"][0]) == pytest.approx(expected, rel=tolerance)


def places(starts: list[float], **tuning: Any) -> np.ndarray:
    return train(Kink(), grid(start=starts), STEPS, **tuning)[1]["place"]


def cycle(lr: float, momentum: float) -> np.ndarray:
    """Return the cycle of x' = x + b (x - x_before) - lr f'(x) with its last point in x >= 2."""
    matrix, right = np.zeros((3, 3)), np.zeros(3)
    for here, constant in enumerate((0.0, 0.0, -24.0)):
        before, after = (here - 1) % 3, (here + 1) % 3
        matrix[here, after] += 1
        matrix[here, here] -= 1 + momentum - 25 * lr
        matrix[here, before] += momentum
        right[here] = -lr * constant
    return np.linalg.solve(matrix, right)


def test_heavy_ball_tuned_for_quadratics_locks_on_a_cycle_of_three() -> None:
    tuning = heavy_ball(1.0, 25.0)
    assert (tuning["lr"], tuning["momentum"]) == (pytest.approx(1 / 9), pytest.approx(4 / 9))
    expected = cycle(tuning["lr"], tuning["momentum"])
    assert expected == pytest.approx([0.6465, -1.8024, 2.1159], abs=1e-4)
    for found in places([3.07, 3.3, 3.46], **tuning)[:, -3:]:
        turned = np.roll(found, -(1 + int(found.argmax())))
        assert turned == pytest.approx(expected, abs=1e-12)


def test_heavy_ball_converges_from_elsewhere() -> None:
    assert np.abs(places([1.5, 2.5], **heavy_ball(1.0, 25.0))[:, -1]).max() < 1e-12


@pytest.mark.parametrize("tuning", [nesterov(1.0, 25.0), triple(1.0, 25.0)])
def test_nesterov_and_triple_momentum_converge_from_where_heavy_ball_does_not(tuning) -> None:
    assert np.abs(places([3.07, 3.3, 3.46], **tuning)[:, -1]).max() < 1e-12


def test_triple_momentum_keeps_its_rate_on_a_function_that_is_no_quadratic() -> None:
    found = np.abs(places([3.07, 3.3, 3.46], **triple(1.0, 25.0)))
    # The theorem bounds it by r = 1 - 1 / sqrt 25; rounding of the fit is below 1e-9.
    assert all(rate(place_S) <= 0.8 + 1e-9 for place_S in found)


@pytest.mark.parametrize("is_nesterov", [False, True])
def test_momentum_is_stable_up_to_its_limit(is_nesterov: bool) -> None:
    """lr * curvature below 2 (1 + b), with Nesterov's momentum below 2 (1 + b) / (1 + 2 b)."""
    momenta = [0.1, 0.5, 0.9]
    trials = [
        {"momentum": b, "lr": share * 2 * (1 + b) / (1 + 2 * b if is_nesterov else 1)}
        for b in momenta
        for share in (0.999, 1.001)
    ]
    # The root near -1 is off by .001 * 2 (1 + b) / (1 - b), or with Nesterov by no less than
    # .001: over 3,000 steps a factor of e^3.
    _, found = train(Well(), trials, 3000, 1500, nesterov=is_nesterov)
    place = np.abs(found["place"])
    grown = place[:, 2] > place[:, 1]
    assert grown.tolist() == [False, True] * len(momenta)
