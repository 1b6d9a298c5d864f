"""The figure of `lineage`: panels above each other that share their steps."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from phasecube.analysis.lines.line_figures import COLOURS
from phasecube.analysis.print_style import add_caption, styled

if TYPE_CHECKING:
    from phasecube.analysis.search.lineage_plot import Panel

PANEL_HEIGHT_IN = 1.35
MOST_PANELS = 8
THIN, BOLD = "#9a9a9a", COLOURS[0]


def lineage_figure(panels: Sequence[Panel], caption: str) -> Figure:
    """Return the panels, thin grey lines for all points and a bold one for the best line."""
    shown = [*panels[: MOST_PANELS - 1], panels[-1]] if len(panels) > MOST_PANELS else panels
    with styled():
        size = (4.9, 0.5 + PANEL_HEIGHT_IN * len(shown))
        figure = Figure(figsize=size, layout="constrained")
        column = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, panel in zip(column, shown, strict=True):
            lines = [np.stack(line, 1) for line in panel.points if len(line[0])]
            grey = LineCollection(lines, colors=THIN, linewidths=0.5, alpha=0.6, zorder=1)
            axes.add_collection(grey)
            axes.plot(*panel.best, color=BOLD, lw=1.6, zorder=3, solid_joinstyle="miter")
            if panel.log:
                axes.set_yscale("log")
            axes.autoscale_view()
            axes.set_ylabel(textwrap.fill(panel.label, 22))
            if panel.ticks:
                axes.set_yticks(range(len(panel.ticks)), panel.ticks)
            axes.spines[["top", "right"]].set_visible(False)
        column[-1].set_xlabel("step")
        handles = [
            mpl.lines.Line2D([], [], color=BOLD, lw=1.6, label="best and its ancestors"),
            mpl.lines.Line2D([], [], color=THIN, lw=0.8, label="all points"),
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
        add_caption(figure, caption)
    return figure
