"""How sure a fitted law is: runs drawn with replacement, rows left out, one parameter held."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.fit import SAME, Fit, values_of
from phasecube.analysis.scaling.law import Floats
from phasecube.analysis.scaling.objective import Objective, one_thread
from phasecube.analysis.scaling.points import Points
from phasecube.analysis.scaling.starts import drawn

RESAMPLES = 1000
CHECKED = 0.05  # of the resamples: refitted from random starts too
CHECK_STARTS = 3
MOST_ROWS = 20_000  # of a resample: of more rows fewer are drawn, and deviations scaled


@dataclass(frozen=True)
class Resampled:
    """Parameters of refits on resampled runs, [resamples, parameters]; coefficients themselves.

    `hopped_share` is the share of the refits that were tried from other starts which ended in
    a better minimum there: where it is not 0, the spread is too small.
    """

    names: tuple[str, ...]
    values_RP: Floats
    hopped_share: float

    def standard_error(self, name: str) -> float:
        """Return the standard deviation over resamples."""
        return float(np.std(self[name], ddof=1))

    def interval(
        self, of: str | Callable[[Mapping[str, Floats]], Floats], confidence: float = 0.95
    ) -> tuple[float, float]:
        """Return the percentile interval of a parameter, or of a function of all of them."""
        values = self[of] if isinstance(of, str) else of({n: self[n] for n in self.names})
        tail = (1 - confidence) / 2
        low, high = np.nanquantile(values, [tail, 1 - tail])
        return float(low), float(high)

    def __getitem__(self, name: str) -> Floats:
        found: Floats = self.values_RP[:, self.names.index(name)]
        return found


def resampled(fit: Fit, n: int = RESAMPLES, *, seed: int = 0) -> Resampled:
    """Return refits on runs drawn with replacement: rows of one run come and go together.

    Where the fit is of means, what is drawn are the runs behind them, averaged anew. Of more
    than MOST_ROWS rows as many are drawn, and the refits' distance from the fit is scaled by the
    root of the share (m out of n bootstrap: Bickel, Goetze & van Zwet 1997). Of runs with several
    rows it is scaled up by how few runs they are, as sandwich errors of clusters are.
    """
    with one_thread():
        return _resampled(fit, n, seed)


def _resampled(fit: Fit, n: int, seed: int) -> Resampled:
    rng = np.random.default_rng(seed)
    behind = fit.points.members
    source = fit.points if behind is None else behind
    _, place_N = np.unique(source.run_N, return_inverse=True)
    order = np.argsort(place_N, kind="stable")
    rows_of = np.split(order, np.flatnonzero(np.diff(place_N[order])) + 1)
    whole = _objective(fit)
    share = min(1.0, MOST_ROWS / len(source))
    m = max(1, round(share * len(rows_of)))
    scale = np.sqrt(m / len(rows_of)) * _few_runs(len(rows_of), len(source), len(fit.law.names))
    found, checked, hopped = [], 0, 0
    for _ in range(n):
        drawn_runs = rng.integers(0, len(rows_of), m)
        rows = np.concatenate([rows_of[r] for r in drawn_runs])
        part = whole.rows(rows) if behind is None else _averaged(fit, source, rows)
        theta_P, value = part.refitted(fit.theta_P)
        if rng.uniform() < CHECKED:
            checked += 1
            ends = [part.refitted(start) for start in drawn(fit.law, part, CHECK_STARTS, rng)]
            best = min(ends, key=lambda end: end[1])
            if best[1] < value * (1 - SAME):
                hopped += 1
                theta_P = best[0]
        theta_P = fit.theta_P + scale * (theta_P - fit.theta_P)
        found.append(list(values_of(fit.law, theta_P).values()))
    return Resampled(fit.law.names, np.array(found), hopped / checked if checked else 0.0)


def profile_interval(fit: Fit, name: str, confidence: float = 0.95) -> tuple[float, float]:
    """Return where the sum of squared errors, all other parameters refitted, stays below the
    bound of an F test: of a parameter, or of the logarithm of a coefficient.

    For normal errors of ln y; the fit's own Huber loss takes outliers for what they are, this
    does not. An end at which the bound is not reached is infinite.
    """
    with one_thread():
        return _profile_interval(fit, name, confidence)


def _profile_interval(fit: Fit, name: str, confidence: float) -> tuple[float, float]:
    whole = _objective(fit)
    squares = whole.with_delta(np.inf)
    place = fit.law.names.index(name)
    best_P = optimize.least_squares(squares.residual, fit.theta_P, squares.jacobian).x
    least = float((squares.residual(best_P) ** 2).sum())
    n, p = len(fit.points), len(fit.law.names)
    bound = least * (1 + stats.f.ppf(confidence, 1, n - p) / (n - p))
    scale = np.sqrt(np.linalg.pinv(squares.curvature(best_P))[place, place] * least / (n - p))
    others = np.arange(p) != place

    def excess(value: float, start_P: Floats) -> tuple[float, Floats]:
        theta_P = start_P.copy()
        theta_P[place] = value

        def residual(rest: Floats) -> Floats:
            theta_P[others] = rest
            return squares.residual(theta_P)

        def jacobian(rest: Floats) -> Floats:
            theta_P[others] = rest
            return squares.jacobian(theta_P)[:, others]

        ended = optimize.least_squares(residual, theta_P[others], jacobian)
        theta_P[others] = ended.x
        return float((ended.fun**2).sum()) - bound, theta_P.copy()

    ends = [_crossing(excess, best_P, place, side * scale) for side in (-1, 1)]
    if place < len(fit.law.coefficients):
        ends = [float(np.exp(end)) for end in ends]
    return ends[0], ends[1]


def extrapolation_cautions(fit: Fit, **features: float) -> list[Caution]:
    """Return a caution for each feature asked for at over 100 times what was fitted."""
    found = []
    for name, value in features.items():
        largest = float(fit.points.features[name].max())
        smallest = float(fit.points.features[name].min())
        beyond = max(value / largest, smallest / value)
        if beyond > 100:
            found.append(
                Caution(
                    "far_extrapolation",
                    f"{name} = {value:.2g} lies {beyond:,.0f} times beyond the rows; nothing "
                    "here says that the law holds there",
                )
            )
    return found


def _few_runs(n_runs: int, n_rows: int, n_parameters: int) -> float:
    """Return what a spread over runs is multiplied by: degrees of freedom, and Student's quantile.

    1 where each row is a run: there the spread of resamples holds the truth as it is
    (docs/scaling.md has both coverages).
    """
    if n_runs == n_rows:
        return 1.0
    freedom = max(1, n_runs - n_parameters)
    return float(np.sqrt(n_runs / freedom) * stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975))


def _averaged(fit: Fit, source: Points, rows: np.ndarray) -> Objective:
    mean = source.take(rows).averaged()
    return Objective.of(fit.law, mean.features, mean.y_N, fit.delta)


def _objective(fit: Fit) -> Objective:
    return Objective.of(fit.law, fit.points.features, fit.points.y_N, fit.delta)


def _crossing(
    excess: Callable[[float, Floats], tuple[float, Floats]], best_P: Floats, place: int, step: float
) -> float:
    """Return where the profile reaches its bound on one side; infinite where it does not."""
    inside, theta_P = float(best_P[place]), best_P
    for _ in range(60):
        outside = inside + step
        over, next_P = excess(outside, theta_P)
        if over > 0:
            return _root(excess, theta_P, inside, outside)
        inside, theta_P, step = outside, next_P, 1.5 * step
    return float(np.copysign(np.inf, step))


def _root(
    excess: Callable[[float, Floats], tuple[float, Floats]], near_P: Floats, low: float, high: float
) -> float:
    return float(optimize.brentq(lambda value: excess(value, near_P)[0], low, high, xtol=1e-6))
