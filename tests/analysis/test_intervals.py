from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from phasecube.analysis.estimates.intervals import bootstrap, survival_median, wilson


@st.composite
def censored_samples(draw: st.DrawFn) -> tuple[list[float], list[bool]]:
    n = draw(st.integers(2, 12))
    times = draw(st.lists(st.integers(1, 8), min_size=n, max_size=n))
    observed = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return [float(t) for t in times], observed


@given(censored_samples())
def test_the_survival_median_agrees_with_scipy(sample: tuple[list[float], list[bool]]) -> None:
    times, observed = np.array(sample[0]), np.array(sample[1])
    curve = stats.ecdf(stats.CensoredData.right_censored(times, ~observed)).sf
    reached = curve.quantiles[curve.probabilities <= 0.5 + 1e-9]
    below = curve.quantiles[curve.probabilities < 0.5 - 1e-9]
    expected = np.inf if reached.size == 0 else reached[0]
    if reached.size and below.size and below[0] != reached[0]:
        expected = (reached[0] + below[0]) / 2
    assert survival_median(times, observed).value == pytest.approx(expected)


@given(censored_samples())
def test_the_interval_of_the_median_agrees_with_scipys_survival_interval(
    sample: tuple[list[float], list[bool]],
) -> None:
    times, observed = np.array(sample[0]), np.array(sample[1])
    with np.errstate(all="ignore"):
        curve = stats.ecdf(stats.CensoredData.right_censored(times, ~observed)).sf
        interval = curve.confidence_interval(0.95, method="log-log")
    zero = curve.probabilities <= 1e-12
    low = np.where(zero, 0.0, np.nan_to_num(interval.low.probabilities, nan=1.0))
    high = np.where(zero, 0.0, np.nan_to_num(interval.high.probabilities, nan=1.0))
    first = np.append(curve.quantiles[low <= 0.5], times.max())[0]
    last = np.append(curve.quantiles[high < 0.5], np.inf)[0]
    ours = survival_median(times, observed)
    assert (ours.low, ours.high) == (first, last)


def test_without_censoring_the_survival_median_is_the_median() -> None:
    times = np.random.default_rng(0).normal(size=(20, 6)) ** 2
    assert survival_median(times, np.ones_like(times)).value == pytest.approx(np.median(times, -1))


def test_a_median_beyond_the_censored_half_is_infinite() -> None:
    estimate = survival_median([80.0, 400.0, 400.0], [True, False, False])
    assert estimate.value == np.inf and estimate.high == np.inf


def test_where_all_are_censored_the_median_lies_beyond_the_last_time_watched() -> None:
    estimate = survival_median([[400.0, 400.0, 300.0]] * 2, np.zeros((2, 3), bool))
    assert (estimate.value == np.inf).all() and (estimate.high == np.inf).all()
    assert (estimate.low == 400).all()


def test_onsets_at_one_record_share_it() -> None:
    estimate = survival_median([80.0, 80.0, 80.0, 400.0], [True, True, True, False])
    assert estimate.value == estimate.low == 80 and estimate.high == np.inf


def test_members_that_are_nan_do_not_count() -> None:
    with_nan = survival_median([10.0, np.nan, 30.0, 20.0], [True, True, True, False])
    without = survival_median([10.0, 30.0, 20.0], [True, True, False])
    assert with_nan == without


def test_a_single_member_has_a_median_and_no_interval() -> None:
    estimate = survival_median([10.0], [True])
    assert estimate.value == 10 and np.isnan(estimate.low) and np.isnan(estimate.high)


def test_a_cell_without_members_has_no_median() -> None:
    assert np.isnan(survival_median([np.nan, np.nan], [False, False]).value)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 5), (5, 5), (81, 263)])
def test_wilson_agrees_with_scipy(hits: int, n: int) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    ours = wilson(hits, n)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_share_of_nothing_is_unknown() -> None:
    assert np.isnan(wilson(0, 0).value)


def test_the_bootstrap_of_a_large_normal_sample_is_as_wide_as_theory_says() -> None:
    n = 400
    sample = np.random.default_rng(1).normal(size=n)
    estimate = bootstrap(sample, "mean", resamples=4000)
    expected = 2 * 1.96 * sample.std() / np.sqrt(n)
    # 4000 resamples place each 2.5 % end to about 3 % of the half width.
    assert estimate.high - estimate.low == pytest.approx(expected, rel=0.08)


def test_the_bootstrap_leaves_out_members_that_are_nan() -> None:
    cells = np.array([[1.0, 2.0, np.nan], [np.nan, np.nan, 5.0], [np.nan] * 3])
    estimate = bootstrap(cells, "median")
    assert estimate.value[:2] == pytest.approx([1.5, 5.0]) and np.isnan(estimate.value[2])
    assert np.isfinite(estimate.low[0]) and np.isnan(estimate.low[1:]).all()


def test_the_bootstrap_is_the_same_each_time() -> None:
    sample = np.random.default_rng(2).normal(size=(3, 7))
    first, second = (bootstrap(sample, "mean") for _ in range(2))
    assert np.array_equal(first.low, second.low) and np.array_equal(first.high, second.high)
