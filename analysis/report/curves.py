"""The curves behind each cell of a section, small enough to travel inside the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from phasecube.analysis.drawn import Section
from phasecube.analysis.labels import name_and_unit
from phasecube.analysis.report.cells import ORDER
from phasecube.engine.record import Outcome

FEW_POINTS = 24  # of a curve, before members are dropped
LEAST_POINTS = 8  # of a curve, before cells go without


def curves_of(section: Section, *, numbers: int) -> dict[str, Any]:
    """Return the curves of a section's cells as plain values for JSON, about `numbers` of them.

    Steps are thinned evenly, the last kept, members dropped after that, then steps again, and
    at last cells: `members` says how many of each cell are there, `every` that only one cell
    in so many has curves. cells: "row,column" -> [member, outcome, curve of each measure] of
    each trial, places in `names_of_members` and in `page_cells.OUTCOME_NAMES`. A curve ends
    where its trial did.
    """
    ds = section.panel.ds
    n_cells, n_members = ds.sizes["row"] * ds.sizes["column"], ds.sizes["member"]
    n_steps = ds.sizes["step"]
    a_point = max(1, n_cells * len(section.measures))  # numbers at one step of one member
    points = int(np.clip(numbers // (a_point * n_members), FEW_POINTS, n_steps))
    shown = int(np.clip(numbers // (a_point * points), 1, n_members))
    if a_point * points > numbers:
        points = int(np.clip(numbers // a_point, LEAST_POINTS, min(points, n_steps)))
    every = max(1, -(-a_point * points // numbers))
    grid = np.arange(ds.sizes["step"])
    for name in section.measures if points < len(grid) else ():
        # Steps at which all of them were taken: between those a costly one has no values.
        taken = np.isin(ds.step.values, ds[name].attrs.get("cadence_steps", ds.step.values))
        grid = grid[taken[grid]]
    kept = grid[np.unique(np.linspace(0, len(grid) - 1, points).round().astype(int))]
    ds = ds.isel(step=kept, member=slice(0, shown))
    arrays = [ds[m].transpose("row", "column", "member", "step").values for m in section.measures]
    recorded = (section.panel.ds.n_recorded.values[..., :shown, None] > kept).sum(-1)
    cells: dict[str, list[list[Any]]] = {}
    for row, column, member in np.ndindex(recorded.shape):
        if (row * recorded.shape[1] + column) % every:
            continue
        n = int(recorded[row, column, member])
        outcome = Outcome(int(ds.outcome.values[row, column, member]))
        if outcome is Outcome.NOT_PLANNED or n == 0:
            continue
        curves = [_plain(a[row, column, member, :n]) for a in arrays]
        place = f"{row},{column}"
        cells.setdefault(place, []).append([member, ORDER.index(int(outcome)), *curves])
    return {
        "steps": [int(s) for s in ds.step.values],
        "measures": [name_and_unit(section.panel.ds[m]) for m in section.measures],
        "names": list(section.measures),
        "thresholds": list(section.thresholds),
        "logStep": section.log_step,
        "members": [shown, n_members],
        "names_of_members": [str(name) for name in section.panel.members[:shown]],
        "every": every,
        "cells": cells,
    }


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in values.tolist()]
