"""How a map is made of cells: looks, facts, colour scale, table, and what speaks against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from phasecube.analysis.drawn import Cell, Map
from phasecube.analysis.grokking import Phase
from phasecube.analysis.labels import name_and_unit
from phasecube.analysis.maps import figures
from phasecube.analysis.maps.cell_facts import (
    count_facts,
    entered_sentence,
    place,
    table_of,
    value_facts,
)
from phasecube.analysis.maps.cell_look import PHASE_NAMES, Look, each_cell, value_cell
from phasecube.analysis.maps.map_cautions import cell_cautions, edge_of_map
from phasecube.analysis.maps.phase_diagram import CellState, Panel
from phasecube.analysis.report.findings import commonest_found, values_found


def shaded(
    panel: Panel,
    cells: xr.Dataset,
    name: str,
    title: str,
    caption: str,
    *,
    log: bool,
    end: str | None,
) -> Map:
    """Return a map of values by colour; `end` is the better one, None where neither is."""
    values = np.asarray(cells.value.values, np.float64)
    ends = figures.ends_of(cells)
    shades = figures.shades(values, log=log, ends=ends)
    looks = [
        value_cell(cell, shade)
        for (_, _, cell), shade in zip(each_cell(cells), shades, strict=True)
    ]
    name_of_value = name_and_unit(cells.value)
    drawn = map_of(
        panel,
        name,
        title,
        cells,
        caption,
        looks,
        lambda cell: value_facts(cell, name_of_value),
        lambda: figures.value_figure(panel, cells, caption, log=log),
        {},
    )
    cautions = (*drawn.cautions, *edge_of_map(panel, cells.value, end))
    bar = figures.shade_bar(values, log=log, ends=ends)
    return replace(drawn, shades=bar, cautions=cautions)


def map_of(
    panel: Panel,
    name: str,
    title: str,
    cells: xr.Dataset,
    caption: str,
    looks: list[tuple[Look, str, str]],
    facts: Callable[[Mapping[str, Any]], list[tuple[str, str]]],
    figure: Callable[[], Figure],
    legend: dict[str, Look],
) -> Map:
    """Return a map of cells with their looks, texts and keys in the order of `each_cell`."""
    drawn = []
    for (row, column, cell), (found, text, key) in zip(each_cell(cells), looks, strict=True):
        if key:
            legend[key] = found
        drawn.append(
            Cell(
                row,
                column,
                found,
                text,
                cell["state"] == CellState.PARTLY_RUN,
                (*place(panel, row, column), *facts(cell), *count_facts(cell)),
            )
        )
    return Map(
        *(name, title, caption, tuple(drawn), tuple(legend.items())),
        *(table_of(panel, cells), figure),
        cautions=cell_cautions(panel, cells),
        found=_found(panel, cells),
        entered=entered_sentence(cells),
    )


def _found(panel: Panel, cells: xr.Dataset) -> str:
    if "value" in cells:
        sides = panel.x, panel.y
        return values_found(
            cells,
            lambda row, column: ", ".join(
                f"{side.name} = {side.ticks[at]}"
                for side, at in zip(sides, (column, row), strict=True)
                if side.name
            ),
        )
    some = cells.n_settled.values > 0
    if "label" in cells:
        return commonest_found(cells.label.values[some])
    return commonest_found([PHASE_NAMES[Phase(int(p))] for p in cells.phase.values[some]])


def members_of(panel: Panel) -> str:
    """Return " of 5 seeds in each cell", empty where nothing is reduced."""
    if not panel.over:
        return ""
    n = panel.ds.sizes["member"]
    noun = " × ".join("seeds" if d == "seed" and n > 1 else d for d in panel.over)
    return f" of {n} {noun} in each cell"


def log_step(panel: Panel) -> bool:
    """True where the recorded steps are spaced wider and wider."""
    gaps = np.diff(panel.ds.step.values)
    return bool(len(gaps) > 2 and gaps[-1] > 4 * gaps[0])


def first_upper(text: str) -> str:
    """Return a text with its first letter large."""
    return text[:1].upper() + text[1:]
