"""The analysis `entropy_covariance`: actual against predicted changes of entropy.

An update that moves logits by dz changes the entropy of a softmax policy by
-Cov_{a ~ pi}(log pi, dz) to first order (Cui et al. 2025, arXiv:2505.22617, lemma 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phasecube.analysis.entropy.curves import Curves, curves_of, lost_words
from phasecube.analysis.estimates.intervals import resample_counts, widened
from phasecube.analysis.labels import in_words, name_and_unit
from phasecube.analysis.lines.arranged import MAX_PLOTS
from phasecube.analysis.plots import Plot

Floats = npt.NDArray[np.float64]
LEAST_POINTS = 3


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    by: str | None = None
    title: str = ""
    over: tuple[str, ...] = ("seed",)
    select: Mapping[str, Any] = field(default_factory=dict)
    actual: str = "entropy_change"
    predicted: str = "entropy_change_predicted"


@dataclass(frozen=True)
class CovarianceLaw:
    """actual = slope * predicted, through the origin, over all records of all trials.

    The interval resamples whole trials; `correlation` is Pearson's. NaN where fewer than
    LEAST_POINTS records are known or the prediction never moves; `warnings` says so.
    """

    slope: float
    low: float
    high: float
    correlation: float
    n_points: int
    n_trials: int
    warnings: tuple[str, ...] = ()


def covariance_law(
    predicted_NS: npt.ArrayLike,
    actual_NS: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> CovarianceLaw:
    """Return the slope through the origin and the correlation of trials (N, S).

    Records at which either is NaN do not count. Raises ValueError for shapes that differ.
    """
    x_NS, y_NS = np.asarray(predicted_NS, np.float64), np.asarray(actual_NS, np.float64)
    if x_NS.ndim != 2 or x_NS.shape != y_NS.shape:
        raise ValueError(f"both need one shape (N, S), got {x_NS.shape} and {y_NS.shape}")
    known_NS = np.isfinite(x_NS) & np.isfinite(y_NS)
    some_N = known_NS.any(1)
    n_points, n = int(known_NS.sum()), int(some_N.sum())
    x_NS, y_NS = (np.where(known_NS, v, 0.0) for v in (x_NS, y_NS))
    xx_N, xy_N = (x_NS**2).sum(1)[some_N], (x_NS * y_NS).sum(1)[some_N]
    nan = np.nan
    if n_points < LEAST_POINTS:
        return CovarianceLaw(nan, nan, nan, nan, n_points, n, ("too few points",))
    if not xx_N.sum() > 0:
        return CovarianceLaw(nan, nan, nan, nan, n_points, n, ("the prediction is always 0",))
    counts_BN = resample_counts(n, resamples)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope_B = (counts_BN @ xy_N) / (counts_BN @ xx_N)
    low, high = widened(slope_B, n, confidence=confidence) if n > 1 else (nan, nan)
    x, y = x_NS[known_NS], y_NS[known_NS]
    moves = np.ptp(x) > 0 and np.ptp(y) > 0
    correlation = float(np.corrcoef(x, y)[0, 1]) if moves else nan
    warnings = ["one trial: no interval"] if n == 1 else []
    warnings += [] if moves else ["constant changes: no correlation"]
    return CovarianceLaw(float(slope_B[0]), low, high, correlation, n_points, n, tuple(warnings))


@dataclass(frozen=True)
class LawLine:
    """The trials of one line and the law through them."""

    curves: Curves
    law: CovarianceLaw

    @property
    def name(self) -> str:
        """Return what the line is called in words."""
        return self.curves.name


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot for each place on the axes that no option names, at most MAX_PLOTS."""
    plots = curves_of(
        *(ds, [options.predicted, options.actual]),
        by=options.by,
        over=options.over,
        select=options.select,
    )
    found = []
    for place, (fixed, curves) in enumerate(islice(plots, MAX_PLOTS)):
        lines = [
            LawLine(c, covariance_law(c.values[options.predicted], c.values[options.actual]))
            for c in curves
        ]
        found.append(_plot(place, fixed, lines, options, ds))
    return tuple(found)


def _plot(
    place: int,
    fixed: Mapping[str, Any],
    lines: Sequence[LawLine],
    options: Options,
    ds: xr.Dataset,
) -> Plot:
    from phasecube.analysis.entropy.covariance_figure import covariance_figure

    title = in_words(fixed)
    table = pd.DataFrame([_row(line) for line in lines])
    n = max((line.law.n_trials for line in lines), default=0)
    caption = (
        f"Each point one update; {n} trials a line. Dashed: actual = predicted. Slopes are "
        "through the origin, intervals (95 %) resample whole trials, r is Pearson's."
    )
    told = [f"{line.name}: {', '.join(_warnings(line))}" for line in lines if _warnings(line)]
    caption += f" Warnings: {'; '.join(told)}." if told else ""
    labels = [name_and_unit(ds[m]) for m in (options.predicted, options.actual)]

    def figure() -> Any:
        points = [
            (
                _legend(line),
                line.curves.values[options.predicted].ravel(),
                line.curves.values[options.actual].ravel(),
            )
            for line in lines
        ]
        return covariance_figure(points, labels[0], labels[1], caption, title=title)

    heading = options.title or "Change of entropy at an update: actual against predicted"
    heading += f", {title}" if title else ""
    return Plot(f"entropy_covariance_{place}", heading, caption, table, figure)


def _legend(line: LawLine) -> str:
    law = line.law
    if not np.isfinite(law.slope):
        return f"{line.name}: no slope"
    ends = f" ({law.low:.3f} to {law.high:.3f})" if np.isfinite(law.low) else ""
    return f"{line.name}\nslope {law.slope:.3f}{ends}\nr {law.correlation:.4f}".replace("-", "−")


def _row(line: LawLine) -> dict[str, Any]:
    law = line.law
    return {
        **line.curves.places,
        "slope": law.slope,
        "low": law.low,
        "high": law.high,
        "correlation": law.correlation,
        "n_points": law.n_points,
        "n_trials": law.n_trials,
        "warnings": "; ".join(_warnings(line)),
    }


def _warnings(line: LawLine) -> list[str]:
    return [*line.law.warnings, *lost_words(line.curves.outcome_N)]
