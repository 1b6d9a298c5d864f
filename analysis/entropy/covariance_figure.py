"""The figure of the covariance law: one point per update, and where all would lie."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from phasecube.analysis.lines.line_figures import MARKERS, line_colours
from phasecube.analysis.print_style import add_caption, styled

LABEL_LETTERS = 40
POINTS = 1500  # drawn of a line; the law is of all


def covariance_figure(
    lines: Sequence[tuple[str, np.ndarray, np.ndarray]],
    x_label: str,
    y_label: str,
    caption: str,
    *,
    title: str = "",
) -> Figure:
    """Return the points (label, predicted, actual) of every line over the diagonal."""
    with styled():
        figure = Figure(figsize=(4.9, 3.1), layout="constrained")
        axes = figure.add_subplot()
        ends = [np.zeros(1)]
        for place, ((label, x, y), colour) in enumerate(
            zip(lines, line_colours(len(lines)), strict=True)
        ):
            known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
            shown = known[:: -(-len(known) // POINTS) or 1]
            style: Any = {"ls": "none", "mew": 0, "alpha": 0.5, "ms": 2.6}
            axes.plot(x[shown], y[shown], MARKERS[place % len(MARKERS)], color=colour, **style)
            # A key that can be seen: the points are small and pale.
            axes.plot([], [], MARKERS[place % len(MARKERS)], color=colour, ms=4, label=label)
            ends += [x[known], y[known]]
        both = np.concatenate(ends)
        edge = np.array([both.min(), both.max()])
        axes.plot(edge, edge, "--", color="#555555", lw=0.9, label="actual = predicted", zorder=3)
        axes.set_xlabel(textwrap.fill(x_label, LABEL_LETTERS))
        axes.set_ylabel(textwrap.fill(y_label, LABEL_LETTERS))
        axes.locator_params(nbins=5)
        axes.set_title(title)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
        add_caption(figure, caption)
    return figure
