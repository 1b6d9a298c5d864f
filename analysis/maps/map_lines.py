"""Lines over a map of cells, in the places of its rows and columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MapLine:
    """One line: a row for each of its columns, NaN where it has none.

    Whole numbers are the middles of cells. `low_C`, `high_C`: the ends of bars, empty for
    a line without. `past`: columns in which only a bound is known, and whether the line
    lies above the map (true) or below it. `joined`: whether its columns are connected.
    """

    label: str
    row_C: Floats
    colour: str
    dashed: bool = False
    low_C: Floats = field(default_factory=lambda: np.zeros(0))
    high_C: Floats = field(default_factory=lambda: np.zeros(0))
    past: tuple[tuple[int, bool], ...] = ()
    joined: bool = True

    def pieces(self) -> list[list[tuple[float, float]]]:
        """Return the runs of (column, row) without a gap; a lone one spans its cell."""
        found: list[list[tuple[float, float]]] = [[]]
        if not self.joined:
            return []
        for column, row in enumerate(self.row_C):
            if np.isfinite(row):
                found[-1].append((float(column), float(row)))
            elif found[-1]:
                found.append([])
        lone = [len(piece) == 1 and not len(self.low_C) for piece in found]
        return [
            [(x - 0.5, y), (x + 0.5, y)] if alone else piece
            for piece, alone in zip(found, lone, strict=True)
            for x, y in piece[:1]
        ]


def row_of(values: Floats, at_rows: Floats, *, clip: bool) -> Floats:
    """Return the row of each value among the increasing values of the rows, interpolated.

    On a logarithmic scale where those are all above 0. Values past the outer edges of the
    outer cells are NaN, or lie on the edge with `clip`.
    """
    log = bool((at_rows > 0).all())
    with np.errstate(divide="ignore"):
        place_R = np.log(at_rows) if log else np.asarray(at_rows, np.float64)
        place = np.log(values) if log else np.asarray(values, np.float64)
    n = len(place_R)
    if n == 1:
        row = np.where(place == place_R[0], 0.0, np.where(place > place_R[0], 1.0, -1.0))
        row = np.where(np.isnan(place), np.nan, row)
    else:
        row = np.interp(place, place_R, np.arange(n))
        first, last = place_R[1] - place_R[0], place_R[-1] - place_R[-2]
        row = np.where(place < place_R[0], (place - place_R[0]) / first, row)
        row = np.where(place > place_R[-1], n - 1 + (place - place_R[-1]) / last, row)
    if clip:
        return np.asarray(np.clip(row, -0.5, n - 0.5))
    return np.where((row < -0.5) | (row > n - 0.5), np.nan, row)


def draw_line(axes: Any, line: MapLine) -> Any:
    """Draw a line on matplotlib's axes over cells of any colour; return its key for a legend."""
    style: Any = {"color": line.colour, "ls": "--" if line.dashed else "-"}
    for colour, width in (("#FFFFFF", 2.6), (line.colour, 1.1)):  # a white seam on dark cells
        for piece in line.pieces():
            x, y = zip(*piece)
            axes.plot(x, y, lw=width, color=colour, ls="-" if width > 2 else style["ls"], zorder=3)
    bars = len(line.low_C) > 0
    if bars:
        known = np.isfinite(line.row_C)
        at = np.flatnonzero(known)
        ends = np.array([line.row_C - line.low_C, line.high_C - line.row_C])[:, known]
        for colour, width in (("#FFFFFF", 3.0), (line.colour, 1.1)):
            axes.errorbar(
                *(at, line.row_C[known], ends),
                fmt="none",
                ecolor=colour,
                elinewidth=width,
                zorder=4,
            )
        axes.plot(
            *(at, line.row_C[known]),
            marker="o",
            ls="none",
            ms=3.5,
            mfc=line.colour,
            mec="#FFFFFF",
            mew=0.6,
            zorder=5,
        )
    bottom, top = axes.get_ylim()
    for column, above in line.past:
        axes.plot(
            *(column, top if above else bottom),
            marker="^" if above else "v",
            ms=6,
            mfc=line.colour,
            mec="#FFFFFF",
            mew=0.6,
            clip_on=False,
            zorder=5,
        )
    style["ls"] = style["ls"] if line.joined else "none"
    marker = "o" if bars else ""
    (key,) = axes.plot([], [], lw=1.1, marker=marker, ms=3.5, label=line.label, **style)
    return key
