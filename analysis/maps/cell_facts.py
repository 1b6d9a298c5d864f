"""What is known of a cell, in words for the reader who points at it and as a row of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.grokking import SETTLED_PHASES, Phase
from phasecube.analysis.labels import format_value
from phasecube.analysis.maps.cell_look import PHASE_NAMES, each_cell
from phasecube.analysis.maps.phase_diagram import CellState, Panel


def place(panel: Panel, row: int, column: int) -> list[tuple[str, str]]:
    """Return (axis, value) of both sides of a cell."""
    sides = ((panel.x, column), (panel.y, row))
    return [(side.label, side.ticks[at]) for side, at in sides if side.name]


def phase_facts(cell: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the phase of a cell, its share with interval, and all counts."""
    facts = [("phase", PHASE_NAMES[Phase(int(cell["phase"]))])]
    if np.isfinite(cell["share"]):
        ends = f"{cell['share_low']:.2f} to {cell['share_high']:.2f}"
        facts.append(("share", f"{cell['share']:.2f} ({ends})"))
    counts = zip(SETTLED_PHASES, cell["count"], strict=True)
    others = ", ".join(f"{int(n)} {PHASE_NAMES[phase]}" for phase, n in counts if n)
    return [*facts, ("trials", others)] if others else facts


def value_facts(cell: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """Return the value of a cell with its interval, or that it lies beyond the trials."""
    value, low, high = (float(cell[n]) for n in ("value", "low", "high"))
    if np.isinf(value):
        return [(name, f"> {format_value(float(cell['beyond']))}")]
    if np.isnan(value):
        return [(name, "none")]
    interval = f" ({format_value(low)} to {format_value(high)})" if np.isfinite(low) else ""
    return [(name, format_value(value) + interval)]


def count_facts(cell: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how many trials of a cell settled, and how many of them in no good order."""
    others = (("n_censored", "not by the end"), ("n_diverged", "diverged"), ("n_lost", "failed"))
    return [
        ("settled", f"{int(cell['n_settled'])} of {int(cell['n_planned'])}"),
        *((title, str(int(cell[name]))) for name, title in others if cell.get(name, 0)),
    ]


def entered_sentence(cells: xr.Dataset) -> str:
    """Return how many trials of a map have a value or a vote, and how many of them are censored."""
    total = {
        n: int(cells[n].sum())
        for n in ("n_planned", "n_settled", "n_used", "n_censored")
        if n in cells
    }
    if "value" not in cells:  # diverged and failed trials have a vote, too
        return f"All {total['n_settled']:,} that ended are counted in their cells."
    used, planned = total["n_used"], total["n_planned"]
    said = f"{used:,} of the {planned:,} enter the map" if used < planned else "All enter the map"
    if censored := total.get("n_censored", 0):
        said += f", {censored:,} of them censored: only a bound of theirs is known"
    return said + "."


def table_of(panel: Panel, cells: xr.Dataset) -> pd.DataFrame:
    """Return the map as rows: place, values, counts; states and phases by name."""
    fixed = {name: format_value(value) for name, value in panel.fixed.items()}
    rows = []
    for row, column, cell in each_cell(cells):
        entry: dict[str, Any] = dict(fixed)
        entry |= {s.name: s.ticks[i] for s, i in ((panel.x, column), (panel.y, row)) if s.name}
        for name, value in cell.items():
            if name == "phase":
                entry["phase"] = PHASE_NAMES[Phase(int(value))]
            elif name == "state":
                entry["state"] = CellState(int(value)).name.lower().replace("_", " ")
            elif name == "count":
                # Diverged and lost ones are counted for every map.
                four = zip(SETTLED_PHASES[:4], value[:4], strict=True)
                entry |= {f"n_{phase.name.lower()}": int(n) for phase, n in four}
            else:
                entry[name] = value.item()
        rows.append(entry)
    return pd.DataFrame(rows)
