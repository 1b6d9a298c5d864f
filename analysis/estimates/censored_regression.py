"""How a boundary moves with width, when each boundary is known to a cell of its axis only.

A sweep tells that a boundary lies between two values of an axis, or beyond its end. Least
squares on the middles of the cells drops those beyond the end, which tilts the line, and takes
the width of a cell for nothing. Here each boundary counts with the probability of its cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from phasecube.analysis.caution import Caution
from phasecube.analysis.estimates.censored_likelihood import Floats, maximised
from phasecube.analysis.estimates.estimated import Estimated
from phasecube.engine.errors import StudyError

FEW = 5  # bracketed boundaries, below which the interval says little
MANY_ONE_SIDED = 0.5
_INSIDE = 1e-6  # ln: a line this far inside of every cell, above the tolerance of linprog
_NO_SCATTER = 1e-4  # of the spread of the ends
_EXPANSIONS = 60


@dataclass(frozen=True)
class BoundaryLaw:
    """ln boundary = intercept + slope ln width + sigma times a standard normal number.

    `intercept` is ln boundary at width 1. `sigma` is that of ln boundary, by maximum likelihood
    (of few boundaries too small, by sqrt(1 - 2 / n)); 0 where one line passes through all
    cells. `n_bracketed` boundaries have two ends, `n_one_sided` have one.
    """

    slope: Estimated
    intercept: Estimated
    sigma: Estimated
    log_likelihood: float
    n_bracketed: int
    n_one_sided: int
    cautions: tuple[Caution, ...]
    rows: Rows

    def boundary_at(self, width: float) -> Estimated:
        """Return the median boundary at a width, in the unit of the boundaries."""
        if np.isnan(self.slope.value):
            return Estimated(np.nan, 0.0, np.inf)
        value = self.intercept.value + self.slope.value * np.log(width)
        found = _interval(self.rows.about(np.log(width)), 1, value, self.log_likelihood)
        return Estimated(*(float(np.exp(end)) for end in (found.value, found.low, found.high)))


@dataclass(frozen=True)
class Rows:
    """Logs of widths and of what bounds each boundary, and the rise that ends an interval."""

    x_N: Floats
    low_N: Floats
    high_N: Floats
    bound: float

    def about(self, place: float) -> Rows:
        """Return the rows with the place of the intercept moved."""
        return Rows(self.x_N - place, self.low_N, self.high_N, self.bound)


def boundary_law(
    width: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, *, confidence: float = 0.95
) -> BoundaryLaw:
    """Return the power law of boundaries of which boundary i lies in [low[i], high[i]].

    A `low` of 0 or a `high` of infinity is an end that is not known; `last_good` and `first_bad`
    of `along_axis.upper_boundary` are such ends. Rows with NaN are left out with a caution.
    Boundaries must be independent: one row for each seed and width, and no seed whose
    boundaries lie all high.

    Maximum likelihood with normal errors of ln boundary. An interval is where the likelihood,
    the other two fitted again, stays above the bound which would be exact (Student's t with
    n_bracketed - 2 degrees of freedom) if all boundaries were known exactly:
    2 (l_max - l) < n ln(1 + t^2 / (n - 2)).

    All numbers are NaN, with a caution, where there is one width only or no bracketed boundary.
    Raises StudyError for unequal lengths, widths not above 0, low not below high, ends below 0.
    """
    width_N, low_N, high_N, cautions = _read(width, low, high)
    two_N = (low_N > 0) & np.isfinite(high_N)
    n_two, n_one = int(two_N.sum()), int((~two_N).sum())
    cautions += _told(width_N, n_two, n_one)
    with np.errstate(divide="ignore"):
        bound = _rise(n_two, confidence)
        rows = Rows(np.log(width_N), np.log(low_N), np.log(high_N), bound)
    if n_two == 0 or len(np.unique(width_N)) < 2:
        nothing = Estimated(np.nan, -np.inf, np.inf)
        scale = Estimated(np.nan, 0.0, np.inf)
        return BoundaryLaw(nothing, nothing, scale, np.nan, n_two, n_one, tuple(cautions), rows)
    middle = float(rows.x_N.mean())
    centred = rows.about(middle)
    sigma, at_middle, slope, best = _fitted(centred)
    if sigma == 0:
        cautions.append(
            Caution(
                "scatter_within_cells",
                "one line passes through every cell: the scatter is not told, and the slope only "
                "to what the cells allow; refine the axis to learn more",
            )
        )
    return BoundaryLaw(
        _interval(centred, 2, slope, best),
        _interval(rows, 1, at_middle - slope * middle, best),
        _interval(centred, 0, sigma, best),
        best,
        n_two,
        n_one,
        tuple(cautions),
        rows,
    )


def _read(
    width: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike
) -> tuple[Floats, Floats, Floats, list[Caution]]:
    width_N, low_N, high_N = (np.asarray(v, np.float64).ravel() for v in (width, low, high))
    if not len(width_N) == len(low_N) == len(high_N):
        raise StudyError(
            f"widths, lows and highs must be as many; there are {len(width_N)}, {len(low_N)} "
            f"and {len(high_N)}"
        )
    cautions = []
    known_N = ~(np.isnan(width_N) | np.isnan(low_N) | np.isnan(high_N))
    # Between 0 and infinity lies every boundary: such a row says nothing.
    known_N &= ~((low_N == 0) & np.isposinf(high_N))
    if not known_N.all():
        cautions.append(
            Caution("rows_without_a_boundary", f"{(~known_N).sum()} of {len(known_N)} left out")
        )
    width_N, low_N, high_N = width_N[known_N], low_N[known_N], high_N[known_N]
    for name, bad_N, rule in (
        ("width", ~((width_N > 0) & np.isfinite(width_N)), "above 0 and finite"),
        ("low", ~((low_N >= 0) & np.isfinite(low_N)), "at least 0 and finite"),
        ("high", ~(high_N > low_N), "above low, by the cell that it is known to"),
    ):
        if bad_N.any():
            row = int(np.flatnonzero(bad_N)[0])
            place = int(np.flatnonzero(known_N)[row])
            raise StudyError(
                f"row {place}: {name} must be {rule}; width {width_N[row]:g}, low {low_N[row]:g}, "
                f"high {high_N[row]:g}"
            )
    return width_N, low_N, high_N, cautions


def _told(width_N: Floats, n_two: int, n_one: int) -> list[Caution]:
    found = []
    if len(np.unique(width_N)) == 1:
        found.append(Caution("one_width", "nothing tells the slope; measure at other widths"))
    if n_two == 0:
        found.append(
            Caution("all_one_sided", f"none of {n_one} boundaries has two ends; widen the axis")
        )
    elif n_two < FEW:
        found.append(
            Caution("few_boundaries", f"{n_two} with two ends; fewer than {FEW} tell little")
        )
    if n_two and n_one > MANY_ONE_SIDED * (n_two + n_one):
        found.append(
            Caution(
                "many_one_sided",
                f"{n_one} of {n_two + n_one} lie beyond the axis: the slope rests on the normal "
                "law of the errors",
            )
        )
    return found


def _rise(n: int, confidence: float) -> float:
    """Return how far the log likelihood falls to the ends of an interval; docs of the law."""
    if n < 3:
        return np.inf
    t = stats.t.ppf(0.5 + confidence / 2, n - 2)
    return float(0.5 * n * np.log1p(t**2 / (n - 2)))


def _fitted(rows: Rows) -> tuple[float, float, float, float]:
    """Return sigma, intercept, slope and the log likelihood of rows whose x are centred."""
    inside, intercept, slope = _through_all(rows)
    if inside > _INSIDE:
        return 0.0, intercept, slope, 0.0
    columns = _columns(rows.low_N, rows.high_N, np.ones(len(rows.x_N)), rows.x_N)
    start_P = np.array([1.0, intercept, slope]) / _scale(rows)
    point_P, value = maximised(*columns, start_P, _most(rows))
    # A line along the common edges of cells fits the better the less it scatters, without end.
    sigma = 1 / point_P[0] if point_P[0] < _most(rows) else 0.0
    return float(sigma), float(point_P[1] / point_P[0]), float(point_P[2] / point_P[0]), value


def _scale(rows: Rows) -> float:
    ends_N = np.concatenate([rows.low_N, rows.high_N])
    return float(max(np.std(ends_N[np.isfinite(ends_N)]), 1e-6))


def _most(rows: Rows) -> float:
    """Return the 1/sigma above which the scatter is called none."""
    return 1 / (_NO_SCATTER * _scale(rows))


def _through_all(rows: Rows) -> tuple[float, float, float]:
    """Return the line that lies farthest inside of all cells, and how far (below 0: outside)."""
    above_N, below_N = np.isfinite(rows.low_N), np.isfinite(rows.high_N)
    one_N = np.ones(len(rows.x_N))
    found = optimize.linprog(
        [-1.0, 0.0, 0.0],
        A_ub=np.concatenate(
            [
                np.stack([one_N, -one_N, -rows.x_N], axis=1)[above_N],
                np.stack([one_N, one_N, rows.x_N], axis=1)[below_N],
            ]
        ),
        b_ub=np.concatenate([-rows.low_N[above_N], rows.high_N[below_N]]),
        bounds=[(None, None)] * 3,
    )
    if found.x is None:
        raise StudyError(f"no line could be laid through the boundaries: {found.message}")
    inside, intercept, slope = map(float, found.x)
    return inside, intercept, slope


def _interval(rows: Rows, which: int, value: float, best: float) -> Estimated:
    """Return the profile-likelihood interval of sigma (0), the intercept (1) or the slope (2).

    The likelihood is concave in 1/sigma and the coefficients over sigma, of which all three are
    a perspective: where it exceeds a bound is one interval.
    """
    if np.isinf(rows.bound):
        return Estimated(value, 0.0 if which == 0 else -np.inf, np.inf)

    # At a small sigma the likelihood is finite near this line only.
    line = _through_all(rows)[1:] if which == 0 else (0.0, 0.0)

    def over(number: float) -> float:
        return best - rows.bound - _profile(rows, which, number, line)

    if which == 0:
        least = 1 / _most(rows)
        inside = np.log(max(value, least))

        def over_log(log_sigma: float) -> float:
            return over(float(np.exp(log_sigma)))

        low = 0.0 if over(least) <= 0 else float(np.exp(_end(over_log, inside, -0.5)))
        return Estimated(value, low, float(np.exp(_end(over_log, inside, 0.5))))
    step = 0.1 * _scale(rows) / (float(np.ptp(rows.x_N)) if which == 2 else 1.0)
    return Estimated(value, _end(over, value, -step), _end(over, value, step))


def _profile(rows: Rows, which: int, number: float, line: tuple[float, float]) -> float:
    """Return the greatest log likelihood with one of the three held."""
    x_N, one_N = rows.x_N, np.ones(len(rows.x_N))
    if which == 0:
        start_P = np.array([1.0, *line]) / number
        return maximised(
            *_columns(rows.low_N, rows.high_N, one_N, x_N), start_P, np.inf, held=True
        )[1]
    held_N, free_N = (one_N, x_N) if which == 1 else (x_N, one_N)
    moved_N = number * held_N
    columns = _columns(rows.low_N - moved_N, rows.high_N - moved_N, free_N)
    return maximised(*columns, np.array([1 / _scale(rows), 0.0]), _most(rows))[1]


def _columns(low_N: Floats, high_N: Floats, *regressors: Floats) -> tuple[Floats, Floats]:
    """Return what times (1, coefficients) / sigma bounds each standard normal number."""
    taken = [-regressor_N for regressor_N in regressors]
    return np.stack([low_N, *taken], axis=1), np.stack([high_N, *taken], axis=1)


def _end(over: Callable[[float], float], inside: float, step: float) -> float:
    """Return where the profile falls to its bound on one side; infinite where it does not."""
    for _ in range(_EXPANSIONS):
        outside = inside + step
        if over(outside) > 0:
            return float(optimize.brentq(over, inside, outside, xtol=1e-4 * abs(step)))
        inside, step = outside, 1.5 * step
    return float(np.copysign(np.inf, step))
