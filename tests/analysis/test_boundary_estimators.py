"""Boundaries of a yes/no answer along one axis: estimators, intervals, cautions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize
from sklearn.isotonic import IsotonicRegression
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.boundary.curves import isotonic_fit, logistic_crossing
from phasecube.analysis.boundary.estimators import (
    METHODS,
    Method,
    boundary_of,
    boundary_of_members,
)
from phasecube.analysis.maps.drawings import draw
from phasecube.engine.errors import StudyError

GRID = np.geomspace(1e-3, 1.0, 13)  # cells of .25 decades


def names(found) -> list[str]:
    return [caution.name for caution in found.cautions]


def test_the_isotonic_fit_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    all_BA = rng.integers(1, 8, (50, 9)).astype(float)
    yes_BA = rng.binomial(all_BA.astype(int), 0.5).astype(float)
    fitter = IsotonicRegression(increasing=False)
    for yes_A, all_A, found_A in zip(yes_BA, all_BA, isotonic_fit(yes_BA, all_BA), strict=True):
        expected = fitter.fit_transform(np.arange(9), yes_A / all_A, sample_weight=all_A)
        np.testing.assert_allclose(found_A, expected, atol=1e-12)


@pytest.mark.parametrize("yes", [[5, 5, 5, 0, 0, 0], [5, 4, 2, 3, 1, 0], [3, 3, 0, 1, 0, 0]])
def test_the_logistic_crossing_maximises_firths_likelihood(yes: list[int]) -> None:
    place_A, yes_A, all_A = np.arange(6.0), np.array(yes, float), np.full(6, 5.0)

    def loss(point: np.ndarray) -> float:
        eta_A = point[0] + point[1] * (place_A - 2.5)
        weight_A = all_A / (2 + np.exp(eta_A) + np.exp(-eta_A))
        design = np.stack([np.ones(6), place_A - 2.5], 1)
        information = design.T @ (weight_A[:, None] * design)
        likelihood = yes_A @ eta_A - all_A @ np.logaddexp(0, eta_A)
        return -float(likelihood + 0.5 * np.linalg.slogdet(information)[1])

    best = optimize.minimize(loss, [0.0, -1.0], method="Nelder-Mead", options={"xatol": 1e-9})
    crossing = logistic_crossing(place_A, yes_A[None], all_A[None])[0]
    assert crossing == pytest.approx(2.5 - best.x[0] / best.x[1], abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_separated_answers_have_the_cell_as_boundary_and_interval(method: Method) -> None:
    found = boundary_of(GRID, [5] * 6 + [0] * 7, [5] * 13, method=method)
    assert GRID[5] <= found.value <= GRID[6]
    assert (found.low, found.high) == found.bracket == (GRID[5], GRID[6])
    assert names(found) == ["narrower_than_the_grid"]


@pytest.mark.parametrize("method", METHODS)
def test_the_interval_holds_the_cell_and_the_resampled_members(method: Method) -> None:
    yes = [20, 20, 20, 20, 18, 13, 7, 2, 0, 0, 0, 0, 0]
    found = boundary_of(GRID, yes, [20] * 13, method=method)
    assert found.low <= found.bracket[0] < found.value < found.bracket[1] <= found.high
    assert (found.low, found.high) != found.bracket or method == "logistic"
    # The shares are symmetric about the middle between the values 5 and 6.
    assert found.value == pytest.approx((GRID[5] * GRID[6]) ** 0.5, rel=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_a_boundary_beyond_the_axis_is_a_bound_and_no_number(method: Method) -> None:
    above = boundary_of(GRID, [3] * 13, [3] * 13, method=method)
    assert np.isnan(above.value) and (above.low, above.high) == (1.0, np.inf)
    below = boundary_of(GRID, [0] * 13, [3] * 13, method=method)
    assert np.isnan(below.value) and (below.low, below.high) == (0.0, GRID[0])
    assert names(above) == names(below) == ["not_bracketed"]


def test_a_lone_member_has_its_cell_for_an_interval_and_says_so() -> None:
    found = boundary_of(GRID, [1] * 4 + [0] * 9, [1] * 13)
    assert (found.low, found.high) == (GRID[3], GRID[4]) and names(found) == ["one_seed"]
    torn = boundary_of(GRID, [1, 1, 0, 1] + [0] * 9, [1] * 13)
    assert names(torn) == ["one_seed", "not_monotone"]


def test_shares_that_rise_by_more_than_chance_are_said_to_be_no_boundary() -> None:
    assert "not_monotone" in names(boundary_of(GRID[:6], [9, 9, 0, 9, 0, 0], [9] * 6))
    # 2 of 3 after 1 of 3 is what chance does.
    assert "not_monotone" not in names(boundary_of(GRID[:6], [3, 3, 1, 2, 0, 0], [3] * 6))


def test_a_yes_above_the_boundary_is_the_mirror_image() -> None:
    yes = np.array([5, 5, 4, 1, 0, 0])
    below = boundary_of(GRID[:6], yes, [5] * 6, method="isotonic")
    above = boundary_of(GRID[:6], 5 - yes, [5] * 6, method="isotonic", yes="above")
    assert above.value == pytest.approx(below.value) and above.bracket == below.bracket


def test_members_are_resampled_whole() -> None:
    # Each member has its own cell; the boundary of resamples spreads as members do.
    edges = GRID[[2, 3, 4, 5, 6, 7, 8, 9, 10]] * 1.01
    holds_AN = (GRID[:, None] <= edges).astype(float)
    found = boundary_of_members(GRID, holds_AN, method="isotonic")
    assert found.low < GRID[5] and found.high > GRID[7]
    holds_AN[0] = np.nan  # a value that no member has answered at
    again = boundary_of_members(GRID, holds_AN, method="isotonic")
    assert again.value == pytest.approx(found.value)


def test_the_order_of_the_values_does_not_matter() -> None:
    yes = np.array([5, 5, 4, 1, 0, 0])
    first = boundary_of(GRID[:6], yes, [5] * 6, method="logistic")
    second = boundary_of(GRID[:6][::-1], yes[::-1], [5] * 6, method="logistic")
    assert second.value == pytest.approx(first.value)


@pytest.mark.parametrize(
    ("x", "yes", "n", "options", "said"),
    [
        ([1, 2], [1], [1, 1], {}, "must be as many"),
        ([1, 2], [2, 0], [1, 1], {}, "at x = 1 it is 2 of 1"),
        ([1, 1], [1, 0], [1, 1], {}, "all different"),
        ([1, 2], [0.5, 0], [1, 1], {}, "whole numbers"),
        ([1, 2], [1, 0], [1, 1], {"method": "probit"}, "there are bracket, logistic, isotonic"),
        ([-1, 2], [1, 0], [1, 1], {"scale": "log"}, "there is -1"),
        ([1, 2], [1, 0], [1, 1], {"scale": "ln"}, "scale is 'log' or 'linear'; got 'ln'"),
        ([1, 2], [1, 0], [1, 1], {"yes": "up"}, "yes is 'below' or 'above'"),
        ([1, 2], [1, 0], [1, 1], {"confidence": 95}, "confidence lies between 0 and 1"),
    ],
)
def test_input_that_cannot_be_a_boundary_is_refused_with_its_place(
    x, yes, n, options, said
) -> None:
    with pytest.raises(StudyError, match=said):
        boundary_of(x, yes, n, **options)


def test_a_yes_on_the_other_side_than_said_is_told_as_that() -> None:
    found = boundary_of(GRID, np.where(GRID < 0.05, 0, 5), np.full(len(GRID), 5))
    assert np.isnan(found.value)
    (message,) = [c.message for c in found.cautions if c.name == "not_bracketed"]
    assert "say yes = 'above'" in message and "at all values" not in message


def test_the_map_of_learning_rates_takes_the_estimator_that_the_sweep_names() -> None:
    rng = np.random.default_rng(1)
    last_LN = np.where(GRID[:, None] <= 0.05 * np.exp(rng.normal(0, 0.5, 9)), -1.0, 1.0)
    curves = np.stack([np.zeros_like(last_LN), last_LN], -1)
    ds = study_dataset({"lr": GRID, "seed": np.arange(9)}, [0, 10], {"loss": curves})
    options = {"measure": "loss", "loss_above": 0.0}
    (plain,) = draw(ds, request("lr_stability", options)).sections[0].maps
    (other,) = (
        draw(ds, request("lr_stability", options | {"estimator": "logistic"})).sections[0].maps
    )
    holds_AN = (last_LN < 0).astype(float)
    expected = boundary_of_members(GRID, holds_AN, method="logistic")
    assert other.table.boundary[0] == pytest.approx(expected.value)
    assert "(logistic estimate)" in other.caption and "estimate)" not in plain.caption
    assert plain.table.boundary[0] != other.table.boundary[0]
