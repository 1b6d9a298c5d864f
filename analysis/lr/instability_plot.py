"""The analysis `instability_forecast`: a measure against scale at each learning rate, its power
law continued to the critical value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.labels import in_words, name_and_unit
from phasecube.analysis.lines.arranged import MAX_PLOTS, Bundle, axis_of, evaluated, plots_of
from phasecube.analysis.lines.slices import Floats, value_at
from phasecube.analysis.lr.instability import CRITICAL, Crossing, Forecast, forecast
from phasecube.analysis.plots import Plot
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

REACH = 100.0  # laws are drawn up to this many times the largest scale that was tried
FAR = 1e9  # no number beyond it means anything
FEW_DECADES = 1e3  # sides that span less have ticks at 2 and 5 too


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    x: str  # the axis along which models grow
    measure: str = "max_attention_logit"
    by: str = "lr"
    scale: str | None = None  # an expression for the size at each place on x, as "depth * width**2"
    critical: float = CRITICAL
    title: str = ""
    over: tuple[str, ...] = ("seed",)
    select: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None


@dataclass(frozen=True)
class _Line:
    label: str
    scale_S: Floats
    middle_S: Floats  # geometric mean over the members, with their range
    low_S: Floats
    high_S: Floats
    lost_S: Floats  # scales at which trials diverged
    found: Forecast


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot for each place on the axes that no option names, at most MAX_PLOTS."""
    values = value_at(ds, options.measure, options.step)
    side = axis_of(values, ds, options.x)
    plots = plots_of(
        ds, values, along=options.x, by=options.by, over=options.over, select=options.select
    )
    found = []
    for place, (fixed, bundles) in enumerate(islice(plots, MAX_PLOTS)):
        if not bundles:
            continue
        lines = [_line(bundle, side.dim, options) for bundle in bundles]
        places = [bundle.places for bundle in bundles]
        found.append(_plot(place, fixed, places, lines, options, ds))
    return tuple(found)


def _line(bundle: Bundle, dim: str, options: Options) -> _Line:
    values_SN = bundle.values.transpose(dim, "member").values.astype(np.float64)
    scale_S = evaluated(options.scale or options.x, bundle, len(values_SN))
    try:
        found = forecast(values_SN, scale_S, critical=options.critical)
    except ValueError as error:
        raise StudyError(f"instability_forecast along {options.x!r}: {error}") from error
    with np.errstate(invalid="ignore", divide="ignore"):
        positive_SN = np.where(values_SN > 0, values_SN, np.nan)
    known_S = np.isfinite(positive_SN).any(1)
    middle_S, low_S, high_S = np.full((3, len(scale_S)), np.nan)
    some_SN = positive_SN[known_S]
    middle_S[known_S] = np.exp(np.nanmean(np.log(some_SN), 1))
    low_S[known_S], high_S[known_S] = np.nanmin(some_SN, 1), np.nanmax(some_SN, 1)
    lost_S = (bundle.outcome.transpose(dim, "member").values == Outcome.DIVERGED).any(1)
    return _Line(bundle.label, scale_S, middle_S, low_S, high_S, scale_S[lost_S], found)


def _plot(
    place: int,
    fixed: Mapping[str, Any],
    places: Sequence[Mapping[str, Any]],
    lines: Sequence[_Line],
    options: Options,
    ds: xr.Dataset,
) -> Plot:
    from phasecube.analysis.lines import line_figures

    title = in_words(fixed)
    measured = name_and_unit(ds[options.measure])
    label = options.scale or axis_of(ds[options.measure], ds, options.x).label
    table = pd.DataFrame(
        [{**own, **_row(line.found)} for own, line in zip(places, lines, strict=True)]
    )
    caption = _caption(lines, label, options)

    def figure() -> Any:
        drawn = []
        largest = max(float(line.scale_S.max()) for line in lines)
        ends = [line.found.scale for line in lines if line.found.state == Crossing.FORECAST]
        far = min(max([1.3 * e for e in ends] + [largest]), REACH * largest)
        for line in lines:
            law = line.found
            dashed: tuple[tuple[Floats, Floats], ...] = ()
            if law.state != Crossing.UNKNOWN:
                end = min(far, 1.3 * law.scale) if law.state == Crossing.FORECAST else largest
                at = np.geomspace(line.scale_S.min(), max(end, largest), 50)
                dashed = ((at, law.factor * at**law.exponent),)
            drawn.append(
                line_figures.DrawnLine(
                    *(line.label, line.scale_S, line.middle_S, line.low_S, line.high_S),
                    lost_at=line.lost_S,
                    references=dashed,
                )
            )
        edge = np.array([min(float(line.scale_S.min()) for line in lines), far])
        found = line_figures.line_figure(
            drawn,
            line_figures.Side(label, log=True),
            line_figures.Side(measured, log=True),
            caption,
            title=title,
            points=True,
            shared=[(f"critical {options.critical:g}", edge, np.full(2, options.critical))],
            reference_label="power law",
        )
        # Ticks where the laws go on too, and not only at the scales that were tried.
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        axis = found.axes[0].xaxis
        few = far < FEW_DECADES * edge[0]
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
        return found

    heading = options.title or f"Where {measured} will pass {options.critical:g}"
    name = f"instability_forecast_{options.measure}_{place}"
    return Plot(name, heading + (f", {title}" if title else ""), caption, table, figure)


def _row(found: Forecast) -> dict[str, Any]:
    return {
        "state": found.state.name,
        "scale": found.scale,
        "low": found.low,
        "high": found.high,
        "exponent": found.exponent,
        "exponent_low": found.exponent_low,
        "exponent_high": found.exponent_high,
        "n": found.n,
    }


def _caption(lines: Sequence[_Line], label: str, options: Options) -> str:
    told = []
    for line in lines:
        found, smallest = line.found, float(line.scale_S.min())
        if found.state == Crossing.REACHED and found.scale < smallest:
            text = f"below {smallest:g}, the smallest tried"
        elif found.state in (Crossing.FORECAST, Crossing.REACHED):
            tried = " (within what was tried)" if found.state == Crossing.REACHED else ""
            text = f"{_end(found.scale)}{tried}, 95 % {_end(found.low)} to {_end(found.high)}"
        elif found.state == Crossing.NEVER:
            early = "" if found.low == np.inf else f", 95 % not before {_end(found.low)}"
            text = f"never: no growth{early}"
        else:
            text = "unknown: too few values"
        told.append(f"at {line.label}: {text}" if line.label else text)
    begun = (
        "Geometric mean and range of the trials; dashed, the power law through all of them. "
        f"The {label} at which it passes {options.critical:g} is, {'; '.join(told)}."
    )
    lost = " Diverged trials have no value and bias a law downwards." if any(
        len(line.lost_S) for line in lines
    ) else ""  # fmt: skip
    return begun + lost


def _end(scale: float) -> str:
    if scale == np.inf:
        return "∞"
    return f"above {FAR:.0e}".replace("+", "") if scale > FAR else f"{scale:.3g}"
