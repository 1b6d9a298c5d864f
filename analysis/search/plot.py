"""The analysis `search`: what a sampler tried, what it came to, and the best so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phasecube.analysis.labels import format_value, in_words, name_and_unit, tick_labels
from phasecube.analysis.plots import Plot
from phasecube.analysis.search.facts import curves_of, search_facts
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.adaptive_sections import ObjectiveSection
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.objective import objective_of_trials, of_point
from phasecube.sweeps.points import POINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
# Why a point has no number: the first of these that befell one of its trials.
WHY = (Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT, Outcome.DIVERGED, Outcome.PRUNED)


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    title: str = ""


@dataclass(frozen=True)
class Panel:
    """An objective against one thing: the order of the points, or a searched parameter.

    `x_P` and `value_P` have one entry a point, NaN where it has no number; `best` is the best
    so far as a line. `ticks` name the places 0, 1, ... of choices.
    """

    label: str
    x_P: Floats
    value_P: Floats
    log_x: bool = False
    best: tuple[Floats, Floats] | None = None
    ticks: tuple[str, ...] = ()


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot an objective, and the front of two; StudyError where there is no search."""
    facts = search_facts(ds)
    if not facts.objectives:
        raise StudyError("the search has no objective: nothing says which point is better")
    why_P = why_without_number(ds)
    values = [values_of_points(ds, objective) for objective in facts.objectives]
    plots = [
        _plot(ds, facts.axes, objective, value_P, why_P, options)
        for objective, value_P in zip(facts.objectives, values)
    ]
    if len(facts.objectives) == 2:
        plots.append(_front_plot(ds, facts.objectives, np.stack(values, 1)))
    return tuple(plots)


def values_of_points(ds: xr.Dataset, objective: ObjectiveSection) -> Floats:
    """Return what the sampler was told of each point, float64 [P]; NaN where it has no number."""
    curves = curves_of(ds, objective.measure)
    outcome = ds.outcome.transpose(POINT, ...)
    outcome_N = outcome.values.ravel()
    n = outcome.sizes[POINT]
    found_PN = objective_of_trials(objective, curves, outcome_N).reshape(n, -1)
    planned_PN = outcome_N.reshape(n, -1) != Outcome.NOT_PLANNED
    return np.array([of_point(objective, v[p]) for v, p in zip(found_PN, planned_PN)])


def why_without_number(ds: xr.Dataset) -> list[str]:
    """Return for each point the outcome that cost it its number, "" where none did."""
    outcome = ds.outcome.transpose(POINT, ...).values
    outcome_PN = outcome.reshape(len(outcome), -1)
    return [
        next((o.name.lower().replace("_", " ") for o in WHY if (row == o).any()), "")
        for row in outcome_PN
    ]


def best_so_far(value_P: Floats, goal: str) -> Floats:
    """Return the best value among each point and those before it, NaN while there is none."""
    sign = 1.0 if goal == "minimize" else -1.0
    run_P = sign * np.minimum.accumulate(np.where(np.isnan(value_P), np.inf, sign * value_P))
    return np.where(np.isfinite(run_P), run_P, np.nan)


def front(values_PO: Floats, goals: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which points no other is at least as good as in every objective, and better in one.

    `values_PO` [points, objectives]; a point that lacks a value is not among them.
    """
    signs = np.array([1.0 if goal == "minimize" else -1.0 for goal in goals])
    known_P: npt.NDArray[np.bool_] = np.all(np.isfinite(values_PO), axis=1)
    cost_PO = np.where(known_P[:, None], signs * values_PO, np.inf)
    no_worse_PP = (cost_PO[:, None] <= cost_PO[None]).all(2)
    better_PP = (cost_PO[:, None] < cost_PO[None]).any(2)
    beaten_P: npt.NDArray[np.bool_] = np.any(no_worse_PP & better_PP, axis=0)
    return known_P & ~beaten_P


def _front_plot(ds: xr.Dataset, objectives: Sequence[ObjectiveSection], values_PO: Floats) -> Plot:
    front_P = front(values_PO, [objective.goal for objective in objectives])
    labels = [name_and_unit(ds[objective.measure]) for objective in objectives]
    caption = (
        f"Filled and joined: the {np.count_nonzero(front_P)} of {len(front_P)} points that no "
        "other beats in both objectives. Points without a number in one are left out."
    )
    table = pd.DataFrame({POINT: np.arange(len(front_P)), "on_front": front_P})
    for place, objective in enumerate(objectives):
        table[f"{objective.measure}_{objective.at}"] = values_PO[:, place]

    def figure() -> Figure:
        from phasecube.analysis.search.figure import front_figure

        return front_figure(values_PO, front_P, labels, caption)

    return Plot("search_front", "What no other point beats in both", caption, table, figure)


def _plot(
    ds: xr.Dataset,
    axes: Sequence[SearchedAxis],
    objective: ObjectiveSection,
    value_P: Floats,
    why_P: Sequence[str],
    options: Options,
) -> Plot:
    number_P = np.arange(len(value_P), dtype=np.float64)
    best_P = best_so_far(value_P, objective.goal)
    panels = [Panel("point, in the order asked", number_P, value_P, best=(number_P, best_P))]
    panels += [_of_axis(ds, axis, value_P) for axis in axes]
    label = name_and_unit(ds[objective.measure])
    known = np.isfinite(value_P)
    best = None
    if known.any():
        sign = 1.0 if objective.goal == "minimize" else -1.0
        best = int(np.nanargmin(sign * value_P))
    point = {} if best is None else {a.name: ds[a.name].values[best] for a in axes}
    missing_P = [why or "not run" if not k else "" for k, why in zip(known, why_P)]
    caption = _caption(objective, label, value_P, missing_P, best, point)
    columns = {a.name: ds[a.name].values for a in axes}
    table = pd.DataFrame({POINT: number_P.astype(int), **columns, objective.measure: value_P})
    table["best_so_far"], table["without_number"] = best_P, missing_P
    name = f"search_{objective.measure}"
    title = options.title or f"Search for the {_superlative(objective)} {label}"

    def figure() -> Figure:
        from phasecube.analysis.search.figure import search_figure

        return search_figure(panels, label, missing_P, best, caption)

    return Plot(name, title, caption, table, figure)


def _of_axis(ds: xr.Dataset, axis: SearchedAxis, value_P: Floats) -> Panel:
    coord = ds[axis.name]
    label = name_and_unit(coord)
    if axis.choices:
        known = [str(choice) for choice in axis.choices]
        place_P = np.array([known.index(str(v)) for v in coord.values], np.float64)
        return Panel(label, place_P, value_P, ticks=tick_labels(known))
    return Panel(label, np.asarray(coord.values, np.float64), value_P, axis.scale == "log")


def _superlative(objective: ObjectiveSection) -> str:
    return "smallest" if objective.goal == "minimize" else "largest"


def _caption(
    objective: ObjectiveSection,
    label: str,
    value_P: Floats,
    missing_P: Sequence[str],
    best: int | None,
    point: Mapping[str, object],
) -> str:
    at = {"last": "the last record", "best": "the best record"}.get(
        str(objective.at), f"step {objective.at}"
    )
    text = (
        f"{len(value_P)} points were tried; {label} at {at}, {objective.over} of a point's trials."
    )
    if best is not None:
        value = format_value(float(value_P[best]))
        text += f" Best, filled: point {best} with {value} at {in_words(point)}."
    counts = {why: missing_P.count(why) for why in dict.fromkeys(missing_P) if why}
    if counts:
        without = ", ".join(f"{n} {why}" for why, n in counts.items())
        text += f" Below each panel, points without a number: {without}."
    return text
