"""Methods held against one on the same seeds, with times that are censored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.entropy import methods as entropy_methods
from phasecube.analysis.entropy.pairs import mean_difference, time_difference
from phasecube.analysis.plots import Plot
from phasecube.analysis.print_style import as_svg
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

STEPS = np.arange(0, 401, 10)


def test_pairing_takes_away_what_seeds_share() -> None:
    rng = np.random.default_rng(0)
    seeds, noise = 10 * rng.standard_normal(12), 0.1 * rng.standard_normal(12)
    found = mean_difference(seeds + 1 + noise, seeds)
    np.testing.assert_allclose(found.value, 1 + noise.mean(), rtol=1e-12)
    # A standard error of .03, not of 4: Student's t for 11 degrees of freedom is 2.2.
    assert found.high - found.low < 2 * 2.2 * 2 * 0.1 / np.sqrt(12)
    assert found.low < 1 < found.high and found.n_pairs == 12


@pytest.mark.parametrize("n", [3, 8])
def test_the_interval_of_a_mean_difference_holds_it_as_often_as_it_says(n: int) -> None:
    rng, times = np.random.default_rng(4), 300
    hits = 0
    for _ in range(times):
        found = mean_difference(1 + rng.standard_normal(n), np.zeros(n), resamples=400)
        hits += found.low <= 1 <= found.high
    assert binom.ppf(1e-4, times, 0.95) <= hits <= times


def test_seeds_that_one_of_two_lacks_are_left_out() -> None:
    found = mean_difference([1.0, np.nan, 3.0], [0.0, 0.0, np.nan])
    assert found.value == 1.0 and found.n_pairs == 1 and found.n_left_out == 2
    assert np.isnan(found.low)  # one pair has no interval
    assert np.isnan(mean_difference([np.nan], [1.0]).value)


def test_times_that_all_came_differ_by_the_median_of_the_pairs() -> None:
    found = time_difference([30, 50, 90], [1, 1, 1], [20, 20, 20], [1, 1, 1])
    assert found.value == 30 and found.n_bounds == found.n_left_out == 0


def test_a_time_that_had_not_come_counts_as_more_than_its_bound() -> None:
    """Two of five beyond 380: the median is the third, as if they were 381 or a million."""
    found = time_difference([30, 50, 90, 400, 400], [1, 1, 1, 0, 0], [20, 20, 20, 20, 20], [1] * 5)
    assert found.value == 70 and found.n_bounds == 2 and found.high == np.inf


def test_where_the_other_had_not_come_the_difference_is_smaller_than_its_bound() -> None:
    found = time_difference([30, 50, 90], [1, 1, 1], [400, 45, 80], [0, 1, 1])
    assert found.value == 5 and found.n_bounds == 1
    most = time_difference([30, 50, 90], [1, 1, 1], [400, 400, 80], [0, 0, 1])
    assert most.value == -np.inf


def test_where_neither_had_come_nothing_is_known() -> None:
    found = time_difference([400, 400, 60], [0, 0, 1], [400, 400, 20], [0, 0, 1])
    assert found.value == 40 and found.n_pairs == 1 and found.n_left_out == 2
    assert np.isnan(time_difference([400], [0], [400], [0]).value)


def cube(outcome: np.ndarray | Outcome = Outcome.DONE) -> xr.Dataset:
    """grpo; slow, with the same R(H) at half the rate; kept, that never collapses; lost."""
    rate = 0.03 * (1 + 0.05 * np.arange(5))
    h = [2 * np.exp(-share * rate[:, None] * STEPS) for share in (1.0, 0.5)]
    h += [1.0 + 0 * h[0], h[0]]
    h[2] = 1.0 + np.exp(-rate[:, None] * STEPS)
    reward = [1 - 0.15 * (np.exp(v) - 1) for v in h[:2]]
    reward += [1 - 0.3 * (h[2] - 1), np.broadcast_to(0.3 + 0.2 * np.sin(STEPS / 50), h[0].shape)]
    names = ["grpo", "slow", "kept", "lost"]
    measures = {"reward": np.stack(reward), "entropy": np.stack(h)}
    return study_dataset({"algorithm": names, "seed": range(5)}, STEPS.tolist(), measures, outcome)


def drawn(ds: xr.Dataset, **options: Any) -> Plot:
    (plot,) = entropy_methods.draw(ds, request("entropy_methods", options).options)
    return plot


def test_a_method_that_is_only_slow_keeps_no_entropy_at_a_reward() -> None:
    row = drawn(cube()).table.set_index("algorithm").loc["slow"]
    assert row.t_collapse_difference > 0 and row.t_collapse_difference_low > 0
    # One record of the slower half is at most 10 * .018 of the entropy there, about .5.
    assert abs(row.entropy_at_reward_difference) < 0.1
    assert row.t_collapse_pairs == row.entropy_at_reward_pairs == 5


def test_a_method_that_never_collapses_bounds_the_difference() -> None:
    plot = drawn(cube())
    row = plot.table.set_index("algorithm").loc["kept"]
    assert row.t_collapse_difference == np.inf and row.t_collapse_bounds == 5
    assert row.entropy_at_reward_difference > 0.5


def test_an_unstable_method_is_named_and_has_no_difference() -> None:
    plot = drawn(cube())
    row = plot.table.set_index("algorithm").loc["lost"]
    assert row.n_unstable == 5 and np.isnan(row.final_reward_difference)
    assert "no result of the method, and not drawn: lost" in plot.caption
    assert "unstable, 5 of 5" in as_svg(plot.figure(), "x")


def test_who_is_held_against_has_no_difference_to_itself() -> None:
    row = drawn(cube()).table.set_index("algorithm").loc["grpo"]
    assert np.isnan(row.t_collapse_difference) and row.t_collapse_pairs == 0
    assert np.isfinite(row.t_collapse)


def test_rewards_that_not_all_reached_are_counted() -> None:
    caption = drawn(cube(), learnt=0.75).caption
    assert "R ≥ 0.75 was not reached by all trials: lost (0 of 5)." in caption


def test_trials_that_diverged_leave_their_pairs_and_are_told() -> None:
    outcome = np.full((4, 5), Outcome.DONE)
    outcome[1, :2] = Outcome.DIVERGED
    plot = drawn(cube(outcome))
    row = plot.table.set_index("algorithm").loc["slow"]
    assert row.final_reward_pairs == 3 and row.warnings == "2 diverged"


def test_one_seed_and_a_deterministic_start_are_warned_of() -> None:
    ds = cube().isel(seed=[0])
    ds["entropy"][1] *= 1e-4
    plot = drawn(ds)
    assert "grpo: one trial: no interval" in plot.caption
    assert "slow: deterministic start: 1 without a collapse time" in plot.caption
    assert "<svg" in as_svg(plot.figure(), "x")


def test_another_axis_can_be_compared_and_its_numbers_keep_its_name() -> None:
    ds = cube().isel(algorithm=slice(0, 2)).assign_coords(algorithm=[0.0, 0.1])
    plot = drawn(ds.rename(algorithm="beta"), by="beta", against=0.0)
    assert "Differences to beta = 0" in plot.caption


def test_a_method_to_be_held_against_that_is_not_there_is_named() -> None:
    with pytest.raises(StudyError, match="algorithm has no value 'ppo'; it has grpo, slow, kept"):
        drawn(cube(), against="ppo")
    with pytest.raises(StudyError, match="no axis 'loss'"):
        drawn(cube(), by="loss")


def test_curves_read_in_chunks_and_methods_of_a_zip_give_the_same_numbers() -> None:
    plain = drawn(cube()).table
    ds = cube().rename(algorithm="arm")
    names = ds.arm.values
    ds = ds.drop_vars("arm").assign_coords(
        algorithm=("arm", names), lr=("arm", [0.1, 0.1, 0.2, 0.2])
    )
    lazy = ds.assign({n: ds[n].chunk(step=5) for n in ("reward", "entropy")})
    table = drawn(lazy).table.drop(columns="lr")
    assert table.equals(plain)
