"""A replay: what a pruner would have done on trials that have run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasecube.engine.record import Outcome
from phasecube.sweeps.adaptive_sections import PrunerSection
from phasecube.sweeps.pruner_points import Members
from phasecube.sweeps.replay import Queue, Recorded, Replay
from phasecube.sweeps.replay import replay as run

STEPS = np.array([10, 30, 90], np.int64)
LAST = 100


def recorded(curve_PG: np.ndarray, last_P: np.ndarray, lanes: int, pack_size: int) -> Recorded:
    """Points of one seed that ran to the end."""
    n = len(curve_PG)
    rows = np.arange(n)
    return Recorded(
        members=Members(rows, np.zeros(n, np.int64), rows, 1),
        steps_G=STEPS,
        values_RG=curve_PG,
        last_R=last_P,
        outcome_R=np.full(n, int(Outcome.DONE)),
        stopped_R=np.full(n, LAST),
        end_R=np.full(n, LAST),
        queues=[
            Queue(rows[i : i + pack_size].tolist(), LAST, lanes) for i in range(0, n, pack_size)
        ],
        least=1,
        last_step=LAST,
    )


def pruner(kind: str, **options: float) -> PrunerSection:
    table = {"kind": kind, "measure": "x", "rungs": STEPS.tolist(), "options": options}
    return PrunerSection.model_validate(table)


def halving() -> PrunerSection:
    return pruner("successive_halving", reduction_factor=3)


def test_steps_saved_are_those_after_each_pruned_trials_rung() -> None:
    levels_P = np.arange(9.0)
    found = run(recorded(np.tile(levels_P[:, None], 3), levels_P, 9, 9), halving())
    # A third goes on at each of three rungs: nine, three, one.
    assert found.pruned == {**dict.fromkeys(range(3, 9), 10), 1: 30, 2: 30}
    assert (found.steps, found.saved) == (9 * LAST, 6 * 90 + 2 * 70)
    assert (found.points, found.points_pruned) == (9, 8)


def test_curves_that_keep_their_order_lose_nothing_of_the_best() -> None:
    levels_P = np.random.default_rng(0).permutation(40).astype(float)
    found = run(recorded(np.tile(levels_P[:, None], 3), levels_P, 40, 40), halving())
    assert found.best == found.best_kept == 0.0
    assert found.lost == [] or all(each.rank > 1 for each in found.lost)


def test_a_late_winner_is_said_to_be_lost() -> None:
    levels_P = np.arange(1.0, 31.0)
    curve_PG = np.tile(levels_P[:, None], 3)
    last_P = levels_P.copy()
    last_P[29] = 0.0  # behind all others until after the last rung
    found = run(recorded(curve_PG, last_P, 30, 30), halving())
    assert (found.best, found.best_kept) == (0.0, 1.0)
    assert found.lost[0].first_row == 29 and found.lost[0].rank == 1 and found.lost[0].step == 10
    assert found.decile == 3 and found.decile_kept == pytest.approx(1 / 3)
    assert found.rank_correlation is not None and found.rank_correlation < 1


def test_a_median_compares_with_finished_trials_so_the_first_lanes_all_go_on() -> None:
    levels_P = np.arange(20.0)
    found = run(recorded(np.tile(levels_P[:, None], 3), levels_P, 10, 20), pruner("median"))
    assert sorted(found.pruned) == list(range(10, 20))
    assert set(found.pruned.values()) == {10}


def test_free_lanes_are_taken_over_by_waiting_trials() -> None:
    # One of two lanes is free after step 10: the third trial begins there, the fourth after it.
    curve_PG = np.array([[1.0] * 3, [9.0] * 3, [9.0] * 3, [9.0] * 3])
    asked = pruner("threshold", upper=5.0)
    found = run(recorded(curve_PG, curve_PG[:, -1], 2, 4), asked)
    assert found.pruned == {1: 10, 2: 10, 3: 10}
    assert [v.point for v in found.verdicts] == [0, 1, 2, 3, 0, 0]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["median", "successive_halving", "hyperband", "percentile"]),
    st.integers(0, 2**16),
    st.sampled_from([4, 8]),
)
def test_a_pruned_study_replayed_gives_what_happened_in_it(
    kind: str, seed: int, lanes: int
) -> None:
    rng = np.random.default_rng(seed)
    curve_PG = rng.normal(size=(24, 1)) + rng.normal(scale=0.5, size=(24, 3))
    whole = recorded(curve_PG, curve_PG[:, -1], lanes, 8)
    asked = pruner(kind, **{"percentile": {"percentile": 30.0}}.get(kind, {}))
    first = run(whole, asked)
    again = run(as_pruned(whole, first), asked)
    assert again.pruned == first.pruned and again.verdicts == first.verdicts
    assert again.points_unknown == 0


def as_pruned(whole: Recorded, found: Replay) -> Recorded:
    """The trials as a study that really pruned them would hold them."""
    stop_R = np.full(len(whole.outcome_R), -1)
    for row, step in found.pruned.items():
        stop_R[row] = step
    pruned_R = stop_R >= 0
    past_RG = pruned_R[:, None] & (STEPS[None, :] > stop_R[:, None])
    return replace(
        whole,
        values_RG=np.where(past_RG, np.nan, whole.values_RG),
        last_R=np.where(pruned_R, np.nan, whole.last_R),
        outcome_R=np.where(pruned_R, int(Outcome.PRUNED), whole.outcome_R),
        stopped_R=np.where(pruned_R, stop_R, whole.stopped_R),
    )


def test_what_a_trial_that_was_really_pruned_would_have_done_is_said_to_be_unknown() -> None:
    levels_P = np.arange(9.0)
    whole = recorded(np.tile(levels_P[:, None], 3), levels_P, 9, 9)
    found = run(as_pruned(whole, run(whole, halving())), pruner("threshold", upper=100.0))
    assert (found.points_pruned, found.saved) == (0, 0)
    assert found.points_unknown == 8 and found.unknown_steps == 6 * 90 + 2 * 70
    assert found.decile == 1 and found.best == 0.0  # ranked are those that finished


def test_a_diverged_trial_is_judged_until_it_diverges_and_no_more() -> None:
    levels_P = np.arange(3.0)
    whole = recorded(np.tile(levels_P[:, None], 3), levels_P, 3, 3)
    values_RG = whole.values_RG.copy()
    values_RG[2, 1:] = np.nan
    outcome_R = np.array([Outcome.DONE, Outcome.DONE, Outcome.DIVERGED])
    end_R = np.array([LAST, LAST, 20])
    diverged = replace(whole, values_RG=values_RG, outcome_R=outcome_R, end_R=end_R)
    found = run(diverged, pruner("threshold", upper=100.0))
    assert [v.step for v in found.verdicts if v.point == 2] == [10]
    assert found.steps == 2 * LAST + 20
