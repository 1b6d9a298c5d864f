"""Print-ready figures: phase maps, onset and value maps, learning curves.

Cells are drawn side by side at equal size, whatever the spacing of the axis, so that every
trial can be read; ticks carry the values. Colours keep their order of lightness in a
greyscale print, and letters and hatches say the same again. Nothing here judges: the maps
come from `phase_diagram`. Figures without cells are made in `line_figures`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from phasecube.analysis.labels import format_value, name_and_unit
from phasecube.analysis.maps.bands import Band
from phasecube.analysis.maps.cell_look import FOUR_LOOKS, Look, each_cell, phase_cell, value_cell
from phasecube.analysis.maps.map_lines import MapLine, draw_line
from phasecube.analysis.maps.phase_diagram import CellState, MapAxis, Panel
from phasecube.analysis.print_style import add_caption, styled

COLOURMAP = "cividis"  # of even lightness steps, and the same to readers with colour blindness
MAX_TICKS = 16
TEXT_CELLS = 12  # above so many columns a cell is too small to hold text
CURVE_COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73")


Ends = tuple[float, float]


def ends_of(cells: xr.Dataset) -> Ends | None:
    """Return the ends of a colour scale that are known beforehand: those of a share."""
    return (0.0, 1.0) if cells.attrs.get("statistic") == "share" else None


def shades(values: np.ndarray, *, log: bool, ends: Ends | None = None) -> list[tuple[str, str]]:
    """Return (fill, ink) of each finite value of a flat array; white for others."""
    flat = np.asarray(values, np.float64).ravel()
    shaded = np.isfinite(flat) & ((flat > 0) | (not log))
    rgba = np.ones((len(flat), 4))
    rgba[shaded] = mpl.colormaps[COLOURMAP](_norm(values, log=log, ends=ends)(flat[shaded]))
    # The ink of the higher contrast by WCAG 2.2: it is at least 4.58 on any fill.
    light = np.where(rgba <= 0.04045, rgba / 12.92, ((rgba + 0.055) / 1.055) ** 2.4)
    dark = light[:, :3] @ [0.2126, 0.7152, 0.0722] < 0.179
    return [
        (to_hex(tuple(fill)), "#FFFFFF" if is_dark else "#000000")
        for fill, is_dark in zip(rgba, dark, strict=True)
    ]


@dataclass(frozen=True)
class Shades:
    """A colour scale for the page: fills from the lowest to the highest value."""

    low: float
    high: float
    log: bool
    fills: tuple[str, ...]


def shade_bar(
    values: np.ndarray, *, log: bool, ends: Ends | None = None, n: int = 24
) -> Shades | None:
    """Return the colour scale of a map, None if it has fewer than two different values."""
    finite = values[np.isfinite(values) & ((values > 0) | (not log))]
    if ends is None and np.unique(finite).size < 2:
        return None
    low, high = ends or (float(finite.min()), float(finite.max()))
    fills = tuple(to_hex(c) for c in mpl.colormaps[COLOURMAP](np.linspace(0, 1, n)))
    return Shades(low, high, log, fills)


def _norm(values: np.ndarray, *, log: bool, ends: Ends | None) -> Normalize:
    if ends is not None:
        return Normalize(*ends)
    finite = values[np.isfinite(values) & ((values > 0) | (not log))]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (1.0, 10.0)
    if low == high:  # one colour needs a scale too
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    return LogNorm(low, high) if log else Normalize(low, high)


def phase_figure(panel: Panel, cells: xr.Dataset, caption: str) -> Figure:
    """Return the map of phases: letter and share in each cell, hatched where none is known."""
    looks = [phase_cell(cell) for _, _, cell in each_cell(cells)]
    keys = {f"{look.letter} {p.name.lower()}": look for p, look in FOUR_LOOKS.items()}
    return category_figure(panel, cells, looks, keys, caption)


def category_figure(
    panel: Panel,
    cells: xr.Dataset,
    looks: Sequence[tuple[Look, str, str]],
    legend: Mapping[str, Look],
    caption: str,
) -> Figure:
    """Return a map of categories from (look, text, legend entry) in the order of `each_cell`.

    `legend` holds the entries that stand there whether or not a cell has them.
    """
    with styled():
        figure, axes = _map_axes(panel, cells.state)
        keys = dict(legend)
        drawn = []
        for (row, column, _), (look, text, key) in zip(each_cell(cells), looks, strict=True):
            keys[key] = look
            drawn.append((row, column, look, text))
        _draw_cells(axes, drawn, cells.state.values == CellState.PARTLY_RUN)
        handles = _keys(keys)
        if (cells.state == CellState.PARTLY_RUN).any():
            handles.append(_corner_key())
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False)
        add_caption(figure, caption)
    return figure


def value_figure(
    panel: Panel,
    cells: xr.Dataset,
    caption: str,
    *,
    log: bool,
    lines: Sequence[MapLine] = (),
) -> Figure:
    """Return the map of a value or an onset by colour; cells past the trials say "> T".

    With `lines` over it, the cells hold no text.
    """
    values = np.asarray(cells.value.values, np.float64)
    ends = ends_of(cells)
    norm = _norm(values, log=log, ends=ends)
    with styled():
        figure, axes = _map_axes(panel, cells.value)
        keys: dict[str, Look] = {}
        looks = shades(values, log=log, ends=ends)
        drawn = []
        for (row, column, cell), shade in zip(each_cell(cells), looks, strict=True):
            look, text, key = value_cell(cell, shade)
            if key:
                keys[key] = look
            drawn.append((row, column, look, "" if lines else text))
        _draw_cells(axes, drawn, cells.state.values == CellState.PARTLY_RUN)
        line_keys = [draw_line(axes, line) for line in reversed(lines)][::-1]
        bar = figure.colorbar(
            mpl.cm.ScalarMappable(norm, COLOURMAP), ax=axes, pad=0.03, fraction=0.06
        )
        label = name_and_unit(cells.value) + (", log scale" if log else "")
        bar.set_label(textwrap.fill(label, 44))
        bar.ax.tick_params(which="both", width=0.5)
        if log:
            few = float(norm.vmax or 0) < 1e4 * float(norm.vmin or 0)
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
            bar.ax.yaxis.set_minor_formatter(NullFormatter())
        bar.ax.yaxis.set_major_formatter(lambda value, _position: format_value(value))
        handles = line_keys + _keys(keys)
        if (cells.state == CellState.PARTLY_RUN).any():
            handles.append(_corner_key())
        if handles:
            figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False)
        add_caption(figure, caption)
    return figure


def curves_figure(
    bands: Sequence[tuple[str, Sequence[Band]]], y_label: str, caption: str, *, log_step: bool
) -> Figure:
    """Return learning curves, one small plot for each (title, bands), equal scales."""
    n_columns = min(3, max(1, len(bands)))
    n_rows = -(-len(bands) // n_columns)
    with styled():
        size = (min(6.9, 0.9 + 2.2 * n_columns), 0.9 + 1.7 * n_rows)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
        for axes, (title, lines) in zip(grid.flat, bands, strict=False):
            for line, colour, dash in zip(
                lines, CURVE_COLOURS * len(lines), ("-", "--", "-.", ":") * len(lines)
            ):
                axes.plot(line.steps, line.middle, dash, color=colour, lw=1.1, label=line.label)
                axes.fill_between(line.steps, line.low, line.high, color=colour, alpha=0.18, lw=0)
            axes.set_title(textwrap.fill(title, 38))
            if log_step:
                first = next((s for s in lines[0].steps if s > 0), 1)
                axes.set_xscale("symlog", linthresh=first)  # linear from 0 to the first record
            axes.spines[["top", "right"]].set_visible(False)
        for axes in list(grid.flat)[len(bands) :]:
            axes.remove()
        figure.supxlabel("step", fontsize=8)
        figure.supylabel(y_label, fontsize=8)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False)
        add_caption(figure, caption)
    return figure


def _map_axes(panel: Panel, grid: xr.DataArray) -> tuple[Figure, Any]:
    n_rows, n_columns = grid.sizes["row"], grid.sizes["column"]
    cell_in = min(0.55, 4.6 / n_columns)
    width = max(3.4, cell_in * n_columns + 2.0)
    height = max(2.2, min(cell_in * 0.8, 6.0 / n_rows) * n_rows + 1.3)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(-0.5, n_columns - 0.5)
    axes.set_ylim(-0.5, n_rows - 0.5)
    _ticks(axes.xaxis, panel.x, n_columns)
    _ticks(axes.yaxis, panel.y, n_rows)
    longest = max(len(t) for t in panel.x.ticks)
    if longest * 0.06 > cell_in:
        axes.tick_params(axis="x", rotation=60)
    if panel.title:
        axes.set_title(panel.title)
    return figure, axes


def _ticks(axis: Any, side: MapAxis, n: int) -> None:
    every = -(-n // MAX_TICKS)
    axis.set_ticks(range(0, n, every), side.ticks[::every])
    axis.set_label_text(side.label)
    axis.set_tick_params(length=2)


def _draw_cells(
    axes: Any, cells: Sequence[tuple[int, int, Look, str]], partly_run: np.ndarray
) -> None:
    """Draw cells in one collection per hatch: a patch for each of thousands is slow."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    for hatch in dict.fromkeys(look.hatch for _, _, look, _ in cells):
        alike = [cell for cell in cells if cell[2].hatch == hatch]
        axes.add_collection(
            PolyCollection(
                [corners + np.array([column, row]) for row, column, _, _ in alike],
                facecolors=[look.fill for _, _, look, _ in alike],
                edgecolors="#9A9A9A" if hatch else "#FFFFFF",
                hatch=hatch or None,
                linewidths=0.4,
            )
        )
    # A white triangle in the corner of cells of which some trials have not ended.
    triangle = np.array([[0.22, 0.5], [0.5, 0.5], [0.5, 0.14]])
    places = [triangle + place[::-1] for place in np.argwhere(partly_run)]  # (column, row)
    axes.add_collection(
        PolyCollection(places, facecolors="#FFFFFF", edgecolors="#000000", linewidths=0.5)
    )
    if partly_run.shape[1] > TEXT_CELLS:
        return
    for row, column, look, text in cells:
        # Letters must not drown in the hatch.
        box = {"facecolor": "#FFFFFF", "edgecolor": "none", "pad": 0.8} if look.hatch else None
        style = {"ha": "center", "va": "center", "fontsize": 6.5}
        if text:
            axes.text(column, row, text, color=look.ink, bbox=box, **style)


def _keys(keys: Mapping[str, Look]) -> list[Any]:
    return [
        Patch(facecolor=k.fill, edgecolor="#333333", hatch=k.hatch, linewidth=0.5, label=name)
        for name, k in keys.items()
    ]


def _corner_key() -> Any:
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=[(-1, 1), (1, 1), (1, -1), (-1, 1)],
        markersize=7,
        markerfacecolor="#FFFFFF",
        markeredgecolor="#000000",
        markeredgewidth=0.5,
        label="partly run",
    )
