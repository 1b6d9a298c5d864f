"""The analysis `trajectories`: a measure against the step, one line per value of an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.cube.step_bins import binned
from phasecube.analysis.labels import in_words, name_and_unit
from phasecube.analysis.lines.arranged import (
    MAX_PLOTS,
    Bundle,
    evaluated,
    members_in_words,
    plots_of,
    recorded,
)
from phasecube.analysis.maps.bands import seed_band
from phasecube.analysis.plots import Plot
from phasecube.analysis.report.findings import line_found
from phasecube.engine.record import Outcome

WIDENING = 4  # gaps between records that grow by more than this are drawn logarithmic


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    measure: str
    by: str | None = None
    title: str = ""
    over: tuple[str, ...] = ("seed",)
    select: Mapping[str, Any] = field(default_factory=dict)
    times: str | None = None
    reference: tuple[str, ...] = ()
    step_scale: Literal["linear", "log"] | None = None
    scale: Literal["linear", "log"] = "linear"
    bins: int | None = None  # of steps a decade, None: every record


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot for each place on the axes that no option names, at most MAX_PLOTS."""
    values, dim = recorded(ds, options.measure)
    plots = plots_of(
        ds, values, along=None, by=options.by, over=options.over, select=options.select
    )
    found = []
    for place, (fixed, lines) in enumerate(islice(plots, MAX_PLOTS)):
        tables = [_table(line, dim, options) for line in lines]
        found.append(_plot(place, fixed, lines, tables, options, ds))
    return tuple(found)


def _table(line: Bundle, dim: str, options: Options) -> pd.DataFrame:
    """Return median, range and references at each step with a value."""
    curves = line.values.transpose("member", dim).rename({dim: "step"})
    if dim != "step":
        curves = curves.assign_coords(step=line.numbers[dim])
    if options.bins is not None:
        found = binned(curves, options.bins)
        curves = found.rename(step_bin="step").assign_coords(step=found.step_middle.values)
    n = curves.sizes["step"]
    at_step = Bundle(
        line.places, line.values, line.outcome, {**line.numbers, "step": curves.step.values}
    )
    factor = np.ones(n) if options.times is None else evaluated(options.times, at_step, n)
    band = seed_band(curves * xr.DataArray(factor, dims="step"), line.label)
    columns: dict[str, Any] = {name: [v] * len(band.steps) for name, v in line.places.items()}
    columns |= {"step": band.steps, "median": band.middle, "low": band.low, "high": band.high}
    kept = np.isin(curves.step.values, band.steps)
    columns |= {f"reference {t}": evaluated(t, at_step, n)[kept] for t in options.reference}
    return pd.DataFrame(columns)


def _plot(
    place: int,
    fixed: Mapping[str, Any],
    lines: Sequence[Bundle],
    tables: Sequence[pd.DataFrame],
    options: Options,
    ds: xr.Dataset,
) -> Plot:
    from phasecube.analysis.lines import line_figures

    title = in_words(fixed)
    measured = name_and_unit(ds[options.measure])
    n = max((line.n_members for line in lines), default=1)
    caption = (
        f"Median and range of {members_in_words(lines)} trials at each step."
        if n > 1
        else "One trial a line."
    )
    if options.bins is not None:
        many = f"{options.bins} bins of steps a decade" if options.bins > 1 else "each decade"
        caption += (
            f" Means of each trial's records in {many}, at the geometric mean of their steps."
        )
    caption += " A line ends where its trials did." if len(lines) > 1 else ""
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def figure() -> Any:
        drawn: list[line_figures.DrawnLine] = []
        shared: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for line, table in zip(lines, tables, strict=True):
            at, value, low, high = (
                np.asarray(table[c], np.float64) for c in ("step", "median", "low", "high")
            )
            own = []
            for text in options.reference:
                found = (at, np.asarray(table[f"reference {text}"]))
                if _shared(text, tables):
                    shared[text] = max(shared.get(text, found), found, key=_length)
                else:
                    own.append(found)
            drawn.append(
                line_figures.DrawnLine(
                    *(line.label, at, value, low, high),
                    references=tuple(own),
                    framed=bool((line.outcome != Outcome.DIVERGED).any()),
                )
            )
        x = line_figures.Side("step", _log_step(options, tables))
        label = measured if options.times is None else f"{measured} × {options.times}"
        return line_figures.line_figure(
            *(drawn, x, line_figures.Side(label, options.scale == "log"), caption),
            title=title,
            points=False,
            shared=[(text, *found) for text, found in shared.items()],
            reference_label=", ".join(t for t in options.reference if t not in shared),
        )

    heading = f"{measured} over the steps" + (f", {title}" if title else "")
    name = f"trajectories_{options.measure}_{place}"
    ends = [t.tail(1).rename(columns={"median": "value"}) for t in tables if len(t)]
    names = [*(lines[0].places if lines else ()), "step"]
    found = line_found(pd.concat(ends, ignore_index=True), names) if ends else ""
    found = f"at the end {found}" if found else ""
    return Plot(name, heading, caption, whole, figure, found=found, fixed=fixed)


def _length(found: tuple[np.ndarray, np.ndarray]) -> int:
    return len(found[0])


def _shared(text: str, tables: Sequence[pd.DataFrame]) -> bool:
    """Return whether a reference is one number for all lines."""
    values = [table[f"reference {text}"].unique() for table in tables]
    return len(np.unique(np.concatenate(values))) <= 1


def _log_step(options: Options, tables: Sequence[pd.DataFrame]) -> bool:
    if options.step_scale is not None:
        return options.step_scale == "log"
    gaps = np.diff(np.asarray(tables[0].step)) if tables else np.zeros(0)
    return bool(len(gaps) > 2 and gaps[-1] > WIDENING * gaps[0])
