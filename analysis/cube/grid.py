"""From rows to cells: where each trial of a plan lies on the axes of its sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

if TYPE_CHECKING:
    from phasecube.sweeps.plan import Plan


@dataclass(frozen=True)
class Grid:
    """The cells of a sweep. `cells_N` is the flat cell, `rows_N` the store row of each trial."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    cells_N: npt.NDArray[np.int64]
    rows_N: npt.NDArray[np.int64]

    @property
    def is_full(self) -> bool:
        """True if every cell holds a trial."""
        return len(self.cells_N) == int(np.prod(self.shape))

    @cached_property
    def _identity(self) -> bool:
        return self.is_full and bool((np.diff(self.cells_N) == 1).all())

    @cached_property
    def rows_of_cells(self) -> npt.NDArray[np.int64]:
        """The store row of each flat cell, -1 where no trial is planned."""
        return self.scatter(self.rows_N, -1).reshape(-1)

    def scatter(self, trials_N: npt.NDArray[Any], fill: Any) -> npt.NDArray[Any]:
        """Return values (trials, ...) as (*shape, ...), `fill` where no trial is planned."""
        if self._identity:
            return trials_N.reshape(self.shape + trials_N.shape[1:])
        cells = np.full((int(np.prod(self.shape)), *trials_N.shape[1:]), fill, trials_N.dtype)
        cells[self.cells_N] = trials_N
        return cells.reshape(self.shape + trials_N.shape[1:])


def grid_of(plan: Plan) -> Grid:
    """Return the grid of a plan; a sweep without axes is one cell without dims."""
    names = tuple(dim.name for dim in plan.dims)
    shape = tuple(len(dim) for dim in plan.dims)
    places = [plan.index[name] for name in names]
    n = len(plan.row)
    cells = np.ravel_multi_index(places, shape) if names else np.zeros(n, np.int64)
    return Grid(names, shape, cells.astype(np.int64), np.asarray(plan.row, np.int64))


def rows_or(values_R: npt.NDArray[Any], rows_N: npt.NDArray[np.int64], fill: Any) -> Any:
    """Return values at `rows_N`; rows that a plan is about to add are `fill`."""
    beyond_N = rows_N >= len(values_R)
    if not beyond_N.any():
        return values_R[rows_N]
    found = np.full((len(rows_N), *values_R.shape[1:]), fill, values_R.dtype)
    found[~beyond_N] = values_R[rows_N[~beyond_N]]
    return found


def as_coordinate(values: Sequence[Any]) -> npt.NDArray[Any]:
    """Return values as an array of one plain type: int64, float64, bool or str."""
    plain = [v.item() if isinstance(v, np.generic) else v for v in values]
    kinds = {type(v) for v in plain}
    for kind, dtype in (({bool}, bool), ({int}, np.int64), ({int, float}, np.float64)):
        if kinds <= kind:
            return np.asarray(plain, dtype)
    return np.asarray([str(v) for v in values])


def derived_coordinates(plan: Plan, grid: Grid, taken: Mapping[str, Any]) -> dict[str, xr.Variable]:
    """Return each parameter that varies without being an axis, over the dims it varies along.

    A cell without a trial holds NaN (numbers and bools) or "".
    """
    found = {}
    for name, column in plan.columns.items():
        if name in taken:
            continue
        codes = grid.scatter(np.asarray(column.codes, np.int64), -1)
        dims = list(grid.dims)
        for dim in grid.dims:
            axis = dims.index(dim)
            highest = codes.max(axis)
            lowest = np.where(codes < 0, np.iinfo(np.int64).max, codes).min(axis)
            if ((highest == lowest) | (highest < 0)).all():
                codes, dims = highest, [d for d in dims if d != dim]
        values = as_coordinate(list(column.values))
        if (codes < 0).any():
            empty = np.array([""]) if values.dtype.kind == "U" else np.array([np.nan])
            values = np.concatenate([values, empty])
        found[name] = xr.Variable(dims, values[codes])
    return found
