"""What an analysis comes to: sections of maps that share cells, and plots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from phasecube.analysis.caution import Caution
from phasecube.analysis.maps import figures
from phasecube.analysis.maps.cell_look import Look
from phasecube.analysis.maps.map_lines import MapLine
from phasecube.analysis.maps.phase_diagram import Panel
from phasecube.analysis.plots import Plot


@dataclass(frozen=True)
class Cell:
    """One cell as the page draws it; `facts` are (name, value) pairs shown on hover."""

    row: int
    column: int
    look: Look
    text: str
    partly: bool
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Map:
    """One map: its cells, legend, caption, the table behind it and the figure for print.

    `found` says in a few words what it shows, `entered` which of its trials have a value.
    """

    name: str
    title: str
    caption: str
    cells: tuple[Cell, ...]
    legend: tuple[tuple[str, Look], ...]
    table: pd.DataFrame
    figure: Callable[[], Figure]
    shades: figures.Shades | None = None
    lines: tuple[MapLine, ...] = ()
    cautions: tuple[Caution, ...] = ()
    found: str = ""
    entered: str = ""


@dataclass(frozen=True)
class Section:
    """One panel of one request: maps that share cells, and the measures of its curves."""

    title: str
    panel: Panel
    maps: tuple[Map, ...]
    measures: tuple[str, ...]
    log_step: bool
    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """What one request came to; `note` says what was left out and why."""

    heading: str
    sections: tuple[Section, ...]
    note: str = ""
    plots: tuple[Plot, ...] = ()
