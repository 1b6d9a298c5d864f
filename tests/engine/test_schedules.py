"""Learning rates over a run, held against torch.optim.lr_scheduler and the papers' formulas."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from phasecube.engine.errors import SpecError
from phasecube.engine.optimizers import OPTIMIZERS
from phasecube.engine.optimizers.choose import hyperparameters, update_rule
from phasecube.engine.params import RunParams
from phasecube.engine.schedules import LaneSchedules, Schedule
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout
from phasecube.sweeps.plan import expand
from phasecube.sweeps.sweep import parse_sweep

ROOT = Path(__file__).resolve().parents[2]

STEPS = 200
# A share is a few rounded operations on numbers of order 1, torch's recursion one a step more.
ROUNDING = STEPS * 2.3e-16
KINDS = st.sampled_from(["constant", "cosine", "wsd", "wsd_s"])
DECAYS = st.sampled_from(["linear", "1-sqrt"])


def shares(schedule: Schedule) -> list[float]:
    return [schedule.share(step) for step in range(STEPS)]


def torch_shares(make) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_constant_is_exactly_one() -> None:
    assert shares(Schedule("constant", STEPS)) == [1.0] * STEPS


@pytest.mark.parametrize("warmup", [1, 2, 7, 200])
def test_warmup_is_torchs_linear_from_one_part_to_all(warmup: int) -> None:
    expected = torch_shares(
        lambda o: lr_scheduler.LinearLR(o, start_factor=1 / warmup, total_iters=warmup - 1)
    )
    np.testing.assert_allclose(
        shares(Schedule("constant", STEPS, warmup)), expected, rtol=0, atol=ROUNDING
    )


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_is_torchs_annealing(final: float) -> None:
    expected = torch_shares(lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=final))
    found = shares(Schedule("cosine", STEPS, final_lr_fraction=final))
    # torch's recursion divides by 1 + cos, which is small at the end: pi^2 / 2 STEPS^2.
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * STEPS)


def test_cosine_begins_where_the_warmup_ends() -> None:
    found = shares(Schedule("cosine", STEPS, warmup_steps=40))
    assert found[39] == found[40] == 1.0
    middle = 40 + (STEPS - 40) // 2
    assert found[middle] == pytest.approx(0.5, abs=1e-15)


@pytest.mark.parametrize("final", [0.0, 0.25])
def test_wsd_with_linear_decay_is_torchs_constant_then_linear(final: float) -> None:
    n_decay = 50
    expected = torch_shares(
        lambda o: lr_scheduler.SequentialLR(
            o,
            [
                lr_scheduler.ConstantLR(o, 1.0),
                lr_scheduler.LinearLR(o, 1.0, final, total_iters=n_decay),
            ],
            [STEPS - n_decay],
        )
    )
    found = shares(Schedule("wsd", STEPS, decay_fraction=0.25, final_lr_fraction=final))
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


def test_one_minus_square_root_is_the_papers() -> None:
    """arXiv:2405.18392, section 3: 1 - sqrt((n - (N - N_decay)) / N_decay)."""
    found = shares(Schedule("wsd", STEPS, decay_fraction=0.2, decay_type="1-sqrt"))
    expected = [1.0] * 160 + [1 - math.sqrt((n - 160) / 40) for n in range(160, STEPS)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)


def test_wsd_s_decays_to_each_budget_and_is_back_at_the_peak_in_it() -> None:
    """arXiv:2410.05192, section 4: by hand for budgets 20 and 40, a quarter of each decays."""
    schedule = Schedule("wsd_s", 40, 4, 0.25, "linear", 0.1, (20, 40))
    first = [1 - 0.9 * k / 5 for k in range(5)]  # the decay to 20 takes the steps 15 to 19
    second = [1 - 0.9 * k / 10 for k in range(10)]  # the decay to 40 those from 30 on
    expected = [0.25, 0.5, 0.75] + [1.0] * 12 + first + [1.0] * 10 + second
    found = [schedule.share(step) for step in range(40)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING)
    assert schedule.share(40) == pytest.approx(0.1, abs=1e-15)


@pytest.mark.parametrize("decay", ["linear", "1-sqrt"])
def test_wsd_s_of_one_budget_is_wsd(decay: str) -> None:
    one = Schedule("wsd_s", STEPS, 7, 0.3, decay, 0.2, (STEPS,))
    assert shares(one) == shares(Schedule("wsd", STEPS, 7, 0.3, decay, 0.2))


def test_until_its_first_budget_wsd_s_is_wsd_of_that_many_steps() -> None:
    several = Schedule("wsd_s", STEPS, 7, 0.1, budgets=(50, 100, STEPS))
    short = Schedule("wsd", 50, 7, 0.1)
    assert shares(several)[:50] == [short.share(step) for step in range(50)]


# what is asked: the parameter at fault and what is said of it
WSD_S_FAULTS = {
    'budgets = ""': ("budgets", "wsd_s takes steps that rise, as in \"300, 600, 1200\"; got ''"),
    'budgets = "50, many"': ("budgets", 'as in "300, 600, 1200"; got'),
    'budgets = "50, 50, 100"': ("budgets", "steps that rise"),
    'budgets = "0, 100"': ("budgets", "steps that rise"),
    'budgets = "50, 90"': ("budgets", "the last budget is the run's end: steps = 100, got 90"),
    'budgets = "95, 100"': (
        "decay_fraction",
        "the decay to 100 would begin before budget 95, where the last ended",
    ),
}


@pytest.mark.parametrize("asked", WSD_S_FAULTS)
def test_budgets_that_no_schedule_has_are_a_fault_of_the_file(asked: str) -> None:
    head = 'name = "toy"\nexperiment = "linear_teacher"\n[fixed]\nsteps = 100\n'
    with pytest.raises(SpecError) as raised:
        expand(parse_sweep(f'{head}schedule = "wsd_s"\n{asked}\n', ROOT))
    (fault,) = raised.value.faults
    parameter, message = WSD_S_FAULTS[asked]
    assert fault.path == f"fixed.{parameter}" and message in fault.message
    expand(parse_sweep(f'{head}schedule = "wsd"\n{asked}\n', ROOT))  # no other schedule minds


@given(
    KINDS, DECAYS, st.integers(1, 10**6), st.integers(0, 2 * 10**6), st.floats(0, 1),
    st.floats(0, 1), st.floats(0, 2),
)  # fmt: skip
def test_a_share_lies_between_zero_and_one_whatever_is_asked(
    kind: str, decay: str, steps: int, warmup: int, fraction: float, final: float, place: float
) -> None:
    budgets = (max(1, steps // 3), steps) if steps > 1 else (steps,)
    schedule = Schedule(kind, steps, warmup, fraction, decay, final, budgets)
    assert 0 <= schedule.share(int(place * steps)) <= 1 + 1e-15


@given(st.sampled_from(["cosine", "wsd"]), DECAYS, st.floats(0.01, 1), st.floats(0, 1))
def test_the_end_of_training_is_the_final_fraction(
    kind: str, decay: str, fraction: float, final: float
) -> None:
    schedule = Schedule(kind, STEPS, 0, fraction, decay, final)
    assert schedule.share(STEPS) == pytest.approx(final, abs=1e-15)


def test_lanes_have_their_own_schedules() -> None:
    columns = {
        "warmup_steps": np.array([0.0, 10.0, 10.0]),
        "decay_fraction": np.array([0.1, 0.5, 0.1]),
        "final_lr_fraction": np.zeros(3),
    }
    found = LaneSchedules(columns.__getitem__, "wsd", STEPS, "linear").at(range(STEPS))
    for lane, (warmup, fraction) in enumerate([(0, 0.1), (10, 0.5), (10, 0.1)]):
        assert found[:, lane].tolist() == shares(Schedule("wsd", STEPS, warmup, fraction))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_scheduled_adamw_is_torchs_with_its_rate_set_bit_for_bit(dtype: torch.dtype) -> None:
    """The schedule goes through the same code for every rule; AdamW is torch's bit for bit."""
    n_steps, lr, schedule = 80, [0.1, 3e-3], {"schedule": "cosine", "warmup_steps": 7}
    known = RunParams(steps=n_steps, optimizer="adamw", weight_decay=0.3, **schedule).model_dump()
    static = {name: value for name, value in known.items() if name != "lr"}
    layout = WeightLayout(("w",), (torch.Size([11]),), (slice(0, 11),))
    trials = Trials(np.arange(2), static, {"lr": lr})
    rule = update_rule(hyperparameters(trials, layout, dtype, torch.device("cpu")))
    torch.manual_seed(0)
    weights_KP = torch.randn(2, 11, dtype=dtype)
    gradients_SKP = torch.randn(n_steps, 2, 11, dtype=dtype)
    leaves = [row.clone().requires_grad_() for row in weights_KP]
    moments = {name: torch.zeros_like(weights_KP) for name in rule.moments}
    optimizers = [torch.optim.AdamW([leaf], weight_decay=0.3, foreach=False) for leaf in leaves]
    shape = Schedule("cosine", n_steps, 7)
    for step, gradient_KP in enumerate(gradients_SKP):
        rule.update(weights_KP, gradient_KP.clone(), moments, step)
        for lane, (leaf, optimizer) in enumerate(zip(leaves, optimizers, strict=True)):
            optimizer.param_groups[0]["lr"] = lr[lane] * shape.share(step)
            leaf.grad = gradient_KP[lane].clone()
            optimizer.step()
            assert torch.equal(weights_KP[lane], leaf.detach())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_stands_still_where_its_schedule_is_at_zero(optimizer: str) -> None:
    """At t = steps a rate that decays to zero is zero: decay and step go with it."""
    known = RunParams(
        steps=5, optimizer=optimizer, schedule="wsd", momentum=0.0, weight_decay=0.5
    ).model_dump()
    layout = WeightLayout(("w",), (torch.Size([3, 4]),), (slice(0, 12),))
    trials = Trials(np.arange(2), known, {})
    rule = update_rule(hyperparameters(trials, layout, torch.float64, torch.device("cpu")))
    weights_KP = torch.ones(2, 12, dtype=torch.float64)
    moments = {name: torch.zeros_like(weights_KP) for name in rule.moments}
    gradient_KP = torch.full_like(weights_KP, 0.3)
    rule.update(weights_KP, gradient_KP.clone(), moments, 5)
    assert torch.equal(weights_KP, torch.ones_like(weights_KP))
    rule.update(weights_KP, gradient_KP.clone(), moments, 0)
    assert not torch.equal(weights_KP, torch.ones_like(weights_KP))


def test_a_warmup_as_a_share_of_the_run_is_planned_as_the_page_says() -> None:
    text = (ROOT / "docs/optimizers.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    plan = expand(parse_sweep(example, ROOT))
    assert [plan.params(trial)["warmup_steps"] for trial in range(len(plan))] == [10, 100, 300]
