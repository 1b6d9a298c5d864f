"""The figure of `search`: one objective in the order of the points and against each parameter."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from phasecube.analysis.lines.line_figures import COLOURS, MARKERS
from phasecube.analysis.print_style import add_caption, styled

if TYPE_CHECKING:
    from phasecube.analysis.search.plot import Panel

LOG_FROM = 30.0  # values whose ratio is larger are drawn on a log scale
PANEL_IN, COLUMNS, MOST_PANELS = 1.9, 3, 9
POINTS, LINE = COLOURS[1], COLOURS[0]


def search_figure(
    panels: Sequence[Panel],
    label: str,
    missing_P: Sequence[str],
    best: int | None,
    caption: str,
) -> Figure:
    """Return the panels side by side, with one scale of the objective.

    `missing_P` says why a point has no number; such points are marks below the axis.
    """
    shown = list(panels[:MOST_PANELS])
    n_columns = min(COLUMNS, len(shown))
    n_rows = -(-len(shown) // n_columns)
    kinds = [why for why in dict.fromkeys(missing_P) if why]
    with styled():
        size = (0.7 + PANEL_IN * n_columns, 0.5 + PANEL_IN * n_rows)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
        for axes, panel in zip(grid.flat, shown):
            _draw(axes, panel, missing_P, kinds, best)
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        for row in grid:
            row[0].set_ylabel(textwrap.fill(label, 26))
        if is_wide(shown[0].value_P):
            grid[0, 0].set_yscale("log")
        figure.legend(handles=_keys(kinds), loc="outside upper right", ncols=4, frameon=False)
        add_caption(figure, caption)
    return figure


def front_figure(
    values_PO: npt.NDArray[np.float64],
    front_P: npt.NDArray[np.bool_],
    labels: Sequence[str],
    caption: str,
) -> Figure:
    """Return one objective against the other, the front as filled points and steps."""
    first_P, second_P = values_PO.T
    with styled():
        figure = Figure(figsize=(3.6, 2.8), layout="constrained")
        axes = figure.subplots()
        axes.plot(first_P, second_P, "o", mfc="none", mec=POINTS, ms=3.2, mew=0.8)
        order = np.flatnonzero(front_P)[np.argsort(first_P[front_P], kind="stable")]
        axes.plot(first_P[order], second_P[order], "o-", color=LINE, ms=3.6, lw=0.8, zorder=3)
        for set_scale, value_P in ((axes.set_xscale, first_P), (axes.set_yscale, second_P)):
            if is_wide(value_P):
                set_scale("log")
        axes.set_xlabel(textwrap.fill(labels[0], 40))
        axes.set_ylabel(textwrap.fill(labels[1], 32))
        axes.spines[["top", "right"]].set_visible(False)
        add_caption(figure, caption)
    return figure


def _draw(
    axes: Any, panel: Panel, missing_P: Sequence[str], kinds: Sequence[str], best: int | None
) -> None:
    axes.plot(panel.x_P, panel.value_P, "o", mfc="none", mec=POINTS, ms=3.2, mew=0.8, zorder=3)
    if panel.best is not None:
        axes.step(*panel.best, where="post", color=LINE, lw=1.0, zorder=2)
    if best is not None:
        axes.plot(panel.x_P[best], panel.value_P[best], "o", color=POINTS, ms=4.5, zorder=4)
    for place, kind in enumerate(kinds):
        at = panel.x_P[[why == kind for why in missing_P]]
        mark = MARKERS[1 + place % (len(MARKERS) - 1)]
        axes.plot(
            *(at, np.full(len(at), -0.04 - 0.05 * place), mark),
            color=COLOURS[2 + place],
            ms=2.6,
            clip_on=False,
            mew=0.0,
            transform=axes.get_xaxis_transform(),
        )
    axes.tick_params(axis="x", pad=3 + 5 * len(kinds))
    if panel.log_x:
        axes.set_xscale("log")
    if panel.ticks:
        axes.set_xticks(range(len(panel.ticks)), panel.ticks)
    axes.set_xlabel(textwrap.fill(panel.label, 26))
    axes.spines[["top", "right"]].set_visible(False)


def is_wide(value_P: npt.NDArray[np.float64]) -> bool:
    """Return whether positive values span more than a linear scale shows."""
    known = value_P[np.isfinite(value_P)]
    return bool(len(known) and known.min() > 0 and known.max() / known.min() > LOG_FROM)


def _keys(kinds: Sequence[str]) -> list[Any]:
    def key(label: str, **style: Any) -> Any:
        return mpl.lines.Line2D([], [], label=label, **style)

    found = [
        key("a point", ls="", marker="o", mfc="none", mec=POINTS, ms=4),
        key("the best so far", color=LINE, lw=1.0),
    ]
    for place, kind in enumerate(kinds):
        mark = MARKERS[1 + place % (len(MARKERS) - 1)]
        found.append(key(kind, ls="", marker=mark, color=COLOURS[2 + place], ms=4))
    return found
