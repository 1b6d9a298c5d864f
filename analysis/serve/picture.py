"""From a view to what is drawn: one map with the looks of the report, the curves of one cell.

Pure functions of a Dataset: no browser, no clock, no state. Only what the view needs is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.analysis.drawn import Cell
from phasecube.analysis.labels import name_and_unit
from phasecube.analysis.maps import figures
from phasecube.analysis.maps.bands import Band, seed_band
from phasecube.analysis.maps.cell_facts import phase_facts, place, value_facts
from phasecube.analysis.maps.cell_look import FOUR_LOOKS, Look, each_cell, phase_cell, value_cell
from phasecube.analysis.maps.phase_diagram import CellState, Panel, arrange
from phasecube.analysis.serve.quantities import (
    Asked,
    asked,
    outcome_cell,
    outcome_counts,
)
from phasecube.analysis.serve.state import Offer, View
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

MAX_CELLS = 20_000  # a browser draws these in about a second
NAMED_TRIALS = 20_000  # of a map whose cells name their trials
NAMED, NAMED_BELOW = 4, 12  # digests that a cell names, pointed at and chosen
POINTS = 1_500  # of a curve on the screen
MAX_LINES = 40  # trials drawn beside the band


@dataclass(frozen=True)
class Picture:
    """One map: its sides and cells, its legend or colour scale, and what is said below it."""

    view: View
    panel: Panel
    title: str
    caption: str
    cells: tuple[Cell, ...]
    legend: tuple[tuple[str, Look], ...]
    shades: figures.Shades | None
    value_label: str

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of rows and columns."""
        return len(self.panel.y.ticks), len(self.panel.x.ticks)


@dataclass(frozen=True)
class TrialCurve:
    """The curve of one trial of a cell."""

    member: str
    digest: str
    outcome: str
    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class CellCurves:
    """The curves of a cell: for each measure its trials and their median with range."""

    title: str
    facts: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    bands: tuple[Band, ...]
    trials: tuple[tuple[TrialCurve, ...], ...]
    thresholds: tuple[float, ...]
    note: str


def picture(ds: xr.Dataset, view: View, of: Offer) -> Picture:
    """Return the map of a settled view; raise StudyError where it cannot be drawn."""
    sides = [of.ticks[a] for a in (view.x, view.y) if a]
    n_cells = int(np.prod([len(s) for s in sides]))
    if n_cells > MAX_CELLS:
        raise StudyError(
            f"{view.x} × {view.y} are {n_cells:,} cells, more than the {MAX_CELLS:,} that a page "
            "draws; choose other axes"
        )
    here = _at(ds, view, of)
    found = _panel(here, view, of)
    drawn = asked(found, view, of.rule)
    cells, legend, shades, label = _cells(found, drawn, view, _digests(here, view, found))
    fixed = ", ".join(f"{of.titles[a]} = {_tick(of, a, view)}" for a in view.at)
    title = f"{drawn.title}, {fixed}" if fixed else drawn.title
    reduced = " × ".join("seeds" if a == "seed" else a for a in view.over or ())
    n = found.ds.sizes["member"]
    caption = drawn.caption + (f" {n} {reduced} a cell." if reduced else " One trial a cell.")
    return Picture(view, found, title, caption, cells, legend, shades, label)


def curves(ds: xr.Dataset, view: View, of: Offer) -> CellCurves:
    """Return the curves behind the chosen cell of a settled view, with its numbers in full."""
    assert view.cell is not None
    one = _at_cell(ds, view, of)
    found = _panel(one, view, of)
    found = replace(found, ds=found.ds.compute())  # one read, for the numbers and the lines
    inside = found.ds.isel(row=0, column=0)
    drawn = asked(found, view, of.rule)
    cell = next(each_cell(drawn.cells))[2]
    label = name_and_unit(drawn.cells.value) if drawn.kind == "value" else ""
    all_digests = _digests(one, view, found)
    digests = None if all_digests is None else all_digests[0, 0]
    names = _measures(view, of)
    sides = [
        (of.titles[a], of.ticks[a][of.labels[a].index(label)])
        for a, label in zip((view.x, view.y), view.cell, strict=True)
        if a
    ]
    facts = (*_said(drawn, cell, label), *_trials(inside.outcome.values, digests, NAMED_BELOW))
    kept = np.unique(np.linspace(0, inside.sizes["step"] - 1, POINTS).round().astype(int))
    thin = inside.isel(step=kept)
    note = (
        "Line: median of the trials recorded at that step; band: their range; thin: trials."
        if inside.sizes["member"] > 1
        else ""
    )
    if len(kept) < inside.sizes["step"]:
        note += f" Every {inside.sizes['step'] / len(kept):.1f}th record is drawn."
    if inside.sizes["member"] > MAX_LINES:
        note += f" Of {inside.sizes['member']} trials {MAX_LINES} are drawn singly."
    thresholds: tuple[float | None, ...] = ()
    if view.quantity == "phase" and of.rule.relative_to == "none":
        thresholds = (of.rule.train_threshold, of.rule.validation_threshold)
    elif view.quantity == "onset" or view.statistic == "share":
        thresholds = (view.threshold,)
    return CellCurves(
        ", ".join(f"{name} = {tick}" for name, tick in sides) or "The study",
        facts,
        tuple(name_and_unit(inside[m]) for m in names),
        tuple(seed_band(_recorded(thin, m), m) for m in names),
        tuple(_lines(thin, m, found.members, digests) for m in names),
        tuple(dict.fromkeys(float(t) for t in thresholds if t is not None)),
        note.strip(),
    )


