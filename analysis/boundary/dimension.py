"""How rough the boundary between two labels is on a map: its box-counting dimension.

A map of runs that hold or do not is cut into boxes. A box counts where the boundary passes
through it, that is where the runs at its corners have both labels. N boxes of side s
follow N ~ s^-D: D = 1 for a line, 2 for labels mixed at every scale, between the two for
a fractal. A finite grid shows the slope between two neighbouring sides only, and a coarse
one saturates; so D is the median of the finest slopes, and their spread is told with it.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
FINEST = 3  # slopes that count: sides 1 to 2, 2 to 4, 4 to 8
LEAST_BOXES = 4  # along each axis, of the largest side
LEAST_POINTS = LEAST_BOXES * 2**FINEST + 1
SMOOTH_BELOW = 1.1  # what the slopes of a line reach on a grid of a hundred points


class Roughness(IntEnum):
    """What the finest slopes say of a boundary."""

    NO_BOUNDARY = 0  # one label everywhere that is known
    SMOOTH = 1  # their median is at most SMOOTH_BELOW
    OPEN = 2  # the median is above it, not all of them
    ROUGH = 3  # all are above it: no smooth boundary at these scales


ROUGHNESS_ATTRS = {
    "flag_values": np.array([int(r) for r in Roughness], np.uint8),
    "flag_meanings": " ".join(r.name for r in Roughness),
}


def edge_cells(holds_YX: Floats) -> Bools:
    """Return the cells between four neighbouring runs of which some hold and some do not.

    `holds_YX` is 1, 0, or NaN where that is not known; the result is one shorter in Y and X.
    """
    corners = (holds_YX[:-1, :-1], holds_YX[1:, :-1], holds_YX[:-1, 1:], holds_YX[1:, 1:])
    some = np.any([corner == 1 for corner in corners], 0)
    others = np.any([corner == 0 for corner in corners], 0)
    found: Bools = some & others
    return found


def box_counts(edges_YX: Bools) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Return sides 1, 2, 4, ... of boxes, how many hold an edge cell, and the local slopes.

    slope[i] = log2 N(side i) / N(side i + 1), both counted on the part of the map that
    boxes of the larger side tile, in each corner where to leave out a rest, so that any
    size of map will do. NaN where a count is 0, and for the last side.
    """
    n = min(edges_YX.shape)
    sides, counts, slopes = [], [], []
    side = 1
    while n // side >= LEAST_BOXES:
        sides.append(side)
        counts.append(_mean_count(edges_YX, side, side))
        fine, coarse = (
            (_mean_count(edges_YX, side, 2 * side), _mean_count(edges_YX, 2 * side, 2 * side))
            if n // (2 * side) >= LEAST_BOXES
            else (0.0, 0.0)
        )
        slopes.append(np.log2(fine / coarse) if fine and coarse else np.nan)
        side *= 2
    return np.array(sides, np.int64), np.array(counts, np.float64), np.array(slopes)


def _mean_count(edges_YX: Bools, side: int, tile: int) -> float:
    """Return the boxes of `side` with an edge cell where boxes of `tile` fit, over corners."""
    rows, columns = (n - n % tile for n in edges_YX.shape)
    flips = [edges_YX, edges_YX[::-1], edges_YX[:, ::-1], edges_YX[::-1, ::-1]]
    if (rows, columns) == edges_YX.shape:
        flips = flips[:1]
    counts = [
        flip[:rows, :columns].reshape(rows // side, side, columns // side, side).any((1, 3)).sum()
        for flip in flips
    ]
    return float(np.mean(counts))


def boundary_dimension(holds: xr.DataArray, x: str, y: str) -> xr.Dataset:
    """Return the dimension of the boundary on the (x, y) map of each slice, and its counts.

    `holds` is 1, 0, or NaN where that is not known; a slice is a place on its other axes.
    Boxes are square in cells of the map, so the axes should be equally spaced, linear or
    geometric. Variables:

    - boxes, slope (slices, box): as `box_counts` gives them, `box` in cells;
    - dimension: the median of the FINEST finest slopes; low, high: the least and greatest
      of them, which is their spread and no confidence interval;
    - roughness: `Roughness`; n_edges: edge cells; n_unknown: runs without a label.

    Raises StudyError where x or y is no axis of numbers, or the map is not square or has
    fewer than LEAST_POINTS values a side.
    """
    for name in (x, y):
        if (
            name not in holds.dims
            or name not in holds.coords
            or holds[name].dtype.kind not in "fiu"
        ):
            known = ", ".join(str(d) for d in holds.dims) or "none"
            raise StudyError(f"{name!r} is no axis of numbers; the axes are {known}")
    if x == y:
        raise StudyError(f"a map needs two axes, got {x!r} twice")
    n = holds.sizes[x]
    if holds.sizes[y] != n or n < LEAST_POINTS:
        wanted = 2 ** int(np.ceil(np.log2(max(LEAST_POINTS, n) - 1))) + 1
        raise StudyError(
            f"boxes are counted on a square map of at least {LEAST_POINTS} values a side; "
            f"{x} has {n} and {y} {holds.sizes[y]}. Give both the same count, best a power of "
            f"two and one more, such as {wanted}"
        )
    slices = [str(d) for d in holds.dims if d not in (x, y)]
    ordered = holds.astype(np.float64).sortby([x, y]).transpose(*slices, y, x)
    shape = ordered.shape[: len(slices)]
    maps_CYX = ordered.values.reshape(int(np.prod(shape)), n, n)
    edges_CYX = [edge_cells(map_YX) for map_YX in maps_CYX]
    counted = [box_counts(edges_YX) for edges_YX in edges_CYX]
    sides_B = counted[0][0]
    slopes_CB = np.array([slopes for _, _, slopes in counted])
    finest_CF = slopes_CB[:, :FINEST]
    whole_C = np.isfinite(finest_CF).all(1)
    middle_C, low_C, high_C = (
        np.where(whole_C, reduce(finest_CF, 1), np.nan) for reduce in (np.median, np.min, np.max)
    )
    roughness_C = np.select(
        [~whole_C, low_C > SMOOTH_BELOW, middle_C > SMOOTH_BELOW],
        [Roughness.NO_BOUNDARY, Roughness.ROUGH, Roughness.OPEN],
        Roughness.SMOOTH,
    )
    along = {
        "boxes": np.array([counts for _, counts, _ in counted]),
        "slope": slopes_CB,
    }
    single = {
        "dimension": middle_C,
        "low": low_C,
        "high": high_C,
        "roughness": roughness_C.astype(np.uint8),
        "n_edges": np.array([edges.sum() for edges in edges_CYX]),
        "n_unknown": np.isnan(maps_CYX).sum((1, 2)),
    }
    kept = {str(name): c for name, c in ordered.coords.items() if set(c.dims) <= set(slices)}
    ds = xr.Dataset(
        {name: ((*slices, "box"), v.reshape(*shape, -1)) for name, v in along.items()}
        | {name: (slices, v.reshape(shape)) for name, v in single.items()},
        kept | {"box": ("box", sides_B, {"long_name": "side of a box", "units": "cells"})},
        {"x": x, "y": y, "points": n, "interval": f"least and greatest of the {FINEST} finest"},
    )
    ds["roughness"].attrs |= ROUGHNESS_ATTRS
    return ds
