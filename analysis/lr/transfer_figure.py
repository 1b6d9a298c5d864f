"""The figure of `lr_transfer`: panels of loss against learning rate, and one of the optima."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from phasecube.analysis.labels import format_value
from phasecube.analysis.lines.line_figures import MARKERS, line_colours
from phasecube.analysis.print_style import add_caption, styled

Floats = npt.NDArray[np.float64]
MOST_COLUMNS = 3  # of a page in print


@dataclass(frozen=True)
class Curves:
    """One panel: mean loss [X, L] with its interval, and of each x the optimum with its own."""

    label: str
    loss_XL: Floats
    low_XL: Floats
    high_XL: Floats
    optimum_X: Floats
    optimum_low_X: Floats
    optimum_high_X: Floats
    best_loss_X: Floats
    at_edge_X: Floats


def transfer_figure(
    panels: Sequence[Curves],
    lr_L: Floats,
    x_X: Floats,
    names: Sequence[str],
    *,
    labels: tuple[str, str, str],
    caption: str,
    title: str,
    by: str,
    log: bool,
) -> Figure:
    """Return a panel for each of `panels`, one curve for each x, and the panel of optima.

    `names` of the curves stand in the legend; `labels` are those of lr, loss and x; `by` is
    the axis of the panels.
    """
    lr_label, loss_label, x_label = labels
    with styled():
        n = len(panels)
        n_columns = min(n + 1, MOST_COLUMNS)
        n_rows = math.ceil((n + 1) / n_columns)
        size = (2.2 * n_columns + 0.6, 2.5 * n_rows + 0.2)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for unused in grid[n + 1 :]:
            unused.remove()
        grid = grid[: n + 1]
        for axes in grid[1:n]:
            axes.sharey(grid[0])  # before anything is drawn: the range is that of all
        colours = line_colours(len(x_X))
        for axes, panel in zip(grid, panels, strict=False):
            _draw_losses(axes, panel, lr_L, names, colours)
            axes.set_xscale("log")
            if log:
                axes.set_yscale("log")
            axes.tick_params(labelleft=axes.get_subplotspec().is_first_col())
            axes.set_xlabel(lr_label)
            axes.set_title(f"{by} = {panel.label}" if by else "")
        grid[0].set_ylabel(textwrap.fill(loss_label, 40))
        handles, _ = grid[0].get_legend_handles_labels()
        star = Line2D([], [], marker="*", ls="none", color="#555555", ms=7, label="optimum")
        grid[0].legend(handles=[*handles, star], frameon=False, loc="best", handlelength=1.4)
        _draw_optima(grid[-1], panels, lr_L, x_X, by)
        grid[-1].set_xlabel(x_label)
        grid[-1].set_ylabel(f"best {lr_label}")
        for axes in grid:
            axes.spines[["top", "right"]].set_visible(False)
        if title:
            figure.suptitle(title, fontsize=8)
        add_caption(figure, caption)
    return figure


def _draw_losses(
    axes: Any, panel: Curves, lr_L: Floats, names: Sequence[str], colours: Sequence[Any]
) -> None:
    for i, (name, colour) in enumerate(zip(names, colours, strict=True)):
        marker = MARKERS[i % len(MARKERS)]
        style: Any = {"color": colour, "lw": 1.1, "marker": marker, "ms": 2.5, "label": name}
        axes.plot(lr_L, panel.loss_XL[i], **style)
        axes.fill_between(lr_L, panel.low_XL[i], panel.high_XL[i], color=colour, alpha=0.18, lw=0)
        if np.isfinite(panel.optimum_X[i]):
            where = (panel.optimum_X[i], panel.best_loss_X[i])
            axes.plot(*where, "*", color=colour, ms=8, mec="white", mew=0.5, zorder=5)


def _draw_optima(axes: Any, panels: Sequence[Curves], lr_L: Floats, x_X: Floats, by: str) -> None:
    for i, (panel, colour) in enumerate(zip(panels, line_colours(len(panels)), strict=True)):
        known = np.isfinite(panel.optimum_X)
        value = panel.optimum_X[known]
        # An interval that reaches past the axis is drawn to its end.
        low = np.clip(panel.optimum_low_X[known], lr_L[0], value)
        high = np.clip(panel.optimum_high_X[known], value, lr_L[-1])
        shape: Any = {"marker": MARKERS[i % len(MARKERS)], "ms": 3.5, "capsize": 2, "lw": 1.1}
        bars = np.array([value - low, high - value])
        axes.errorbar(x_X[known], value, bars, color=colour, label=panel.label or None, **shape)
        for edge, arrow, end in ((1, "^", lr_L[-1]), (-1, "v", lr_L[0])):
            past = x_X[panel.at_edge_X == edge]
            axes.plot(past, np.full(len(past), end), arrow, color=colour, mfc="none", ms=5)
    first = next((float(p.optimum_X[0]) for p in panels if np.isfinite(p.optimum_X[0])), None)
    axes.set_xscale("log")
    axes.set_yscale("log")
    if first is not None:
        for dash, power, name in (("--", 0, "constant"), (":", -1, "∝ 1 / x")):
            law = first * (x_X / x_X[0]) ** power
            axes.plot(x_X, law, ls=dash, color="#777777", lw=0.9, label=name, zorder=1)
    axes.xaxis.set_major_locator(FixedLocator(list(x_X)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(x_X), [format_value(v) for v in x_X])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False, loc="lower left", title_fontsize=7, title=by or None)
