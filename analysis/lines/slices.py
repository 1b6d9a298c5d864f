"""The analysis `slices`: a measure at one step along an axis, one line per value of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phasecube.analysis.cube.last_record import last_value
from phasecube.analysis.estimates.intervals import bootstrap
from phasecube.analysis.labels import in_words, name_and_unit
from phasecube.analysis.lines.arranged import (
    MAX_PLOTS,
    Bundle,
    axis_of,
    evaluated,
    members_in_words,
    plots_of,
    recorded,
)
from phasecube.analysis.maps.map_cautions import better, line_cautions
from phasecube.analysis.maps.phase_diagram import MapAxis
from phasecube.analysis.order_parameters import IN_ORDER
from phasecube.analysis.plots import Plot
from phasecube.analysis.report.findings import line_found
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

Floats = npt.NDArray[np.float64]
LOG_SPAN = 20  # a side whose positive values span more than this is drawn logarithmic


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    measure: str
    x: str
    by: str | None = None
    title: str = ""
    over: tuple[str, ...] = ("seed",)
    select: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None  # None: the last one of each trial
    statistic: Literal["median", "mean"] = "median"
    times: str | None = None
    reference: tuple[str, ...] = ()
    x_scale: Literal["linear", "log"] | None = None
    scale: Literal["linear", "log"] | None = None
    fit: bool = False


@dataclass(frozen=True)
class PowerLaw:
    """y ~ factor * x^exponent by least squares in logarithms over n points, 95 % interval."""

    exponent: float
    low: float
    high: float
    factor: float
    n: int


def value_at(ds: xr.Dataset, measure: str, step: int | None) -> xr.DataArray:
    """Return a measure, scalar or vector, at `step`, or at its last record of each trial.

    NaN for trials that diverged, failed or have not ended (None), or that have no record of
    that step. Raises StudyError for a measure or step that was not recorded.
    """
    values, dim = recorded(ds, measure)
    if step is not None:
        places = np.flatnonzero(values[dim].values == step)
        if not places.size:
            raise StudyError(f"{measure} was not recorded at step {step}; see `[record] steps`")
        return values.isel({dim: int(places[0])}, drop=True)
    # Most trials have a value at the last grid point: read that one slice, and more if needed.
    in_order = ds.outcome.isin(IN_ORDER)
    end = values.isel({dim: -1}, drop=True).compute()
    if bool((end.notnull() | ~in_order).all()):
        return end.where(in_order).assign_attrs(values.attrs)
    # A measure of a rarer cadence has no value at the records between.
    n_records = ds.n_recorded if dim == "step" else values.sizes[dim]
    last = last_value(values, dim, in_order * n_records)
    return last.where(in_order).assign_attrs(values.attrs)


def power_law(x: Floats, y: Floats, *, confidence: float = 0.95) -> PowerLaw | None:
    """Return the law of the points where both are above 0, None for fewer than 3 of them.

    The interval is Student's over the residuals, so it knows nothing of a bend: look at the
    plot.
    """
    from scipy import stats

    with np.errstate(invalid="ignore"):
        used = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
    if np.unique(x[used]).size < 3:
        return None
    found = stats.linregress(np.log(x[used]), np.log(y[used]))
    n = int(used.sum())
    half = stats.t.ppf(0.5 + confidence / 2, n - 2) * found.stderr
    slope = float(found.slope)
    return PowerLaw(slope, slope - half, slope + half, float(np.exp(found.intercept)), n)


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot for each place on the axes that no option names, at most MAX_PLOTS."""
    values = value_at(ds, options.measure, options.step)
    side = axis_of(values, ds, options.x)
    plots = plots_of(
        ds, values, along=options.x, by=options.by, over=options.over, select=options.select
    )
    found = []
    for place, (fixed, lines) in enumerate(islice(plots, MAX_PLOTS)):
        tables = [_table(line, side, options) for line in lines]
        found.append(_plot(place, fixed, lines, tables, side, options, ds))
    return tuple(found)


def _table(line: Bundle, side: MapAxis, options: Options) -> pd.DataFrame:
    """Return value, interval, counts and references at each place of a line."""
    values = line.values.transpose(side.dim, "member").values.astype(np.float64)
    n = len(values)
    times = np.ones(n) if options.times is None else evaluated(options.times, line, n)
    middle = bootstrap(values * times[:, None], options.statistic)
    outcome = line.outcome
    if side.dim in outcome.dims:
        outcome_AN = outcome.transpose(side.dim, "member").values
    else:  # the labels of a vector measure
        outcome_AN = np.repeat(outcome.values[None], n, 0)
    at = line.numbers.get(side.name, side.ticks)  # a zip has the names of its places
    columns: dict[str, Any] = {name: [value] * n for name, value in line.places.items()}
    columns |= {side.name: np.asarray(at), "value": middle.value}
    columns |= {"low": middle.low, "high": middle.high}
    columns["n_used"] = np.isfinite(values).sum(1)
    columns["n_diverged"] = (outcome_AN == Outcome.DIVERGED).sum(1)
    columns |= {f"reference {t}": evaluated(t, line, n) for t in options.reference}
    return pd.DataFrame(columns)


