"""Lion solves min f(x) in the box |x| <= 1 / weight_decay (card A5; arXiv:2310.05898)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packs import grid, train
from torch import Tensor, nn

from phasecube.engine.experiment import Experiment, Measure, Params
from phasecube.engine.optimizers.choose import hyperparameters, update_rule
from phasecube.engine.params import RunParams
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout

DIMENSION = 50
DECAY = 2.0
LR = 1e-2
STEPS = 4000
ANY = st.floats(-1e3, 1e3)
LANES = 5


class Quadratic(Experiment[Params]):
    """|x - c|^2 / 2 from x = c_0, both N(0, 1): about a third of c lies within the box of 1/2."""

    name = "quadratic_in_a_box"
    params_type = Params
    defaults: ClassVar[dict[str, Any]] = {
        "optimizer": "lion",
        "beta2": 0.99,
        "lr": LR,
        "weight_decay": DECAY,
        "dtype": "float64",
    }
    measures: ClassVar[dict[str, Measure]] = {
        "deviation": Measure("largest distance of a coordinate from its place in the box"),
        "extent": Measure("largest coordinate, in units of the box"),
        "inside": Measure("largest gradient of a coordinate inside the box"),
        "outward": Measure("smallest pull outwards of a coordinate on the box"),
        "at_border": Measure("coordinates on the box"),
    }

    def model(self, params: Params) -> nn.Module:
        module = nn.Module()
        module.x = nn.Parameter(torch.zeros(DIMENSION))
        return module

    def init(self, model: nn.Module, params: Params, stream: Any) -> None:
        with torch.no_grad():
            model.x.copy_(torch.as_tensor(stream.normal("start", (DIMENSION,))))

    def data(self, params: Params, stream: Any) -> dict[str, Tensor]:
        return {"centre": torch.as_tensor(stream.normal("centre", (DIMENSION,)))}

    def loss(self, trial: Any) -> Tensor:
        return (trial.weights["x"] - trial.data["centre"]).square().sum() / 2

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        x, centre = trial.weights["x"], trial.data["centre"]
        gradient = x - centre
        border = centre.abs() > 1 / DECAY
        return {
            "deviation": (x - centre.clamp(-1 / DECAY, 1 / DECAY)).abs().max(),
            "extent": (DECAY * x).abs().max(),
            "inside": torch.where(border, 0.0, gradient.abs()).max(),
            "outward": torch.where(border, -gradient * x.sign(), torch.inf).min(),
            "at_border": border.sum().to(x.dtype),
        }


@given(
    st.lists(st.tuples(ANY, ANY, ANY), min_size=LANES, max_size=LANES),
    st.floats(0.01, 10),
    st.floats(0, 1),
    st.floats(0, 0.999),
)
def test_whatever_the_gradient_a_weight_nears_the_box_by_its_share(
    drawn: list[tuple[float, float, float]], decay: float, product: float, beta1: float
) -> None:
    """|lam x'| - 1 <= (1 - lr lam)(|lam x| - 1), of any weight, gradient and momentum."""
    known = RunParams(
        optimizer="lion", lr=product / decay, weight_decay=decay, beta1=beta1, beta2=0.99
    ).model_dump()
    layout = WeightLayout(("x",), (torch.Size([1]),), (slice(0, 1),))
    rule = update_rule(
        hyperparameters(
            Trials(np.arange(LANES), known, {}), layout, torch.float64, torch.device("cpu")
        )
    )
    scaled, gradient, momentum = torch.tensor(drawn, dtype=torch.float64).unbind(1)
    x_K1 = scaled.unsqueeze(-1) / decay
    before = decay * x_K1.abs() - 1
    rule.update(x_K1, gradient.unsqueeze(-1), {"momentum": momentum.unsqueeze(-1)}, 0)
    # A few roundings of numbers below 1e3.
    assert (decay * x_K1.abs() - 1 - (1 - product) * before).max() <= 1e-12


def test_at_a_constant_rate_the_limit_is_the_centre_cut_to_the_box_within_the_rate() -> None:
    _, found = train(Quadratic(), grid(seed=[0, 1, 2], lr=[LR, LR / 4]), STEPS, STEPS)
    rates = np.array([LR, LR / 4] * 3)
    ratio = found["deviation"][:, -1] / rates
    assert ((ratio >= 0.5) & (ratio <= 2)).all(), ratio


@pytest.fixture(scope="module")
def decayed() -> dict[str, np.ndarray]:
    schedule = {"schedule": "wsd", "decay_fraction": 1.0}  # linear to zero from the first step on
    _, found = train(Quadratic(), grid(seed=[0, 1, 2]), STEPS, STEPS, **schedule)
    return {name: curve[:, -1] for name, curve in found.items()}


# The sign answers to what it averages, 1 / (1 - beta1) = 10 steps, and in constant steps the
# deviation is below two of them: so below 2 lr / STEPS * 10 where the rate falls to zero.
LEFT = 2 * LR / STEPS * 10


def test_at_a_rate_that_falls_to_zero_the_limit_is_the_centre_cut_to_the_box(decayed) -> None:
    assert decayed["deviation"].max() <= LEFT
    assert decayed["extent"] == pytest.approx(1.0, abs=1e-9)


def test_the_limit_is_a_kkt_point(decayed) -> None:
    assert (decayed["at_border"] > 10).all()
    assert (decayed["at_border"] < DIMENSION - 10).all()
    assert decayed["inside"].max() <= LEFT
    assert decayed["outward"].min() > 0
