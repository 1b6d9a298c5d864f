"""The figure of `refined_boundary`: tried points, the line with its band, what nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from phasecube.analysis.boundary.refined import values_of
from phasecube.analysis.print_style import add_caption, styled
from phasecube.sweeps.boundary_model import lattice

if TYPE_CHECKING:
    from phasecube.analysis.boundary.refined_plot import Panel
    from phasecube.sweeps.axis import SearchedAxis

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LINE, BAND, NO_COLOUR, YES_COLOUR = "#000000", "#E69F00", "#0072B2", "#D55E00"
REFERENCES = ("#009E73", "#CC79A7", "#555555", "#56B4E9")
HATCH, HATCH_COLOUR = "////", "#BBBBBB"
JOINED, STEEPEST = 0.1, 2.0  # crossings of neighbouring slices farther apart are two branches


def boundary_figure(panels: Sequence[Panel], caption: str) -> Figure:
    """Return one map a panel side by side, or the answers along the only axis."""
    with styled():
        figure = Figure(figsize=(2.2 + 2.7 * len(panels), 2.9), layout="constrained")
        for place, (panel, axes) in enumerate(
            zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True)
        ):
            (_draw_line if panel.y is None else _draw_map)(axes, panel)
            axes.set_title(panel.title)
            _scale(axes.xaxis, axes.set_xlim, panel.x)
            if panel.y is not None:
                _scale(axes.yaxis, axes.set_ylim, panel.y)
                axes.set_ylabel(_label(panel.y) if place == 0 else "")
        figure.legend(handles=_keys(panels), loc="outside right upper", frameon=False)
        add_caption(figure, caption)
    return figure


def _draw_map(axes: Any, panel: Panel) -> None:
    assert panel.y is not None
    unsure_YX = panel.unsure_YX & ~_in_band(panel)
    if unsure_YX.any():
        side = lattice(1, len(unsure_YX))[:, 0]
        hatched = axes.contourf(
            *(values_of(panel.x, side), values_of(panel.y, side)),
            unsure_YX.astype(float),
            levels=[0.5, 1.5],
            colors="none",
            hatches=[HATCH],
            zorder=0,
        )
        hatched.set(edgecolor=HATCH_COLOUR, linewidth=0)
    found = panel.found
    x_C = panel.slice_L[found.line_C]
    value_C, low_C, high_C = (
        values_of(panel.y, share_C) for share_C in (found.value_C, found.low_C, found.high_C)
    )
    for branch in _branches(panel):
        if len(branch) == 1:
            axes.plot(x_C[branch], value_C[branch], ".", color=LINE, ms=2, zorder=3)
            axes.vlines(x_C[branch], low_C[branch], high_C[branch], color=BAND, lw=1.5, zorder=1)
            continue
        axes.fill_between(
            x_C[branch], low_C[branch], high_C[branch], color=BAND, alpha=0.45, lw=0, zorder=1
        )
        axes.plot(x_C[branch], value_C[branch], color=LINE, lw=1.0, zorder=3)
    for place, reference in enumerate(panel.references):
        colour = REFERENCES[place % len(REFERENCES)]
        axes.plot(panel.slice_L, reference.value_L, ls="--", color=colour, lw=1.2, zorder=4)
    _points(axes, panel, panel.values(panel.x.name), panel.values(panel.y.name))


def _in_band(panel: Panel) -> Bools:
    """Return the cells of the map that an interval covers, or touches: it says that itself."""
    found, n = panel.found, len(panel.unsure_YX)
    side = np.linspace(0, 1, n)
    slice_X = np.abs(panel.share_L[:, None] - side).argmin(0)
    covered = np.zeros((n, n), np.bool_)
    margin = 1.5 / max(n - 1, 1)
    for line, low, high in zip(found.line_C, found.low_C, found.high_C, strict=True):
        inside_Y = (side > low - margin) & (side < high + margin)
        covered |= inside_Y[:, None] & (slice_X == line)
    return covered


def _branches(panel: Panel) -> list[npt.NDArray[np.int64]]:
    """Return the crossings of each branch in the order of the slices.

    A crossing goes on that of the slice before it that lies closest on y.
    """
    found = panel.found
    open_: list[list[int]] = []
    closed: list[list[int]] = []
    for line in range(len(panel.slice_L)):
        reach = JOINED + STEEPEST * (panel.share_L[line] - panel.share_L[line - 1] if line else 0.0)
        here = list(np.flatnonzero(found.line_C == line))
        going_on: list[list[int]] = []
        gaps = sorted(
            (abs(found.value_C[c] - found.value_C[branch[-1]]), b, c)
            for b, branch in enumerate(open_)
            for c in here
        )
        used: set[int] = set()
        for gap, b, c in gaps:
            if gap < reach and b not in used and c in here:
                used.add(b)
                here.remove(c)
                going_on.append([*open_[b], int(c)])
        closed += [branch for b, branch in enumerate(open_) if b not in used]
        open_ = going_on + [[int(c)] for c in here]
    return [np.array(branch, np.int64) for branch in [*closed, *open_]]


def _draw_line(axes: Any, panel: Panel) -> None:
    tried, found = panel.tried, panel.found
    trials_N = np.maximum(tried.n_yes_N + tried.n_no_N, 1)
    for low, high in zip(found.low_C, found.high_C, strict=True):
        ends = values_of(panel.x, np.array([low, high]))
        axes.axvspan(*ends, color=BAND, alpha=0.45, lw=0, zorder=1)
        axes.axvline(values_of(panel.x, np.array((low + high) / 2)), color=LINE, lw=1.0, zorder=2)
    for place, reference in enumerate(panel.references):
        axes.axvline(reference.value_L[0], ls="--", color=REFERENCES[place % 4], lw=1.2, zorder=4)
    _points(axes, panel, panel.values(panel.x.name), tried.n_yes_N / trials_N)
    axes.set(ylim=(-0.08, 1.08), ylabel="share of trials that answer yes")


def _points(axes: Any, panel: Panel, x_N: Floats, y_N: Floats) -> None:
    tried, size = panel.tried, 9
    known_N, yes_N = panel.shown_N & tried.has_answer, tried.says_yes
    yes, no = known_N & yes_N, known_N & ~yes_N
    axes.scatter(x_N[yes], y_N[yes], s=size, color=YES_COLOUR, lw=0, zorder=5, clip_on=False)
    axes.scatter(
        *(x_N[no], y_N[no]), s=size, fc="#FFFFFF", ec=NO_COLOUR, lw=0.7, zorder=5, clip_on=False
    )
    lost = panel.shown_N & ~tried.has_answer
    axes.scatter(x_N[lost], y_N[lost], s=size, marker="x", color="#777777", lw=0.8, zorder=5)


def _scale(side: Any, limits: Any, axis: SearchedAxis) -> None:
    if axis.scale == "log":
        from phasecube.analysis.lines.line_figures import _log_ticks

        side._set_axes_scale("log")
        limits(axis.low, axis.high)
        _log_ticks(side)
    limits(axis.low, axis.high)
    side.set_label_text(_label(axis))


def _label(axis: SearchedAxis) -> str:
    name = axis.label or axis.name.replace("_", " ")
    return f"{name} / {axis.unit}" if axis.unit else name


def _keys(panels: Sequence[Panel]) -> list[Any]:
    dot: Any = {"ls": "none", "marker": "o", "ms": 3.2}
    keys: list[Any] = [
        Line2D([], [], color=YES_COLOUR, label="yes", mew=0, **dot),
        Line2D([], [], mfc="#FFFFFF", mec=NO_COLOUR, mew=0.7, label="no", **dot),
    ]
    if any(len(panel.found.value_C) for panel in panels):
        keys.append(Line2D([], [], color=LINE, lw=1.0, label="boundary"))
        keys.append(Patch(fc=BAND, alpha=0.45, lw=0, label="its interval"))
    for place, reference in enumerate(panels[0].references):
        colour = REFERENCES[place % len(REFERENCES)]
        keys.append(Line2D([], [], ls="--", lw=1.2, color=colour, label=reference.label))
    if any((panel.unsure_YX & ~_in_band(panel)).any() for panel in panels):
        keys.append(Patch(fc="none", ec=HATCH_COLOUR, hatch=HATCH, lw=0, label="not known"))
    return keys
