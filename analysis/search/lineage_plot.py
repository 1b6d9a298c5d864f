"""The analysis `lineage`: what the best member's ancestors were trained with, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phasecube.analysis.labels import format_value, name_and_unit, tick_labels
from phasecube.analysis.maps.phase_diagram import place_on
from phasecube.analysis.plots import Plot
from phasecube.analysis.search.lineage import (
    a_trial_of,
    begin_of,
    best_point,
    curves,
    lineage,
    points_of,
    searched_parameters,
)
from phasecube.engine.errors import StudyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    measure: str
    goal: Literal["minimize", "maximize"] = "minimize"
    title: str = ""
    parameters: tuple[str, ...] = ()
    select: Mapping[str, Any] = field(default_factory=dict)
    scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class Panel:
    """One quantity over the steps: a line for every point, and for the best line of ancestors.

    `ticks` name the places 0, 1, ... of choices that are no numbers.
    """

    label: str
    log: bool
    points: Sequence[tuple[Floats, Floats]]
    best: tuple[Floats, Floats]
    ticks: tuple[str, ...] = ()


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot: a panel for each parameter and one for the measure."""
    here = ds.isel(dict(place_on(ds, name, value) for name, value in options.select.items()))
    names = list(options.parameters) or searched_parameters(here)
    if not names:
        raise StudyError("the study was not searched: no parameter varies from point to point")
    best = best_point(here, options.measure, maximize=options.goal == "maximize")
    table = lineage(here, a_trial_of(here, best), names)
    line = points_of(here, table["digest"].tolist())
    measured = curves(here, options.measure)
    begin_P = np.broadcast_to(np.asarray(begin_of(here).values, np.float64), len(measured))
    segments = [_segment(measured, point, begin_P[point]) for point in range(len(measured))]
    ends_P = np.array([at[-1] if len(at) else b for (at, _), b in zip(segments, begin_P)])
    panels = [_of_parameter(here, name, begin_P, ends_P, table) for name in names]
    along = [segments[point] for point in line]
    whole = (np.concatenate([a for a, _ in along]), np.concatenate([v for _, v in along]))
    label = name_and_unit(here[options.measure])
    panels.append(Panel(label, options.scale == "log", segments, whole))
    table.insert(1, "point", line)
    caption = _caption(len(measured), len(line), best, label, float(whole[1][-1]))

    def figure() -> Figure:
        from phasecube.analysis.search.lineage_figure import lineage_figure

        return lineage_figure(panels, caption)

    return (Plot(f"lineage_{options.measure}", f"Lineage by {label}", caption, table, figure),)


def _caption(n_points: int, n_line: int, best: int, label: str, value: float) -> str:
    return (
        f"Each thin line is one of {n_points} points, from the step where it begins to its last. "
        f"Bold: point {best}, the best of those that trained longest ({label} "
        f"{format_value(value)}), and the {n_line - 1} it goes on from, one after another."
    )


def _segment(measured: xr.DataArray, point: int, begin: float) -> tuple[Floats, Floats]:
    """Return the steps and values that a point recorded from its own beginning on."""
    step_S = np.asarray(measured.step.values, np.float64)
    value_S = np.asarray(measured.values[point], np.float64)
    known_S = np.isfinite(value_S) & (step_S >= begin)
    return step_S[known_S], value_S[known_S]


def _of_parameter(
    ds: xr.Dataset, name: str, begin_P: Floats, end_P: Floats, table: pd.DataFrame
) -> Panel:
    coord = ds[name]
    if coord.dtype.kind in "UTO":
        known = list(dict.fromkeys(str(v) for v in coord.values))
        value_P = np.array([known.index(str(v)) for v in coord.values], np.float64)
        own = np.array([known.index(str(v)) for v in table[name]], np.float64)
        ticks = tick_labels(known)
    else:
        value_P, own = np.asarray(coord.values, np.float64), np.asarray(table[name], np.float64)
        ticks = ()
    points = [(np.array([b, e]), np.array([v, v])) for b, e, v in zip(begin_P, end_P, value_P)]
    at = np.ravel(np.stack([table["begin"], table["end"]], 1)).astype(np.float64)
    is_log = coord.attrs.get("scale") == "log"
    return Panel(name_and_unit(coord), is_log, points, (at, np.repeat(own, 2)), ticks)
