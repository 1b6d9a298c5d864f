"""What is known of a cell, in words for the reader who points at it and as a row of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.cell_look import PHASE_NAMES
from phasecube.analysis.grokking import Phase
from phasecube.analysis.labels import format_value, name_and_unit
from phasecube.analysis.phase_diagram import CellState, Panel


def place(panel: Panel, row: int, column: int) -> list[tuple[str, str]]:
    """Return (axis, value) of both sides of a cell."""
    sides = ((panel.x, column), (panel.y, row))
    return [(side.label, side.ticks[at]) for side, at in sides if side.name]


def phase_facts(cell: xr.Dataset) -> list[tuple[str, str]]:
    """Return the phase of a cell, its share with interval, and all counts."""
    phase = Phase(int(cell.phase))
    facts = [("phase", PHASE_NAMES[phase])]
    if np.isfinite(float(cell.share)):
        ends = f"{float(cell.share_low):.2f} to {float(cell.share_high):.2f}"
        facts.append(("share", f"{float(cell.share):.2f} ({ends})"))
    counts = cell["count"]
    others = [
        f"{int(n)} {PHASE_NAMES[Phase[str(p).upper()]]}"
        for p, n in zip(counts.of_phase.values, counts.values, strict=True)
        if n
    ]
    return [*facts, ("trials", ", ".join(others))] if others else facts


def value_facts(cell: xr.Dataset) -> list[tuple[str, str]]:
    """Return the value of a cell with its interval, or that it lies beyond the trials."""
    value = float(cell.value)
    name = name_and_unit(cell.value)
    if np.isinf(value):
        return [(name, f"> {format_value(float(cell.beyond))}")]
    if np.isnan(value):
        return [(name, "none")]
    text = format_value(value)
    if np.isfinite(float(cell.low)):
        text += f" ({format_value(float(cell.low))} to {format_value(float(cell.high))})"
    return [(name, text)]


def count_facts(cell: xr.Dataset) -> list[tuple[str, str]]:
    """Return how many trials of a cell settled, and how many of them in no good order."""
    facts = [("settled", f"{int(cell.n_settled)} of {int(cell.n_planned)}")]
    for name, title in (
        ("n_censored", "not by the end"),
        ("n_diverged", "diverged"),
        ("n_lost", "failed"),
    ):
        if name in cell and int(cell[name]):
            facts.append((title, str(int(cell[name]))))
    return facts


def table_of(panel: Panel, cells: xr.Dataset) -> pd.DataFrame:
    """Return the map as rows: place, values, counts; states and phases by name."""
    rows = []
    for row, column in np.ndindex(cells.state.shape):
        cell = cells.isel(row=row, column=column)
        entry: dict[str, Any] = {n: format_value(v) for n, v in panel.fixed.items()}
        entry |= {s.name: s.ticks[i] for s, i in ((panel.x, column), (panel.y, row)) if s.name}
        for name, variable in cell.data_vars.items():
            if name == "phase":
                entry["phase"] = PHASE_NAMES[Phase(int(variable))]
            elif name == "state":
                entry["state"] = CellState(int(variable)).name.lower().replace("_", " ")
            elif name == "count":
                entry |= {
                    f"n_{p}": int(n)
                    for p, n in zip(variable.of_phase.values, variable.values, strict=True)
                    if p not in ("diverged", "lost")  # counted for every map
                }
            else:
                entry[str(name)] = variable.item()
        rows.append(entry)
    return pd.DataFrame(rows)
