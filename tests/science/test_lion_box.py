"""Lion solves min f(x) in the box |x| <= 1 / weight_decay (card A5; arXiv:2310.05898)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packs import grid, train

from phasecube.engine.experiments.boxed_quadratic import BoxedQuadratic
from phasecube.engine.optimizers.choose import hyperparameters, update_rule
from phasecube.engine.params import RunParams
from phasecube.engine.schedules import Schedule
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout

LR = 1e-2
STEPS = 4000
ANY = st.floats(-1e3, 1e3)
LANES = 5


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
    _, found = train(BoxedQuadratic(), grid(seed=[0, 1, 2], lr=[LR, LR / 4]), STEPS, STEPS)
    rates = np.array([LR, LR / 4] * 3)
    ratio = found["deviation"][:, -1] / rates
    assert ((ratio >= 0.5) & (ratio <= 2)).all(), ratio


@pytest.fixture(scope="module")
def decayed() -> dict[str, np.ndarray]:
    schedule = {"schedule": "wsd", "decay_fraction": 1.0}  # linear to zero from the first step on
    _, found = train(BoxedQuadratic(), grid(seed=[0, 1, 2]), STEPS, STEPS, **schedule)
    return {name: curve[:, -1] for name, curve in found.items()}


# The sign answers to what it averages, 1 / (1 - beta1) = 10 steps, and in constant steps the
# deviation is below two of them: so below 2 lr / STEPS * 10 where the rate falls to zero.
LEFT = 2 * LR / STEPS * 10


def test_at_a_rate_that_falls_to_zero_the_limit_is_the_centre_cut_to_the_box(decayed) -> None:
    assert decayed["deviation"].max() <= LEFT
    assert decayed["box_excess"] == pytest.approx(0.0, abs=1e-9)


def test_the_limit_is_a_kkt_point(decayed) -> None:
    """The gradient is zero inside the box, and on it pulls outwards: sign(gradient) = -sign(x)."""
    assert decayed["inside_gradient"].max() <= LEFT
    assert decayed["outward_pull"].min() > 0 and np.isfinite(decayed["outward_pull"]).all()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_run_from_far_outside_enters_the_box_by_its_share_at_every_step(schedule: str) -> None:
    decays = [1.0, 4.0]
    trials = grid(weight_decay=decays, seed=[0, 1])
    _, found = train(BoxedQuadratic(), trials, 400, schedule=schedule, start_scale=10.0, lr=LR)
    shape = Schedule(schedule, 400)
    kept_R400 = np.array(
        [[1 - LR * shape.share(t) * trial["weight_decay"] for t in range(400)] for trial in trials]
    )
    excess = found["box_excess"]
    # Coordinates are at most 40 times the box: a few roundings of such numbers.
    assert (excess[:, 1:] - kept_R400 * excess[:, :-1]).max() <= 1e-12
    assert (excess[:, 0] > 5).all() and (excess[:, -1] < 0.2 * excess[:, 0]).all()


def test_with_independent_decay_the_box_is_the_rate_over_the_decay() -> None:
    settings = {"independent_weight_decay": True, "schedule": "wsd", "decay_fraction": 1.0}
    _, found = train(
        BoxedQuadratic(), grid(lr=[LR], weight_decay=[2 * LR]), STEPS, STEPS, **settings
    )
    assert found["deviation"][0, -1] <= LEFT and abs(found["box_excess"][0, -1]) <= 1e-9