def _plot(
    place: int,
    fixed: Mapping[str, Any],
    lines: Sequence[Bundle],
    tables: Sequence[pd.DataFrame],
    side: MapAxis,
    options: Options,
    ds: xr.Dataset,
) -> Plot:
    from phasecube.analysis.lines import line_figures

    title = in_words(fixed)
    measured = name_and_unit(ds[options.measure])
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    numeric = bool(len(whole)) and whole[side.name].dtype.kind in "fiu"
    caption = " ".join(_caption(lines, tables, side, options))

    def figure() -> Any:
        drawn: list[line_figures.DrawnLine] = []
        shared: dict[str, tuple[Floats, Floats]] = {}
        for line, table in zip(lines, tables, strict=True):
            at = np.asarray(table[side.name] if numeric else range(len(table)), np.float64)
            lost = at[np.asarray(table.n_diverged) > 0]
            texts = [t for t in options.reference if not _told_apart(t, tables)]
            shared |= {t: (at, np.asarray(table[f"reference {t}"])) for t in texts}
            own = tuple(
                (at, np.asarray(table[f"reference {t}"]))
                for t in options.reference
                if t not in texts
            )
            value, low, high = (np.asarray(table[c], np.float64) for c in ("value", "low", "high"))
            drawn.append(line_figures.DrawnLine(line.label, at, value, low, high, lost, own))
        x_log = numeric and _log(options.x_scale, whole[side.name])
        x = line_figures.Side(side.label, x_log, () if numeric else side.ticks)
        label = measured if options.times is None else f"{measured} × {options.times}"
        y = line_figures.Side(label, _log(options.scale, whole["value"]))
        return line_figures.line_figure(
            *(drawn, x, y, caption),
            title=title,
            points=True,
            shared=[(text, *found) for text, found in shared.items()],
            reference_label=", ".join(t for t in options.reference if t not in shared),
        )

    heading = f"{measured} along {side.label}" + (f", {title}" if title else "")
    return Plot(
        *(f"slices_{options.measure}_{place}", heading, caption, whole, figure),
        cautions=line_cautions(lines, tables, side, better(options.measure, measured)),
        found=line_found(whole, [*(lines[0].places if lines else ()), side.name]),
        fixed=fixed,
    )


def _told_apart(text: str, tables: Sequence[pd.DataFrame]) -> bool:
    """Return whether a reference differs from line to line."""
    column = f"reference {text}"
    return any(not np.array_equal(t[column], tables[0][column]) for t in tables)


def _log(scale: str | None, values: pd.Series[Any]) -> bool:
    if scale is not None:
        return scale == "log"
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return bool(finite.size and (finite > 0).all() and finite.max() > LOG_SPAN * finite.min())


def _caption(
    lines: Sequence[Bundle],
    tables: Sequence[pd.DataFrame],
    side: MapAxis,
    options: Options,
) -> list[str]:
    n = max((line.n_members for line in lines), default=1)
    when = "at the last step" if options.step is None else f"at step {options.step}"
    of = (
        f"{options.statistic.capitalize()} of {members_in_words(lines)} trials"
        if n > 1
        else "One trial"
    )
    bars = " with its 95 % bootstrap interval" if n > 1 else ""
    used, diverged = (sum(int(t[c].sum()) for t in tables) for c in ("n_used", "n_diverged"))
    planned = sum(int((line.outcome != Outcome.NOT_PLANNED).sum()) for line in lines)
    left = f" ({diverged:,} of them)" if diverged else ""
    said = [
        f"{of} {when}{bars}; {used:,} of {planned:,} trials enter, diverged ones{left}, failed "
        "and unfinished ones do not."
    ]
    if not options.fit:
        return said
    for line, table in zip(lines, tables, strict=True):
        if table[side.name].dtype.kind not in "fiu":
            raise StudyError(f"fit = true needs numbers on the axis {side.name!r}")
        law = power_law(*(np.asarray(table[c], np.float64) for c in (side.name, "value")))
        if law is not None:
            where = f"{line.label}: " if line.label else ""
            said.append(
                f"{where}∝ {side.name}^{law.exponent:.2f} "
                f"(95 % {law.low:.2f} to {law.high:.2f}; {law.n} points).".replace("-", "−")
            )
    return said
