"""The dimension of a boundary, against lines, mixed labels and fractals that are known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from phasecube.analysis.boundary.dimension import (
    LEAST_POINTS,
    Roughness,
    boundary_dimension,
    box_counts,
    edge_cells,
)
from phasecube.engine.errors import StudyError


def label_map(holds_YX: np.ndarray) -> xr.DataArray:
    y, x = (np.linspace(-1.0, 1.0, n) for n in holds_YX.shape)
    return xr.DataArray(holds_YX.astype(float), {"y": y, "x": x}, ("y", "x"))


def points(n: int) -> tuple[np.ndarray, np.ndarray]:
    at = np.linspace(-1.0, 1.0, n)
    return np.meshgrid(at, at)


def koch_snowflake(level: int) -> np.ndarray:
    """Return the corners of the snowflake on a triangle of side 1, as complex numbers."""
    corners = np.array([0, np.exp(1j * math.pi / 3), 1, 0])
    for _ in range(level):
        start, third = corners[:-1], np.diff(corners) / 3
        tip = start + third + third * np.exp(1j * math.pi / 3)
        four = np.stack([start, start + third, tip, start + 2 * third], 1).ravel()
        corners = np.append(four, corners[-1])
    return corners


def inside(corners: np.ndarray, x_YX: np.ndarray, y_YX: np.ndarray) -> np.ndarray:
    """Return which points lie in a polygon, by the edges that a ray to the right crosses."""
    found = np.zeros(x_YX.shape, bool)
    for a, b in pairwise(corners):
        if a.imag == b.imag:
            continue
        between = (y_YX >= min(a.imag, b.imag)) & (y_YX < max(a.imag, b.imag))
        crossing = a.real + (y_YX - a.imag) * (b.real - a.real) / (b.imag - a.imag)
        found ^= between & (x_YX < crossing)
    return found


@pytest.mark.parametrize("n", [65, 100, 192])
@pytest.mark.parametrize("slope", [0.0, 0.4, -1.7])
def test_a_straight_line_has_dimension_one_and_is_smooth(n: int, slope: float) -> None:
    x, y = points(n)
    found = boundary_dimension(label_map(y < slope * x + 0.137), "x", "y")
    # One box of about 2 n / 8 more or less at the coarsest of the three slopes.
    assert abs(found.dimension - 1) < math.log2(1 + 8 / n)
    assert found.roughness == Roughness.SMOOTH


@pytest.mark.parametrize("n", [65, 192])
def test_labels_mixed_at_random_have_dimension_two(n: int) -> None:
    holds = np.random.default_rng(0).random((n, n)) < 0.5
    found = boundary_dimension(label_map(holds), "x", "y")
    # 7 / 8 of the cells have both labels: the finest slope is 2 + log2(7 / 8) = 1.81.
    assert found.low == pytest.approx(2 + math.log2(7 / 8), abs=0.03)
    assert found.dimension == pytest.approx(2, abs=0.02) and found.roughness == Roughness.ROUGH


def test_boxes_of_a_sierpinski_triangle_are_three_to_the_level() -> None:
    at = np.arange(64)
    sides, counts, slopes = box_counts((at[:, None] & at) == 0)
    assert sides.tolist() == [1, 2, 4, 8, 16] and counts.tolist() == [3**k for k in (6, 5, 4, 3, 2)]
    assert slopes[:-1] == pytest.approx(math.log2(3), rel=1e-14)


def test_a_koch_snowflake_has_its_dimension_less_what_falls_between_the_points() -> None:
    corners, exact = koch_snowflake(5), math.log(4) / math.log(3)
    found = []
    for shift in np.linspace(0, 0.05, 6):
        x, y = points(129)
        holds = inside(corners, 0.5 + 0.62 * x + shift, 0.29 + 0.62 * y + shift)
        found.append(float(boundary_dimension(label_map(holds), "x", "y").dimension))
    # Bays narrower than a cell are not seen, so the finest counts are low.
    assert exact - 0.12 < np.mean(found) < exact + 0.03


def test_a_cell_is_at_the_edge_where_its_known_corners_differ() -> None:
    nan = math.nan
    holds = np.array([[1, 1, nan], [1, 0, nan], [1, 1, 1.0]])
    assert edge_cells(holds).tolist() == [[True, True], [True, True]]
    assert edge_cells(np.array([[1, nan], [nan, 1]])).tolist() == [[False]]
    assert edge_cells(np.array([[0, nan], [nan, 1]])).tolist() == [[True]]


def test_each_place_on_the_other_axes_has_a_boundary_of_its_own() -> None:
    x, y = points(65)
    rough = np.random.default_rng(0).random(x.shape) < 0.5
    maps = [label_map(m) for m in (y < 0.1, rough, y < 5)]
    together = xr.concat(maps, xr.IndexVariable("seed", [3, 4, 5]))
    found = boundary_dimension(together, "x", "y")
    assert found.roughness.values.tolist() == [
        Roughness.SMOOTH,
        Roughness.ROUGH,
        Roughness.NO_BOUNDARY,
    ]
    assert np.isnan(found.dimension[2]) and found.n_edges[2] == 0 and found.seed[1] == 4
    assert found.boxes.dims == ("seed", "box") and found.boxes[0, 0] == found.n_edges[0] == 64


def test_runs_without_a_label_are_counted_and_are_no_edge() -> None:
    x, y = points(65)
    holds = label_map(y < 0.1).where(label_map(x < 0.9) == 1)
    found = boundary_dimension(holds, "x", "y")
    assert found.n_unknown == np.isnan(holds.values).sum() > 0
    assert found.dimension == pytest.approx(1, abs=0.1)


def test_the_order_of_the_axes_values_does_not_matter() -> None:
    x, y = points(65)
    holds = label_map(x**2 + y**2 < 0.5)
    mixed = holds.isel(x=np.random.default_rng(0).permutation(65))
    one, two = (boundary_dimension(m, "x", "y") for m in (holds, mixed))
    assert one.equals(two)


@pytest.mark.parametrize(("rows", "columns"), [(65, 64), (LEAST_POINTS - 1, LEAST_POINTS - 1)])
def test_a_map_that_is_not_square_or_too_small_is_refused_with_a_size_that_will_do(
    rows: int, columns: int
) -> None:
    with pytest.raises(StudyError, match=r"square map of at least 33 values.*such as (33|65)"):
        boundary_dimension(label_map(np.ones((rows, columns))), "x", "y")


def test_an_axis_that_is_not_there_or_holds_no_numbers_is_named() -> None:
    holds = label_map(np.ones((65, 65)))
    with pytest.raises(StudyError, match="'lr' is no axis of numbers; the axes are y, x"):
        boundary_dimension(holds, "lr", "y")
    named = holds.assign_coords(x=[f"v{i}" for i in range(65)])
    with pytest.raises(StudyError, match="'x' is no axis of numbers"):
        boundary_dimension(named, "x", "y")