def _tick(of: Offer, axis: str, view: View) -> str:
    return of.ticks[axis][of.labels[axis].index(view.at[axis])]


def _measures(view: View, of: Offer) -> tuple[str, ...]:
    of_phases = (of.rule.train, of.rule.validation)
    return of_phases if view.quantity == "phase" else (str(view.measure),)


def _at(ds: xr.Dataset, view: View, of: Offer) -> xr.Dataset:
    """Return the study at the places that the view fixes, as axes of length one."""
    return ds.isel({a: [of.labels[a].index(label)] for a, label in view.at.items()})


def _at_cell(ds: xr.Dataset, view: View, of: Offer) -> xr.Dataset:
    assert view.cell is not None
    sides = {a: label for a, label in zip((view.x, view.y), view.cell, strict=True) if a}
    return _at(ds, replace(view, at={**view.at, **sides}), of)


def _panel(ds: xr.Dataset, view: View, of: Offer) -> Panel:
    """Return the only panel of a study at the places of a view."""
    measures, over = _measures(view, of), view.over or ()
    (panel,) = arrange(ds, view.x, view.y or None, measures=measures, over=over)
    return panel


def _digests(ds: xr.Dataset, view: View, panel: Panel) -> npt.NDArray[Any] | None:
    """Return the digests (row, column, member) of a panel's trials, None for too many trials."""
    shape = tuple(panel.ds.sizes[d] for d in ("row", "column", "member"))
    if "digest" not in ds or int(np.prod(shape)) > NAMED_TRIALS:
        return None
    sides = [a for a in (view.y, view.x) if a]
    values = ds.digest.transpose(..., *sides, *panel.over).values
    return np.asarray(values).reshape(shape)  # what else there is has the length one


def _cells(
    panel: Panel, drawn: Asked, view: View, digests: npt.NDArray[Any] | None
) -> tuple[tuple[Cell, ...], tuple[tuple[str, Look], ...], figures.Shades | None, str]:
    legend: dict[str, Look] = {}
    shades, label = None, ""
    fills: list[tuple[str, str]] = []
    if drawn.kind == "phase":
        legend = {f"{look.letter} {p.name.lower()}": look for p, look in FOUR_LOOKS.items()}
    if drawn.kind == "value":
        values = np.asarray(drawn.cells.value.values, np.float64)
        log, ends = view.colours == "log", figures.ends_of(drawn.cells)
        fills = figures.shades(values, log=log, ends=ends)
        shades = figures.shade_bar(values, log=log, ends=ends, n=256)
        label = name_and_unit(drawn.cells.value)
    outcome_YXN = panel.ds.outcome.transpose("row", "column", "member").values
    found = []
    for number, (row, column, cell) in enumerate(each_cell(drawn.cells)):
        if drawn.kind == "value":
            look, text, key = value_cell(cell, fills[number])
        else:
            look, text, key = (phase_cell if drawn.kind == "phase" else outcome_cell)(cell)
        if key:
            legend[key] = look
        trials = _trials(
            outcome_YXN[row, column], None if digests is None else digests[row, column]
        )
        facts = (*place(panel, row, column), *_said(drawn, cell, label), *trials)
        partly = cell["state"] == CellState.PARTLY_RUN
        found.append(Cell(row, column, look, text, bool(partly), facts))
    return tuple(found), tuple(legend.items()), shades, label


def _said(drawn: Asked, cell: Mapping[str, Any], label: str) -> list[tuple[str, str]]:
    """Return the result of a cell with its interval and how many trials it stands on."""
    if drawn.kind == "phase":
        return phase_facts(cell)[:2]
    if drawn.kind == "outcome":
        return []
    said = value_facts(cell, label)
    planned = int(cell["n_planned"])
    said.append(("n / N", f"{int(cell['n_used'])} of {planned} trials"))
    if cell.get("n_censored", 0):
        said.append(("not by the end", str(int(cell["n_censored"]))))
    return said


def _trials(
    outcome_N: npt.NDArray[Any], digests_N: npt.NDArray[Any] | None, most: int = NAMED
) -> list[tuple[str, str]]:
    counts = ", ".join(f"{n} {name}" for name, n in outcome_counts(outcome_N))
    said = [("trials", counts or "none planned")]
    if digests_N is not None and counts:
        named = [str(d)[:8] for d in digests_N if str(d)]
        more = f" and {len(named) - most} more" if len(named) > most else ""
        said.append(("digests", " ".join(named[:most]) + more))
    return said


def _recorded(inside: xr.Dataset, measure: str) -> xr.DataArray:
    """Return curves (member, step) that end where their trial did, in full precision."""
    return inside[measure].transpose("member", "step").astype(np.float64)


def _lines(
    thin: xr.Dataset, measure: str, members: tuple[str, ...], digests: npt.NDArray[Any] | None
) -> tuple[TrialCurve, ...]:
    values_NS = _recorded(thin, measure).values
    steps_S = np.asarray(thin.step.values, np.int64)
    found = []
    for number, outcome in enumerate(thin.outcome.values):
        some = np.isfinite(values_NS[number])
        if Outcome(int(outcome)) is Outcome.NOT_PLANNED or not some.any():
            continue
        found.append(
            TrialCurve(
                members[number],
                "" if digests is None else str(digests[number]),
                Outcome(int(outcome)).name.lower().replace("_", " "),
                steps_S[some],
                values_NS[number][some],
            )
        )
    return tuple(found[:MAX_LINES])
