"""Collapse, frontier and labels of trials whose curves are known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.entropy.collapse import (
    EntropyRule,
    Label,
    collapse_time,
    drop_spent,
    entropy_at_reward,
    labels,
    since,
    unstable,
)
from phasecube.analysis.entropy.phase_map import label_map
from phasecube.analysis.maps.drawings import draw
from phasecube.analysis.maps.phase_diagram import arrange
from phasecube.analysis.order_parameters import Seen
from phasecube.analysis.print_style import as_svg
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

STEPS = np.arange(0, 121, 10)


def falling(rate: float | np.ndarray, start: float = 2.0) -> np.ndarray:
    """Return entropy start * exp(-rate * step)."""
    return start * np.exp(-np.asarray(rate)[..., None] * STEPS)


def study(
    entropy: np.ndarray, reward: np.ndarray, outcome: np.ndarray | Outcome = Outcome.DONE
) -> xr.Dataset:
    seeds = range(np.broadcast_shapes(entropy.shape, reward.shape)[0])
    return study_dataset(
        {"seed": seeds}, STEPS.tolist(), {"entropy": entropy, "reward": reward}, outcome
    )


def rising(end: float) -> np.ndarray:
    return np.linspace(0.1, end, len(STEPS))


def test_entropy_collapses_at_the_first_record_at_or_below_its_share() -> None:
    rate = np.array([np.log(10) / 40, np.log(10) / 41, 0.01])
    found = collapse_time(study(falling(rate), rising(1.0)))
    np.testing.assert_array_equal(found.step, [40, 50, np.nan])
    assert found.seen.values.tolist() == [Seen.OBSERVED, Seen.OBSERVED, Seen.CENSORED]
    assert found.times()[2] == 120  # watched in vain so long


def test_a_collapse_keeps_apart_trials_that_were_not_watched_to_the_end() -> None:
    outcome = np.array([Outcome.DIVERGED, Outcome.FAILED, Outcome.NOT_RUN, Outcome.PRUNED])
    found = collapse_time(study(falling(np.full(4, 0.001)), rising(1.0), outcome))
    assert found.seen.values.tolist() == [Seen.DIVERGED, Seen.LOST, Seen.NOT_RUN, Seen.CENSORED]
    np.testing.assert_array_equal(found.times(), [np.nan, np.nan, np.nan, 120])


def test_a_policy_that_was_deterministic_from_the_start_has_no_collapse_time() -> None:
    found = collapse_time(study(falling(np.array([0.1]), start=5e-4), rising(1.0)))
    assert np.isnan(found.step).all() and np.isnan(found.times()).all()


def test_the_share_of_the_fall_that_a_twelfth_of_the_steps_spends_is_exact() -> None:
    """Of exp(-r t) over T a part p of the steps spends (1 - e^-rpT) / (1 - e^-rT)."""
    rate = np.array([0.05, 0.01])
    found = drop_spent(study(falling(rate), rising(1.0)))
    exact = (1 - np.exp(-rate * 10)) / (1 - np.exp(-rate * 120))
    np.testing.assert_allclose(found, exact, rtol=1e-6)  # float32 curves


def test_entropy_that_does_not_fall_has_no_share() -> None:
    assert np.isnan(drop_spent(study(np.full((1, 13), 2.0), rising(1.0)))).all()


def test_the_frontier_is_the_entropy_where_the_reward_was_first_reached() -> None:
    reward = np.stack([rising(1.0), rising(0.5)])
    found = entropy_at_reward(study(falling(np.array([0.01, 0.01])), reward), learnt=0.9)
    at = STEPS[np.argmax(reward[0] >= 0.9)]
    np.testing.assert_allclose(found, [2 * np.exp(-0.01 * at), np.nan], rtol=1e-6)


@pytest.mark.parametrize(
    ("entropy", "reward", "label"),
    [
        (0.05, 0.95, Label.COLLAPSED_LEARNT),
        (0.05, 0.90, Label.COLLAPSED),  # R > 0.9, not at it
        (0.20, 0.95, Label.HEALTHY),  # H < 0.1 H(0), not at it
        (0.50, 0.21, Label.ACTIVE),
        (0.50, 0.19, Label.STALLED),
    ],
)
def test_labels_begin_and_end_where_the_rule_says(
    entropy: float, reward: float, label: Label
) -> None:
    h = np.full(13, 2.0)
    h[-1] = entropy
    assert labels(study(h[None], rising(reward)))[0] == label


def test_how_a_trial_ended_goes_before_its_label() -> None:
    outcome = np.array(
        [Outcome.DIVERGED, Outcome.FAILED, Outcome.NOT_RUN, Outcome.NOT_PLANNED, Outcome.TIMED_OUT]
    )
    found = labels(study(falling(np.full(5, 0.1)), rising(1.0), outcome))
    assert found.values.tolist() == [
        *(Label.DIVERGED, Label.LOST, Label.NOT_RUN, Label.NOT_PLANNED, Label.COLLAPSED_LEARNT)
    ]


def test_a_deterministic_start_and_a_missing_number_are_no_collapse() -> None:
    h = falling(np.array([0.1, 0.1]))
    h[0] *= 1e-4
    h[1, -1] = np.nan
    assert labels(study(h, rising(1.0))).values.tolist() == [Label.DETERMINISTIC, Label.LOST]


def test_a_reward_that_falls_is_unstable_and_not_the_methods_failure() -> None:
    up_and_down = np.concatenate([np.linspace(0.1, 0.6, 7), np.linspace(0.6, 0.15, 6)])
    small_dip = rising(0.6)
    small_dip[6] -= 0.09  # less than a third of its range
    noise = 0.1 + 0.02 * np.sin(np.arange(13) * 2.0)  # all of its range, but little
    ds = study(falling(np.full(3, 0.001)), np.stack([up_and_down, small_dip, noise]))
    assert unstable(ds).values.tolist() == [True, False, False]
    assert labels(ds).values.tolist() == [Label.UNSTABLE, Label.ACTIVE, Label.STALLED]


def test_a_fall_within_six_standard_errors_is_noise() -> None:
    reward = np.concatenate([np.linspace(0.1, 0.6, 7), np.linspace(0.6, 0.15, 6)])[None]
    ds = study(falling(np.full(1, 0.001)), reward)
    for error, lost in ((0.07, True), (0.08, False)):  # the fall is 0.45
        ds["reward_error"] = ds.reward * 0 + error
        assert bool(unstable(ds)[0]) is lost


def test_ratios_far_off_are_unstable() -> None:
    ds = study(falling(np.full(2, 0.001)), rising(0.15))
    ds["ratio_std"] = ds.reward * 0 + xr.DataArray([0.5, 5.0], dims="seed")
    assert labels(ds).values.tolist() == [Label.STALLED, Label.UNSTABLE]


def test_what_was_learnt_keeps_its_label_though_it_was_unstable_on_the_way() -> None:
    reward = rising(1.0)
    reward[5:8] = 0.05
    ds = study(falling(np.full(1, 0.001)), reward[None])
    assert unstable(ds)[0] and labels(ds)[0] == Label.HEALTHY


def test_a_warm_start_can_be_left_out() -> None:
    """From step 50 on, entropy falls to a tenth of what it was there after 40 steps more."""
    h = np.where(STEPS < 50, 9.0, 2 * np.exp(-np.log(10) / 40 * (STEPS - 50)))
    reward = np.where(STEPS < 50, 0.9 - STEPS / 100, rising(0.5))
    ds = study(h[None], reward[None])
    assert collapse_time(since(ds, 45)).step == 90
    assert labels(ds)[0] == Label.UNSTABLE
    assert labels(ds, EntropyRule(from_step=45))[0] == Label.COLLAPSED
    assert "those of step 45" in EntropyRule(from_step=45).sentence()
    assert since(ds, 0) is ds


@pytest.fixture
def grid() -> xr.Dataset:
    """Two cells of three seeds: all collapsed with reward; two healthy and one stalled."""
    end = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.12]])
    reward = 0.1 + (end - 0.1)[..., None] * np.linspace(0, 1, len(STEPS))
    entropy = falling(np.array([[0.1], [0.001]]))
    return study_dataset(
        {"lr": [0.1, 1.0], "seed": [0, 1, 2]},
        STEPS.tolist(),
        {"entropy": entropy, "reward": reward},
    )


def test_a_cell_says_how_many_of_its_seeds_agree(grid: xr.Dataset) -> None:
    (panel,) = arrange(grid, "lr", None, measures=["reward", "entropy"])
    cells = label_map(panel)
    assert cells.label.values.tolist() == [["collapsed with reward", "healthy"]]
    np.testing.assert_allclose(cells.share, [[1.0, 2 / 3]])
    assert cells.n_stalled.values.tolist() == [[0, 1]]
    assert (cells.share_low < cells.share).all()


def test_the_map_is_drawn_with_its_definitions(grid: xr.Dataset) -> None:
    drawn = draw(grid, request("entropy_phase", {"x": "lr", "learnt": 0.8}))
    (only,) = drawn.sections[0].maps
    assert [cell.text for cell in only.cells] == ["C+\n3/3", "H\n2/3"]
    assert "R > 0.8" in only.caption and "ratio_std was not recorded" in only.caption
    assert ("trials", "2 healthy, 1 stalled") in only.cells[1].facts
    assert list(only.table.label) == ["collapsed with reward", "healthy"]
    assert "collapsed with reward" in as_svg(only.figure(), "x")


def test_an_unstable_cell_is_hatched_and_named(grid: xr.Dataset) -> None:
    grid["ratio_std"] = grid.reward * 0 + 9.0
    grid["reward"][:] = grid.reward * 0.5
    (only,) = draw(grid, request("entropy_phase", {"x": "lr"})).sections[0].maps
    assert [cell.text for cell in only.cells] == ["U\n3/3", "U\n3/3"]
    assert only.cells[0].look.hatch and "unstable" in [k for k, _ in only.legend][-1]


def test_a_measure_that_was_not_recorded_is_named(grid: xr.Dataset) -> None:
    with pytest.raises(StudyError, match="no scalar measure 'return'; it has entropy, reward"):
        draw(grid, request("entropy_phase", {"reward": "return"}))


def test_the_rule_stands_in_words() -> None:
    told = EntropyRule(collapse=0.2, learnt=0.7, active=3.0).sentence()
    assert all(part in told for part in ("H < 0.2 H(0)", "R > 0.7", "R > 3 R(0)"))
