"""Finite-size collapse against transitions whose exponents are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from synthetic_study import study_dataset

from phasecube.analysis.finite_size.collapse import Collapse, finite_size_collapse
from phasecube.analysis.finite_size.plot import Options, draw
from phasecube.analysis.finite_size.quality import Curves, quality, seno_quality
from phasecube.analysis.finite_size.search import least
from phasecube.engine.errors import StudyError

SIZES = np.array([20, 40, 80, 160, 320])
LOADS = np.arange(1.2, 2.81, 0.1)


def separable(n: int, loads: np.ndarray = LOADS) -> np.ndarray:
    """Return P(a random half of P = load n points can be cut off by a plane), Cover 1965."""
    return stats.binom.cdf(n - 1, np.round(loads * n) - 1, 0.5)


def drawn(share_LX: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((*share_LX.shape, n)) < share_LX[..., None]) * 1.0


def probit(sizes: np.ndarray, x: np.ndarray, power: float = 0.5) -> np.ndarray:
    return stats.norm.sf((x - 2) * sizes[:, None] ** power / 1.4)


def names(found: Collapse) -> list[str]:
    return [caution.name for caution in found.cautions]


def test_the_search_finds_the_minima_of_many_functions_at_once() -> None:
    target_BP = np.array([[1.0, -2.0], [0.0, 3.0], [5.0, 0.5]])
    found_BP, value_B = least(
        lambda p: ((p - target_BP) ** 2 * [1.0, 10.0]).sum(1), np.zeros((3, 2)), np.ones(2)
    )
    np.testing.assert_allclose(found_BP, target_BP, atol=1e-3)
    assert (value_B < 1e-5).all()


def test_curves_that_are_one_curve_have_a_quality_of_nothing() -> None:
    x_LX = np.repeat(np.linspace(1, 3, 31)[None], 4, 0)
    mean_LX = probit(SIZES[:4], x_LX[0])
    curves = Curves(SIZES[:4] * 1.0, x_LX, mean_LX[None], np.full((1, 4, 31), 0.01))
    points = np.array([[2.0, np.log(0.5)], [2.2, np.log(0.5)], [2.0, np.log(1.0)]])
    s, p = quality(curves, points), seno_quality(curves, points)
    # What a cubic through places 2/3 of the change apart leaves: (0.005 / 0.01)^2 at the most.
    assert s[0] < 0.25 and (s[1:] > 20).all()
    assert p[0] < 0.01 and (p[1:] > 3 * p[0]).all()


def test_a_quality_is_one_where_errors_alone_part_the_curves() -> None:
    rng = np.random.default_rng(0)
    x_LX = np.repeat(np.linspace(-1, 1, 41)[None], 4, 0)
    # f is a straight line: nothing is lost by interpolation, and no point is sure.
    mean_LX = x_LX * SIZES[:4, None] ** 0.5
    found = []
    for _ in range(20):
        noisy = mean_LX + 0.3 * rng.standard_normal(mean_LX.shape)
        curves = Curves(SIZES[:4] * 1.0, x_LX, noisy[None], np.full((1, 4, 41), 0.3))
        found.append(quality(curves, np.array([[0.0, np.log(0.5)]]))[0])
    # About 140 terms a time: sd .12 each, .03 of the mean; correlated neighbours double that.
    assert np.mean(found) == pytest.approx(1.0, abs=0.2)


def test_covers_capacity_of_a_perceptron_is_two_with_exponent_one_half() -> None:
    share_LX = np.array([separable(n) for n in SIZES])
    found = finite_size_collapse(SIZES, LOADS, drawn(share_LX, 100), resamples=80)
    assert 2.0 in found.x_c and 0.5 in found.inverse_nu and 2.0 in found.nu
    assert found.x_c.high - found.x_c.low < 0.1
    assert found.inverse_nu.high - found.inverse_nu.low < 0.25
    assert found.quality < 1.3 and "poor_collapse" not in names(found)
    assert all(e.low <= v <= e.high for e, v in zip(found.by_s_plus_one, (2.0, 0.5), strict=True))
    assert found.seno[0] == pytest.approx(2.0, abs=0.05)


def test_an_order_parameter_that_fades_with_size_has_its_beta() -> None:
    x, rng = np.linspace(-0.6, 0.6, 25), np.random.default_rng(0)
    place_LX = x * SIZES[:, None] ** 0.5
    mean_LX = SIZES[:, None] ** -0.25 * np.logaddexp(0, place_LX)
    noisy = mean_LX[..., None] * (1 + 0.2 * rng.standard_normal((5, 25, 30)))
    found = finite_size_collapse(SIZES, x, noisy, beta=True, resamples=40)
    assert found.beta_over_nu is not None and 0.25 in found.beta_over_nu
    assert 0.0 in found.x_c and 0.5 in found.inverse_nu
    # Without beta no exponents lay these curves on each other.
    assert "poor_collapse" in names(finite_size_collapse(SIZES, x, noisy, resamples=30))


def test_two_sizes_fit_whatever_the_law_and_say_so() -> None:
    found = finite_size_collapse(
        SIZES[:2], LOADS, drawn(probit(SIZES[:2], LOADS), 50), resamples=30
    )
    assert "two_sizes_only" in names(found) and found.without_smallest is None


def test_a_transition_beyond_the_axis_is_named() -> None:
    x = np.linspace(2.15, 3, 20)
    found = finite_size_collapse(SIZES[:3], x, drawn(probit(SIZES[:3], x), 200), resamples=30)
    assert "x_c_outside" in names(found) or not x[0] < found.x_c.low


def test_a_grid_too_coarse_for_the_largest_size_is_named() -> None:
    x = np.linspace(1, 3, 12)
    found = finite_size_collapse(SIZES, x, drawn(probit(SIZES, x), 100), resamples=30)
    (few,) = [c for c in found.cautions if c.name == "few_points_in_window"]
    assert "320" in few.message and "20," not in few.message.split("size")[1].split(";")[0]


def test_a_small_size_with_a_correction_drifts() -> None:
    x = np.linspace(1, 3, 41)
    moved = 2 + 12 / SIZES**1.5  # falls faster than the width, SIZES^-.5
    share = stats.norm.sf((x - moved[:, None]) * SIZES[:, None] ** 0.5 / 1.4)
    found = finite_size_collapse(SIZES, x, drawn(share, 400), resamples=40)
    assert "drift_with_smallest_size" in names(found) or "poor_collapse" in names(found)
    assert abs(found.without_smallest[0] - 2) < abs(found.x_c.value - 2)


def test_sizes_and_places_in_any_order_and_with_holes_give_the_same() -> None:
    values = drawn(probit(SIZES, LOADS), 40)
    first = finite_size_collapse(SIZES, LOADS, values, resamples=12)
    turned = finite_size_collapse(SIZES[::-1], LOADS[::-1], values[::-1, ::-1], resamples=12)
    assert turned.x_c == first.x_c and turned.inverse_nu == first.inverse_nu
    values[0, :3] = np.nan  # not run yet
    held = finite_size_collapse(SIZES, LOADS, values, resamples=12)
    assert held.n_points < first.n_points and 2.0 in held.x_c


@pytest.mark.parametrize(
    ("sizes", "shape", "said"),
    [
        ([8], (1, 5, 4), "at least 2 sizes"),
        ([8, 8], (2, 5, 4), "all different"),
        ([8, -1], (2, 5, 4), "above 0"),
        ([8, 16], (2, 5, 1), "with at least 2 members"),
        ([8, 16], (2, 2, 4), "a collapse needs 3"),
        ([8, 16], (3, 5, 4), "an array of 3 x 5 x 4"),
    ],
)
def test_what_cannot_be_collapsed_is_refused(sizes, shape, said) -> None:
    with pytest.raises(StudyError, match=said):
        finite_size_collapse(sizes, np.arange(shape[1]), np.zeros(shape))


def study(n: int = 40):
    values = drawn(np.array([separable(n) for n in SIZES[:4]]), n)
    coords = {"dimension": SIZES[:4], "load": LOADS, "seed": np.arange(n)}
    return study_dataset(coords, [0, 1], {"right": np.stack([0 * values, values], -1)})


def test_the_analysis_reads_shares_from_a_study() -> None:
    options = Options(
        "right", "load", "dimension", threshold=0.5, resamples=40, expected={"x_c": 2.0}
    )
    (plot,) = draw(study(), options)
    assert plot.table.parameter.tolist() == ["x_c", "inverse_nu"]
    x_c = plot.table.iloc[0]
    assert x_c.low <= 2.0 <= x_c.high and x_c.expected == 2.0 and x_c.n_sizes == 4
    assert "load_c" in plot.caption and "expected 2" in plot.caption
    assert len(plot.figure().axes) == 2


def test_the_analysis_takes_an_x_that_differs_from_size_to_size() -> None:
    ds = study().rename(load="step_of_load")
    ds = ds.assign_coords(
        step_of_load=np.arange(len(LOADS)),
        load=(("dimension", "step_of_load"), np.repeat(LOADS[None], 4, 0)),
    )
    (plot,) = draw(ds, Options("right", "load", "dimension", threshold=0.5, resamples=8))
    (same,) = draw(study(), Options("right", "load", "dimension", threshold=0.5, resamples=8))
    assert plot.table.value.tolist() == pytest.approx(same.table.value.tolist())


def test_values_that_never_change_have_no_transition() -> None:
    with pytest.raises(StudyError, match="every value is 1: there is no transition"):
        finite_size_collapse([8, 16], np.arange(5.0), np.ones((2, 5, 4)))


def test_an_expectation_of_no_parameter_is_refused() -> None:
    with pytest.raises(StudyError, match="it has nu"):
        draw(study(), Options("right", "load", "dimension", threshold=0.5, expected={"nu": 2.0}))
