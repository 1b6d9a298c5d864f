"""What a cell of a map looks like, whoever draws it: colour, hatch, letter and text.

The same looks serve print and screen, colour and greyscale, and no state looks like another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from phasecube.analysis.grokking import SETTLED_PHASES, Phase
from phasecube.analysis.labels import format_value
from phasecube.analysis.maps.phase_diagram import CellState


@dataclass(frozen=True)
class Look:
    """How a category is drawn: fill, ink on it, hatch and letter."""

    fill: str
    ink: str
    hatch: str = ""
    letter: str = ""


# Okabe & Ito 2008 hues; lightness L* falls 88, 70, 48, 25 from C to X.
PHASE_LOOKS: Mapping[Phase, Look] = {
    Phase.COMPREHENSION: Look("#F0E442", "#000000", letter="C"),
    Phase.GROKKING: Look("#56B4E9", "#000000", letter="G"),
    Phase.MEMORISATION: Look("#C14B00", "#FFFFFF", letter="M"),
    Phase.CONFUSION: Look("#3B2A6B", "#FFFFFF", letter="X"),
    Phase.DIVERGED: Look("#FFFFFF", "#000000", "xxxx", "D"),
    Phase.LOST: Look("#FFFFFF", "#000000", "++", "F"),
    Phase.NOT_RUN: Look("#FFFFFF", "#666666", "//"),
    Phase.NOT_PLANNED: Look("#FFFFFF", "#666666"),
}
PHASE_NAMES: Mapping[Phase, str] = {
    phase: phase.name.lower().replace("_", " ") for phase in Phase
} | {Phase.LOST: "failed"}
FOUR_LOOKS = dict(list(PHASE_LOOKS.items())[:4])
BEYOND = Look("#D9D9D9", "#000000", "..")


def each_cell(cells: xr.Dataset) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (row, column, values by name) of a map; plain values, for maps have thousands."""
    arrays = {str(name): variable.values for name, variable in cells.data_vars.items()}
    for row, column in np.ndindex(cells.state.shape):
        yield row, column, {name: values[row, column] for name, values in arrays.items()}


def phase_cell(cell: Mapping[str, Any]) -> tuple[Look, str, str]:
    """Return look, text and legend entry of one cell of a phase map."""
    phase = Phase(int(cell["phase"]))
    look = PHASE_LOOKS[phase]
    text = ""
    if phase in SETTLED_PHASES:
        text = f"{look.letter}\n{int(cell['count'].max())}/{int(cell['n_planned'])}"
    return look, text, f"{look.letter} {PHASE_NAMES[phase]}".strip()


def value_cell(cell: Mapping[str, Any], shade: tuple[str, str]) -> tuple[Look, str, str]:
    """Return look, text and legend entry (empty for an ordinary value) of one cell."""
    value, state = float(cell["value"]), CellState(int(cell["state"]))
    n_diverged, n_lost = int(cell["n_diverged"]), int(cell["n_lost"])
    if np.isfinite(value):
        text = format_value(value, 3)
        if cell.get("n_censored", 0):
            text += f"\n{int(cell['n_censored'])}/{int(cell['n_used'])} > T"
        return Look(*shade), text, ""
    if np.isinf(value):
        return BEYOND, f"> {format_value(float(cell['beyond']), 3)}", "> T: not by the end"
    if state is CellState.NOT_PLANNED:
        return PHASE_LOOKS[Phase.NOT_PLANNED], "", "not planned"
    if n_diverged and n_diverged >= n_lost:
        return PHASE_LOOKS[Phase.DIVERGED], "D", "D diverged"
    if n_lost:
        return PHASE_LOOKS[Phase.LOST], "F", "F failed"
    if state is CellState.COMPLETE:  # every trial ended and none has the value
        return BEYOND, "–", "no value"
    return PHASE_LOOKS[Phase.NOT_RUN], "", "not run"
