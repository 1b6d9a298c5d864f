"""The jump of the optimal policy against its closed form (Xu 2025, arXiv:2507.20150)."""

from __future__ import annotations

import numpy as np
import pytest
from packs import grid, train

from phasecube.engine.experiments.policy_cliff import PolicyCliff, PolicyCliffParams
from phasecube.engine.tasks.softmax_bandit import cliff, cliff_error, untempered_log_odds


def at_rest(gaps: list[float], temperatures: list[float]) -> list[dict[str, float]]:
    """Return trials whose learning rate is 1 / tau."""
    trials = grid(gap=gaps, entropy_temperature=temperatures)
    return [t | {"lr": 1 / t["entropy_temperature"]} for t in trials]


def test_natural_ascent_reaches_the_exact_jump_in_one_step() -> None:
    """dz = eta (r - tau z) up to a constant: at eta = 1 / tau the logits are r / tau."""
    trials = at_rest([1e-3, 0.01, 0.1, 1.0], [0.02, 0.1, 1.0])
    _, found = train(PolicyCliff(), trials, 1, gradient="natural", sigma=1.0)
    exact = [cliff(t["gap"], t["entropy_temperature"]) for t in trials]
    np.testing.assert_allclose(found["policy_jump"][:, -1], exact, atol=1e-12)


def test_the_published_values_are_the_closed_forms() -> None:
    """Card E9, to the digits it gives."""
    assert cliff(1e-3, 0.02) == pytest.approx(0.04999, abs=5e-6)
    assert cliff(0.01, 0.02) == pytest.approx(0.48984, abs=5e-6)
    assert cliff(0.1, 0.02) == pytest.approx(1.97323, abs=1e-5)
    assert cliff(0.1, 0.1) == pytest.approx(0.92423, abs=1e-5)
    assert cliff(1e-9, 0) == 2 and cliff(0, 0) == 0


@pytest.mark.parametrize("steps", [100, 400])
def test_gradient_ascent_is_never_further_from_the_jump_than_derived(steps: int) -> None:
    """From gaps that do not matter to those that are not yet resolved."""
    trials = at_rest(list(np.geomspace(1e-4, 10, 31)), [0.01])
    _, found = train(PolicyCliff(), trials, steps, steps)
    missing = [cliff(t["gap"], 0.01) for t in trials] - found["policy_jump"][:, -1]
    assert missing.min() > -1e-12 and missing.max() <= cliff_error(steps)
    assert missing.max() > cliff_error(steps) / 10  # the bound says something


@pytest.mark.slow
def test_gradient_ascent_reaches_the_exact_jump_to_a_ten_thousandth() -> None:
    steps = 24_000
    assert cliff_error(steps) < 1e-4
    trials = at_rest([1e-3, 0.01, 0.1], [0.02, 0.1])
    _, found = train(PolicyCliff(), trials, steps, steps)
    exact = [cliff(t["gap"], t["entropy_temperature"]) for t in trials]
    np.testing.assert_allclose(found["policy_jump"][:, -1], exact, atol=1e-4)


def test_without_a_temperature_the_jump_nears_2_as_slowly_as_derived() -> None:
    """u + sinh u = gap time for the flow. Ascent is ahead, for the speed f = gap / (1 + cosh u)
    falls: by log(f_0 / f_n) / 2 steps to first order; twice that is allowed."""
    gaps, lr, steps = [0.01, 0.1, 1.0], 1.0, 400
    _, found = train(PolicyCliff(), grid(gap=gaps), steps, steps, lr=lr, entropy_temperature=0.0)
    for gap, jump in zip(gaps, found["policy_jump"][:, -1], strict=True):
        u = untempered_log_odds(gap, lr * steps)
        ahead = np.log((1 + np.cosh(u)) / 2)
        bounds = [np.tanh(untempered_log_odds(gap, lr * n) / 2) for n in (steps, steps + ahead)]
        assert 2 * bounds[0] <= jump <= 2 * bounds[1]


def test_without_a_temperature_the_published_values_are_those_of_the_flow() -> None:
    """Card E9: 1.990, 1.999 and 2.000 after lr * steps = 200,000, by the solution of the flow."""
    found = [2 * np.tanh(untempered_log_odds(gap, 2e5) / 2) for gap in (1e-3, 0.01, 0.1)]
    np.testing.assert_allclose(found, [1.990, 1.999, 2.000], atol=5e-4)


def test_the_reward_moves_by_the_gap_alone_while_the_policy_jumps() -> None:
    """V+ - V- = delta (pi+ + pi-) with pi- = 1 - pi+, whatever the temperature."""
    trials = at_rest([1e-3, 0.1], [1e-3, 0.1])
    _, found = train(PolicyCliff(), trials, 1, gradient="natural")
    gaps = [t["gap"] for t in trials]
    np.testing.assert_allclose(found["reward_jump"][:, -1], gaps, atol=1e-12)


def test_no_temperature_lets_the_policy_move_more_than_its_lipschitz_bound() -> None:
    """|d pi|_1 <= |d r|_inf / tau, and nearly half of it for small gaps of two arms."""
    trials = at_rest([1e-4, 0.01, 1.0], [0.01, 0.1])
    _, found = train(PolicyCliff(), trials, 1, gradient="natural", actions=3)
    tau = np.array([t["entropy_temperature"] for t in trials])
    steep = found["sensitivity"][:, -1] * tau
    assert (steep <= 1).all() and steep[0] == pytest.approx(0.5, abs=1e-3)


def test_a_gap_of_0_is_warned_of() -> None:
    assert [name for name, _ in PolicyCliffParams(gap=0).warnings()] == ["gap"]
    assert PolicyCliffParams().warnings() == []
