"""The figures of `boundary_dimension`: box counts with their slopes, and shaded maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.figure import Figure

from phasecube.analysis.boundary.dimension import SMOOTH_BELOW, edge_cells
from phasecube.analysis.lines.line_figures import MARKERS, line_colours
from phasecube.analysis.print_style import add_caption, styled

if TYPE_CHECKING:
    from phasecube.analysis.boundary.dimension_plot import Window

Floats = npt.NDArray[np.float64]
PALEST = 0.25  # of a colour, for the slowest run of a side
SHOWN_EDGES = 0.1  # share of the cells, above which they would hide the map
MAP_POINTS = 122.0  # width of a map in points


def counts_figure(labels: Sequence[str], slices: Sequence[xr.Dataset], caption: str) -> Figure:
    """Return boxes against their side on the left, local slopes with the dimension right."""
    with styled():
        figure = Figure(figsize=(6.6, 2.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        for place, (label, found, colour) in enumerate(
            zip(labels, slices, line_colours(len(slices)), strict=True)
        ):
            side_B, boxes_B = found.box.values.astype(np.float64), found.boxes.values
            mark = {"color": colour, "marker": MARKERS[place % len(MARKERS)], "markersize": 3.5}
            drawn = boxes_B > 0
            left.plot(side_B[drawn], boxes_B[drawn], linewidth=1, label=label or None, **mark)
            between_B = side_B * 2**0.5
            right.plot(between_B, found.slope.values, linewidth=1, **mark)
            if np.isfinite(found.dimension):
                right.axhline(float(found.dimension), color=colour, linewidth=0.6, linestyle=":")
        _guides(left, slices)
        left.set(xscale="log", yscale="log", xlabel="side of a box / cells")
        left.set_ylabel("boxes on the boundary")
        right.set(
            xscale="log", xlabel="side of a box / cells", ylabel="local slope", ylim=(0.5, 2.1)
        )
        right.axhline(SMOOTH_BELOW, color="#888888", linewidth=0.8, linestyle="--")
        right.text(
            *(0.02, SMOOTH_BELOW + 0.015),
            "smooth below",
            transform=right.get_yaxis_transform(),
            fontsize=6.5,
            color="#555555",
        )
        sides = slices[0].box.values
        for axes in (left, right):
            axes.set_xticks(sides, [str(int(s)) for s in sides])
            axes.minorticks_off()
        if any(labels):
            figure.legend(loc="outside right upper", frameon=False)
        add_caption(figure, caption)
    return figure


def _guides(axes: Any, slices: Sequence[xr.Dataset]) -> None:
    """Draw slopes -1 and -2, clear of the counts."""
    side_B = slices[0].box.values.astype(np.float64)
    least = min((f.boxes.values[0] for f in slices if f.boxes.values[0] > 0), default=1.0)
    last = max(1.0, *(f.boxes.values[-1] for f in slices))
    for start, power in ((least, 1), (1.5 * last * side_B[-1] ** 2, 2)):
        axes.plot(
            side_B, 1.6 * start / side_B**power, color="#888888", linewidth=0.8, linestyle="--"
        )
        axes.annotate(
            f"−{power}",
            (side_B[1], 1.6 * start / side_B[1] ** power),
            textcoords="offset points",
            xytext=(3, 2),
            fontsize=6.5,
            color="#555555",
        )


def maps_figure(windows: Sequence[Window], caption: str) -> Figure:
    """Return one shaded map for each window, its edges in black."""
    n_columns = min(3, len(windows))
    n_rows = -(-len(windows) // n_columns)
    with styled():
        figure = Figure(figsize=(0.4 + 2.2 * n_columns, 0.3 + 2.2 * n_rows), layout="constrained")
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        for axes in grid.flat[len(windows) :]:
            axes.set_axis_off()
        for axes, window in zip(grid.flat, windows, strict=False):
            _map(axes, window)
        add_caption(figure, caption)
    return figure


def _map(axes: Any, window: Window) -> None:
    (x_name, x), (y_name, y) = window.x, window.y
    order_y, order_x = np.argsort(y), np.argsort(x)
    holds_YX = window.holds_YX[np.ix_(order_y, order_x)]
    image = shaded(holds_YX, window.intensity_YX[np.ix_(order_y, order_x)])
    log = [bool((side > 0).all()) for side in (x, y)]
    spans = [
        np.log10(np.sort(side)) if is_log else np.sort(side)
        for side, is_log in zip((x, y), log, strict=True)
    ]
    halves = [(span[1] - span[0]) / 2 for span in spans]
    (left, right), (low, high) = (
        (span[0] - half, span[-1] + half) for span, half in zip(spans, halves, strict=True)
    )
    axes.imshow(
        image,
        origin="lower",
        extent=(left, right, low, high),
        aspect="auto",
        interpolation="nearest",
    )
    edges = edge_cells(holds_YX)
    if 0 < edges.mean() < SHOWN_EDGES:
        rows, columns = np.nonzero(edges)
        axes.plot(
            spans[0][columns] + halves[0],
            spans[1][rows] + halves[1],
            linestyle="",
            marker="s",
            markersize=MAP_POINTS / len(edges),
            markeredgewidth=0,
            color="#000000",
        )
    for name, is_log, setter in zip(
        (x_name, y_name), log, (axes.set_xlabel, axes.set_ylabel), strict=True
    ):
        setter(f"log₁₀ {name}" if is_log else name)
    axes.set_title(window.title)


def shaded(holds_YX: Floats, intensity_YX: Floats) -> Floats:
    """Return colours [Y, X, 3]: by label, darker by rank of |intensity| among its own."""
    image = np.ones((*holds_YX.shape, 3))
    for label, name, sign in ((1.0, "Blues", 1.0), (0.0, "Reds", -1.0)):
        mine = (holds_YX == label) & np.isfinite(intensity_YX)
        values = sign * intensity_YX[mine]  # greatest: soonest
        if not len(values):
            continue
        distinct, place = np.unique(values, return_inverse=True)
        rank = place / max(1, len(distinct) - 1)
        image[mine] = mpl.colormaps[name](PALEST + (0.95 - PALEST) * rank)[:, :3]
    return image
