"""Jumps of a curve against planted ones, a search over all places, and the coverage of onsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from phasecube.analysis.estimates.change_points import LevelShifts, level_shifts
from phasecube.engine.errors import StudyError

Floats = NDArray[np.float64]


def jumped(noise: float, seed: int = 0, n: int = 120, at: int = 60) -> Floats:
    """A jump by 1 at record `at`."""
    return (np.arange(n) >= at) + noise * np.random.default_rng(seed).standard_normal(n)


def names(found: LevelShifts) -> set[str]:
    return {caution.name for caution in found.cautions}


def test_a_planted_jump_without_noise_is_found_exactly() -> None:
    found = level_shifts(jumped(0.0))
    assert found.index_K.tolist() == [60]
    assert found.level_L == pytest.approx([0, 1])
    (onset,) = found.onsets
    assert (onset.low, onset.value, onset.high) == (59, 59.5, 60)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_other_places_of_the_jumps_leave_less(count: int) -> None:
    """Every set of places is tried, with levels of two records at least."""
    curve = np.random.default_rng(count).standard_normal(14)
    found = level_shifts(curve, count=count, resamples=0)

    def squares(places: tuple[int, ...]) -> float:
        return sum(float(((p - p.mean()) ** 2).sum()) for p in np.split(curve, list(places)))

    allowed = (
        p for p in combinations(range(2, 13), count) if not count or min(np.diff([0, *p, 14])) >= 2
    )
    assert tuple(found.index_K) == min(allowed, key=squares)


def test_their_number_is_that_which_was_planted() -> None:
    level = np.repeat([0.0, 3.0, 1.0, 4.0], 40)
    curve = level + 0.5 * np.random.default_rng(1).standard_normal(160)
    found = level_shifts(curve, resamples=20)
    assert len(found.index_K) == 3
    up, down = found.first("up"), found.first("down")
    assert up is not None
    assert 39.5 in up
    assert down is not None
    assert 79.5 in down


def test_noise_alone_has_no_jump() -> None:
    """In at least 18 of 20 curves: Schwarz' criterion errs ever more rarely with length."""
    found = [level_shifts(jumped(1.0, seed, at=120), resamples=0) for seed in range(20)]
    assert sum("no_shift" in names(f) for f in found) >= 18


def test_on_log_step_the_many_late_records_do_not_hide_an_early_jump() -> None:
    """A jump at step 20 with two records in a hundred before it, then slow late swings."""
    step = np.arange(1, 1001, dtype=float)
    swing = 0.8 * np.sin(2 * np.pi * step / 700) * (step > 100)
    curve = (step >= 20) + swing
    linear = level_shifts(curve, step, count=1, resamples=0)
    log = level_shifts(curve, step, count=1, scale="log_step", resamples=0)
    assert linear.index_K[0] > 100
    assert log.index_K.tolist() == [19]
    assert log.onsets[0].value == pytest.approx(np.sqrt(19 * 20))


def test_the_unit_of_a_curve_moves_no_jump() -> None:
    plain, large = level_shifts(jumped(0.3)), level_shifts(5 - 1e6 * jumped(0.3))
    assert plain.index_K.tolist() == large.index_K.tolist()
    assert plain.onsets == large.onsets


def test_a_slow_rise_has_no_jump_and_leaves_noise_that_lasts() -> None:
    assert names(level_shifts(np.arange(100.0))) == {"no_shift", "correlated_noise"}


def test_as_many_jumps_as_were_tried_are_said() -> None:
    found = level_shifts(np.repeat([0.0, 3.0, 1.0, 4.0], 40), most=2, resamples=0)
    assert "many_shifts" in names(found)


def test_noise_that_lasts_over_records_is_said_and_is_not_cut_to_pieces() -> None:
    """Each record keeps half of the noise of the one before: no jump in most of 20 curves."""
    found = []
    for seed in range(20):
        noise = np.random.default_rng(seed).standard_normal(120)
        for i in range(1, 120):
            noise[i] += 0.5 * noise[i - 1]
        found.append(level_shifts(noise, resamples=0))
    # With a true share of .875 (docs/boundaries.md), fewer than 13 of 20 happen once in 500.
    assert sum("no_shift" in names(f) for f in found) >= 13
    assert sum("correlated_noise" in names(f) for f in found) >= 13
    assert "correlated_noise" not in names(level_shifts(jumped(0.3), count=1, resamples=0))


def test_records_without_a_number_are_left_out_and_said() -> None:
    curve = jumped(0.0)
    curve[[3, 70]] = np.nan
    found = level_shifts(curve)
    assert "records_without_a_number" in names(found)
    assert found.onsets[0].value == 59.5


@pytest.mark.parametrize(
    ("curve", "step", "scale", "words"),
    [
        ([0.0, 1.0], None, "step", "there are 2"),
        (np.zeros(2001), None, "step", "every n-th"),
        (np.zeros(5), [0, 1, 1, 2, 3], "step", "must rise"),
        (np.zeros(5), np.arange(4), "step", "5 records has 4 steps"),
        (np.zeros(5), np.arange(5), "log_step", "above 0"),
    ],
)
def test_curves_that_cannot_be_read_are_refused(
    curve: Floats, step: Floats | None, scale: str, words: str
) -> None:
    with pytest.raises(StudyError, match=words):
        level_shifts(curve, step, scale="log_step" if scale == "log_step" else "step")


def test_more_jumps_than_levels_of_two_records_are_refused() -> None:
    with pytest.raises(StudyError, match="hold no 5 jumps"):
        level_shifts(np.zeros(8), count=5)


@pytest.mark.slow
def test_an_onset_lies_in_its_interval_in_nine_of_ten_curves() -> None:
    n = 150
    hits = sum(
        59.5 in level_shifts(jumped(0.5, seed), count=1, resamples=100).onsets[0]
        for seed in range(n)
    )
    # With true coverage .92 (docs/boundaries.md), fewer than .85 of 150 happen once in 500.
    assert hits / n >= 0.85
