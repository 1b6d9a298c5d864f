"""The figure of `boundary_law`: bars between which each boundary lies, the line and its band."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from phasecube.analysis.labels import tick_labels
from phasecube.analysis.lines.line_figures import DASHES, MARKERS, line_colours
from phasecube.analysis.print_style import add_caption, plain_ticks, styled

if TYPE_CHECKING:
    from phasecube.analysis.boundary.law_plot import Line

_PLACES = 25  # of the line and its band
_ASIDE = 0.35  # of the gap between two widths, over which members stand side by side


def law_figure(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    caption: str,
    *,
    exponent: float | None = None,
    title: str = "",
) -> Figure:
    """Return bars, lines and bands on two logarithmic axes."""
    width_W = np.unique(np.concatenate([line.width_W for line in lines]))
    gap = float(np.diff(np.log(width_W)).min()) if len(width_W) > 1 else 1.0
    with styled():
        figure = Figure(figsize=(4.9, 3.0), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for place, (line, colour) in enumerate(zip(lines, line_colours(len(lines)), strict=True)):
            _draw(axes, line, colour, place, len(lines), gap)
            if exponent is not None and np.isfinite(line.law.slope.value):
                _reference(axes, line, exponent, first=place == 0)
        axes.set_xlabel(x_label)
        axes.set_ylabel(textwrap.fill(y_label, 40))
        if len(width_W) <= 10:
            axes.set_xticks(width_W, tick_labels(int(v) if v.is_integer() else v for v in width_W))
            axes.set_xticks([], minor=True)
        plain_ticks(axes.yaxis, *axes.get_ylim())
        axes.spines[["top", "right"]].set_visible(False)
        if title:
            axes.set_title(title)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
        add_caption(figure, caption)
    return figure


def _draw(axes: Any, line: Line, colour: Any, place: int, n_lines: int, gap: float) -> None:
    low_WN, high_WN = line.rows.low_WN, line.rows.high_WN
    n_rows = low_WN.shape[1]
    # Members side by side, lines beside each other.
    share_N = (np.arange(n_rows) + 0.5) / n_rows - 0.5
    aside_N = _ASIDE * gap * ((place + 0.5) / n_lines - 0.5 + share_N / n_lines)
    x_WN = line.width_W[:, None] * np.exp(aside_N)
    two_WN = (low_WN > 0) & np.isfinite(high_WN)
    marker = MARKERS[place % len(MARKERS)]
    middle_WN = np.sqrt(np.where(two_WN, low_WN * high_WN, np.nan))
    label = line.label or "between two values"
    axes.vlines(x_WN[two_WN], low_WN[two_WN], high_WN[two_WN], color=colour, lw=0.9, alpha=0.8)
    axes.plot(x_WN[two_WN], middle_WN[two_WN], ls="none", marker=marker, ms=2.6, color=colour,
              label=label)  # fmt: skip
    above_WN = (low_WN > 0) & np.isposinf(high_WN)
    below_WN = (low_WN == 0) & np.isfinite(high_WN)
    for known_WN, at_WN, shape, name in (
        (above_WN, low_WN, "^", "beyond this"),
        (below_WN, high_WN, "v", "before this"),
    ):
        if known_WN.any():
            axes.plot(x_WN[known_WN], at_WN[known_WN], shape, mfc="none", mec=colour, ms=4.5,
                      mew=0.8, label=name if place == 0 else None)  # fmt: skip
    if not np.isfinite(line.law.slope.value):
        return
    at_P = np.geomspace(line.width_W.min(), line.width_W.max(), _PLACES)
    found = [line.law.boundary_at(float(width)) for width in at_P]
    value_P, low_P, high_P = (
        np.array([getattr(e, n) for e in found]) for n in ("value", "low", "high")
    )
    power = f"p = {line.law.slope.value:.2f}".replace("-", "−")
    axes.plot(at_P, value_P, color=colour, lw=1.1, ls=DASHES[place % len(DASHES)], label=power)
    bounded_P = np.isfinite(low_P) & np.isfinite(high_P) & (low_P > 0)
    axes.fill_between(at_P, low_P, high_P, where=bounded_P, color=colour, alpha=0.18, lw=0)


def _reference(axes: Any, line: Line, exponent: float, *, first: bool) -> None:
    """Draw the expected exponent through the middle of the fitted line."""
    middle = float(np.exp(np.log(line.width_W).mean()))
    ends = np.array([line.width_W.min(), line.width_W.max()])
    value = line.law.boundary_at(middle).value * (ends / middle) ** exponent
    label = f"expected p = {exponent:g}".replace("-", "−") if first else None
    axes.plot(ends, value, ls=(0, (1, 1.5)), color="#222222", lw=1.2, label=label)
