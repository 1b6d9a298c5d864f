"""What a cell of a map looks like, whoever draws it: colour, hatch, letter and text.

The same looks serve print and screen, colour and greyscale, and no state looks like another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from phasecube.analysis.grokking import SETTLED_PHASES, Phase
from phasecube.analysis.labels import format_value
from phasecube.analysis.phase_diagram import CellState


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


def phase_cell(cells: xr.Dataset, row: int, column: int) -> tuple[Look, str, str]:
    """Return look, text and legend entry of one cell of a phase map."""
    at = {"row": row, "column": column}
    phase = Phase(int(cells.phase[at]))
    look = PHASE_LOOKS[phase]
    text = ""
    if phase in SETTLED_PHASES:
        text = f"{look.letter}\n{int(cells['count'][at].max())}/{int(cells.n_planned[at])}"
    return look, text, f"{look.letter} {PHASE_NAMES[phase]}".strip()


def value_cell(
    cells: xr.Dataset, row: int, column: int, shade: tuple[str, str]
) -> tuple[Look, str, str]:
    """Return look, text and legend entry (empty for an ordinary value) of one cell."""
    at = {"row": row, "column": column}
    value = float(cells.value[at])
    state = CellState(int(cells.state[at]))
    if np.isfinite(value):
        text = format_value(value, 3)
        if "n_censored" in cells and int(cells.n_censored[at]):
            text += f"\n{int(cells.n_censored[at])}/{int(cells.n_used[at])} > T"
        return Look(*shade), text, ""
    if np.isinf(value):
        return BEYOND, f"> {format_value(float(cells.beyond[at]), 3)}", "> T: not by the end"
    if state is CellState.NOT_PLANNED:
        return PHASE_LOOKS[Phase.NOT_PLANNED], "", "not planned"
    if int(cells.n_diverged[at]) and int(cells.n_diverged[at]) >= int(cells.n_lost[at]):
        return PHASE_LOOKS[Phase.DIVERGED], "D", "D diverged"
    if int(cells.n_lost[at]):
        return PHASE_LOOKS[Phase.LOST], "F", "F failed"
    if state is CellState.COMPLETE:  # every trial ended and none has the value
        return BEYOND, "–", "no value"
    return PHASE_LOOKS[Phase.NOT_RUN], "", "not run"
