"""Figures of lines: points with intervals along an axis, curves with bands over steps."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from phasecube.analysis.labels import format_value, tick_labels
from phasecube.analysis.maps.figures import COLOURMAP, CURVE_COLOURS
from phasecube.analysis.print_style import add_caption, styled

Floats = npt.NDArray[np.float64]
COLOURS = (*CURVE_COLOURS, "#E69F00", "#56B4E9", "#CC79A7")  # Okabe and Ito 2008
MARKERS = "osD^vP*X"
LEGEND_LETTERS, TICK_LETTERS = 36, 14
FEW_PLACES = 8  # so many places on a logarithmic axis are named one by one
LABELLED_DECADES = 2  # shorter axes name 2 and 5 too
MINOR_DECADES = 8  # on longer axes minor ticks run into each other
DASHES = ("-", "--", "-.", (0, (1, 1)))


@dataclass(frozen=True)
class DrawnLine:
    """One line of a plot: where it runs, its interval, what else is drawn in its colour.

    `lost_at`: places where trials diverged, marked at the top. `references`: (places,
    values) of dashed lines. `framed`: whether the plot is made high enough for it.
    """

    label: str
    at: Floats
    value: Floats
    low: Floats
    high: Floats
    lost_at: Floats = field(default_factory=lambda: np.zeros(0))
    references: tuple[tuple[Floats, Floats], ...] = ()
    framed: bool = True


@dataclass(frozen=True)
class Side:
    """One side of a plot; `ticks` are the names of places 0, 1, ... where it has no numbers."""

    label: str
    log: bool = False
    ticks: tuple[str, ...] = ()


def line_figure(
    lines: Sequence[DrawnLine],
    x: Side,
    y: Side,
    caption: str,
    *,
    title: str = "",
    points: bool,
    shared: Sequence[tuple[str, Floats, Floats]] = (),
    reference_label: str = "",
) -> Figure:
    """Return lines with bars (`points`) or bands, dashed references and a legend beside them.

    `shared` holds (label, places, values) of references that are no line's own.
    """
    with styled():
        figure = Figure(figsize=(4.9, 2.9), layout="constrained")
        axes = figure.add_subplot()
        if x.log:
            _log_scale(axes, np.concatenate([line.at for line in lines] or [np.ones(1)]))
        if y.log:
            axes.set_yscale("log")
        # Where references are dashed no line is.
        dashes: Any = (
            DASHES if len(lines) <= len(DASHES) and not any(d.references for d in lines) else "-"
        )
        for place, (line, colour) in enumerate(zip(lines, line_colours(len(lines)), strict=True)):
            # Between the places of words nothing runs.
            dash = ("" if x.ticks else "-") if points else dashes[place % len(dashes)]
            _draw(axes, line, colour, place, dash, bars=points)
        for place, (label, at, value) in enumerate(shared):
            dash = DASHES[1 + place % 3]
            axes.plot(at, value, ls=dash, color="#555555", lw=1.0, label=label, zorder=1)
        _frame(axes, lines, [value for _, _, value in shared], log=y.log)
        axes.set_xlabel(x.label)
        axes.set_ylabel(textwrap.fill(y.label, 44))
        if x.ticks:
            axes.set_xticks(range(len(x.ticks)), [textwrap.fill(t, TICK_LETTERS) for t in x.ticks])
        for axis, side in ((axes.xaxis, x), (axes.yaxis, y)):
            if axis.get_scale() == "log" and not side.ticks:
                _log_ticks(axis)
        few: Any = (
            np.unique(np.concatenate([line.at for line in lines])) if points and lines else []
        )
        if x.log and 1 < len(few) <= FEW_PLACES:
            axes.set_xticks(few, tick_labels(int(v) if v.is_integer() else v for v in few))
            axes.set_xticks([], minor=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(title)
        handles, _ = axes.get_legend_handles_labels()
        if any(line.references for line in lines):
            handles.append(Line2D([], [], ls="--", color="#777777", lw=0.9, label=reference_label))
        if any(len(line.lost_at) for line in lines):
            style: Any = {"marker": "x", "ls": "none", "color": "#777777", "ms": 4}
            handles.append(Line2D([], [], label="some or all diverged", **style))
        if any(h.get_label() for h in handles):
            named = [h for h in handles if h.get_label()]
            for handle in named:  # a long expression would take the place of the axes
                handle.set_label(textwrap.fill(str(handle.get_label()), LEGEND_LETTERS))
            axes.legend(handles=named, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
        add_caption(figure, caption)
    return figure


def _frame(axes: Any, lines: Sequence[DrawnLine], shared: Sequence[Floats], *, log: bool) -> None:
    """Make room for values and references, and for intervals up to as much again.

    Else one run on its way to infinity flattens all others.
    """
    some = [line for line in lines if line.framed] or list(lines)
    values = [line.value for line in some]
    values += [value for line in some for _, value in line.references]
    core = _finite([*values, *shared], log=log)
    if not core.size:
        return
    wide = _finite([core, *(end for line in some for end in (line.low, line.high))], log=log)
    ends = np.array([core.min(), core.max(), wide.min(), wide.max()])
    low, high, least, most = (float(v) for v in (np.log10(ends) if log else ends))
    span = (high - low) or abs(high) or 1.0
    low, high = max(least, low - span), min(most, high + span)
    margin = 0.05 * ((high - low) or span)
    limits = np.array([low - margin, high + margin])
    axes.set_ylim(*(10.0**limits if log else limits))


def _finite(parts: Sequence[Floats], *, log: bool) -> Floats:
    joined: Floats = np.concatenate([np.ravel(part) for part in parts])
    kept: Floats = joined[np.isfinite(joined) & ((joined > 0) | (not log))]
    return kept


def _log_scale(axes: Any, at: Floats) -> None:
    """Draw places logarithmically, and linearly from 0 to the first above it."""
    above = at[at > 0]
    if (at == 0).any() and above.size:
        axes.set_xscale("symlog", linthresh=float(above.min()))
    else:
        axes.set_xscale("log")


def _log_ticks(axis: Any) -> None:
    """Name more places than powers of ten where there are hardly any in sight."""
    decades = float(np.diff(np.log10(axis.get_view_interval()))[0])
    if decades < LABELLED_DECADES:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades > 0.7 else tuple(range(1, 10))))
        axis.set_major_formatter(FuncFormatter(lambda value, _: format_value(float(value), 6)))
    if decades < MINOR_DECADES:
        axis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=100))
        axis.set_minor_formatter(NullFormatter())


def line_colours(n: int) -> list[Any]:
    """Return n colours: of few, those that all readers tell apart, else a scale of lightness."""
    if n <= len(COLOURS):
        return list(COLOURS[:n])
    return [mpl.colormaps[COLOURMAP](share) for share in np.linspace(0.0, 0.88, n)]


def _draw(axes: Any, line: DrawnLine, colour: Any, place: int, dash: Any, *, bars: bool) -> None:
    style: Any = {"color": colour, "label": line.label, "lw": 1.1, "ls": dash, "zorder": 3}
    if bars:
        known = np.isfinite(line.value)
        ends = np.array([line.value - line.low, line.high - line.value])[:, known]
        # A point of one trial has no interval; none is drawn and none is made up.
        reach = np.where(np.isfinite(ends), np.maximum(ends, 0), 0)
        marker = MARKERS[place % len(MARKERS)]
        shape: Any = {"marker": marker, "ms": 3.5, "elinewidth": 0.9, "capsize": 2}
        axes.errorbar(line.at[known], line.value[known], reach, **style, **shape)
    else:
        axes.plot(line.at, line.value, **style)
        axes.fill_between(line.at, line.low, line.high, color=colour, alpha=0.18, lw=0)
    for at, value in line.references:
        axes.plot(at, value, ls="--", color=colour, lw=0.9, zorder=2)
    if len(line.lost_at):
        top = axes.get_xaxis_transform()
        axes.plot(line.lost_at, np.full(len(line.lost_at), 0.985 - 0.03 * (place % 8)), "x",
                  color=colour, ms=4, mew=1.0, transform=top, clip_on=False, zorder=4)  # fmt: skip
