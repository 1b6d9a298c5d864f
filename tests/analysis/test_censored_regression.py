"""The power law of boundaries known to a cell, against least squares, SciPy and planted laws."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import optimize, stats

from phasecube.analysis.boundary.along_axis import upper_boundary
from phasecube.analysis.estimates.censored_regression import BoundaryLaw, boundary_law
from phasecube.engine.errors import StudyError

Floats = NDArray[np.float64]
WIDTHS = 2.0 ** np.arange(4, 9)


def cells(
    seed: int, sigma: float, cell: float, seeds: int = 3, top: float = np.inf
) -> tuple[Floats, Floats, Floats]:
    """Boundaries 64 / width with scatter, in cells of an axis that ends at ln boundary = top."""
    rng = np.random.default_rng(seed)
    width = np.repeat(WIDTHS, seeds)
    log = np.log(64 / width) + sigma * rng.standard_normal(len(width))
    start = rng.uniform() * cell
    low = np.floor((log - start) / cell) * cell + start
    last = np.ceil((top - start) / cell) * cell + start  # an axis ends at the edge of a cell
    high = np.where(low > last - cell / 2, np.inf, low + cell)
    return width, np.exp(np.minimum(low, last)), np.exp(high)


def names(law: BoundaryLaw) -> set[str]:
    return {caution.name for caution in law.cautions}


def test_boundaries_known_finely_give_least_squares_and_student_s_t() -> None:
    width, low, high = cells(0, 0.3, 1e-3)
    law = boundary_law(width, low, high)
    plain = stats.linregress(np.log(width), 0.5 * np.log(low * high))
    half = stats.t.ppf(0.975, len(width) - 2) * plain.stderr
    # A cell adds cell^2 / 12 to a variance of .09: 1e-6 of it; ends are sought to 1e-4 of a step.
    assert law.slope.value == pytest.approx(plain.slope, abs=1e-4)
    assert law.intercept.value == pytest.approx(plain.intercept, abs=4e-4)
    assert law.slope.low == pytest.approx(plain.slope - half, rel=1e-3)
    assert law.slope.high == pytest.approx(plain.slope + half, rel=1e-3)


def test_the_maximum_is_that_of_a_search_over_the_likelihood_itself() -> None:
    width, low, high = cells(1, 0.3, 0.3, top=0.7)
    law = boundary_law(width, low, high)
    assert law.n_one_sided > 0

    def surprise(point: Floats) -> float:
        middle = point[0] + point[1] * np.log(width)
        scale = np.exp(point[2])
        inside = stats.norm.cdf(np.log(high), middle, scale) - stats.norm.cdf(
            np.log(low), middle, scale
        )
        return -float(np.log(np.maximum(inside, 1e-300)).sum())

    start = np.array([4.0, -1.0, -1.0])
    found = optimize.minimize(
        surprise, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}
    )
    # Flat to 1e-9, so parameters to its root, 3e-5, in their standard errors, which are below 1.
    assert law.log_likelihood == pytest.approx(-found.fun, rel=0, abs=1e-7)
    assert law.slope.value == pytest.approx(found.x[1], abs=1e-4)
    assert law.sigma.value == pytest.approx(np.exp(found.x[2]), rel=1e-4)


def test_an_interval_ends_where_the_likelihood_has_fallen_to_its_bound() -> None:
    width, low, high = cells(2, 0.3, 0.6)
    law = boundary_law(width, low, high)
    t2 = stats.t.ppf(0.975, law.n_bracketed - 2) ** 2
    bound = 0.5 * law.n_bracketed * np.log1p(t2 / (law.n_bracketed - 2))

    def fall(point: Floats) -> float:
        middle, scale = point[0] + law.slope.high * np.log(width), np.exp(point[1])
        inside = stats.norm.cdf(np.log(high), middle, scale) - stats.norm.cdf(
            np.log(low), middle, scale
        )
        return law.log_likelihood - float(np.log(np.maximum(inside, 1e-300)).sum())

    least = optimize.minimize(fall, np.array([3.5, -1.0]), method="Nelder-Mead").fun
    assert least == pytest.approx(bound, abs=1e-2)  # ends are sought to 1e-4 of a step


@pytest.mark.slow
def test_boundaries_beyond_the_axis_do_not_tilt_the_line() -> None:
    """The mean slope of 40 studies whose smallest widths have boundaries beyond the end."""
    fits, dropped = [], []
    for seed in range(40):
        width, low, high = cells(seed, 0.3, 0.576, top=0.7)
        fits.append(boundary_law(width, low, high).slope.value)
        two = np.isfinite(high)
        middles = 0.5 * np.log(low[two] * high[two])
        dropped.append(np.polyfit(np.log(width[two]), middles, 1)[0])
    error = np.std(fits) / np.sqrt(40)
    assert abs(np.mean(fits) + 1) < 3 * error
    assert np.mean(dropped) + 1 > 3 * np.std(dropped) / np.sqrt(40)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_the_intervals_cover_in_nine_of_ten_studies(sigma: float) -> None:
    hits = np.zeros(3)
    n = 60
    for seed in range(n):
        law = boundary_law(*cells(seed, sigma, 0.576, top=0.7))
        hits += [-1 in law.slope, np.log(64) in law.intercept, 1 in law.boundary_at(64)]
    # With true coverage .95, fewer than .85 of 60 happen once in 1,000.
    assert (hits / n >= 0.85).all()


def test_where_one_line_fits_all_cells_the_slope_is_what_the_cells_allow() -> None:
    low = np.exp([0.0, -1.0, -2.0, -3.0, -4.0])
    law = boundary_law(np.exp(np.arange(5.0)), low, low * np.e)
    assert "scatter_within_cells" in names(law)
    assert law.sigma.value == law.sigma.low == 0
    # The steepest and the flattest line through all five: 4 rows apart, one cell up or down.
    assert law.slope.low <= -1.25
    assert law.slope.high >= -0.75
    assert law.slope.value == pytest.approx(-1)


def test_the_unit_of_boundaries_moves_the_intercept_only() -> None:
    width, low, high = cells(3, 0.3, 0.6, top=0.7)
    plain, milli = boundary_law(width, low, high), boundary_law(width, 1e-3 * low, 1e-3 * high)
    assert milli.slope.value == pytest.approx(plain.slope.value, rel=1e-5)
    assert milli.slope.high == pytest.approx(plain.slope.high, rel=1e-3)
    shifted = plain.intercept.value + np.log(1e-3)
    assert milli.intercept.value == pytest.approx(shifted, rel=1e-5)


@pytest.mark.parametrize(
    ("width", "low", "high", "caution"),
    [
        ([8, 16, 32], [1, 1, 1], [np.inf] * 3, "all_one_sided"),
        ([8, 8, 8], [1, 1, 2], [2, 2, 4], "one_width"),
        ([8, 16, 32], [4, 2, 1], [8, 4, 2], "few_boundaries"),
        ([8, 16, 32], [4, 2, 1], [8, np.inf, np.inf], "many_one_sided"),
        ([8, 16, 32, 64], [4, np.nan, 1, 0], [8, 4, 2, np.inf], "rows_without_a_boundary"),
    ],
)
def test_what_the_boundaries_do_not_tell_is_said(
    width: list[float], low: list[float], high: list[float], caution: str
) -> None:
    law = boundary_law(width, low, high)
    assert caution in names(law)
    if caution in {"all_one_sided", "one_width"}:
        assert np.isnan(law.slope.value)
        assert (law.slope.low, law.slope.high) == (-np.inf, np.inf)
        assert np.isnan(law.boundary_at(8).value)


@pytest.mark.parametrize(
    ("width", "low", "high", "words"),
    [
        ([1, 2], [1], [2, 3], "as many"),
        ([0, 2], [1, 1], [2, 3], "row 0: width"),
        ([1, 2], [1, -1], [2, 3], "row 1: low"),
        ([1, np.nan, 2], [1, 1, 3], [2, 2, 3], "row 2: high"),
    ],
)
def test_ends_that_cannot_be_are_refused_by_row(
    width: list[float], low: list[float], high: list[float], words: str
) -> None:
    with pytest.raises(StudyError, match=words):
        boundary_law(width, low, high)


def test_the_cells_of_a_found_boundary_are_its_ends() -> None:
    """Boundaries 32 / width on an axis of powers of 2 that ends at 8: one lies beyond it."""
    lr, width = 2.0 ** np.arange(-5, 4), np.array([2.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0])
    holds = xr.DataArray(
        (lr < 1.4 * 32 / width[:, None]).astype(float),
        dims=("width", "lr"),
        coords={"width": width, "lr": lr},
    )
    found = upper_boundary(holds, "lr", over=[])
    law = boundary_law(found.width, found.last_good, found.first_bad)
    assert (law.n_bracketed, law.n_one_sided) == (6, 1)
    assert -1 in law.slope


def test_cells_that_a_line_passes_through_bound_the_scatter_from_above_only() -> None:
    low = np.array([0.316, 0.316, 0.178, 0.178, 0.1])
    law = boundary_law([16, 32, 64, 128, 256], low, 10**0.25 * low)
    assert law.sigma.value == law.sigma.low == 0 and 0.1 < law.sigma.high < 2
    assert law.slope.low < -0.5 < law.slope.high
