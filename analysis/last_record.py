"""The last value of every trial, whichever record it stands at, read in blocks of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.analysis.chunking import CHUNK_BYTES, Window, block, windows

Array = npt.NDArray[Any]


def last_value(values: xr.DataArray, dim: str, n_records: xr.DataArray | int) -> xr.DataArray:
    """Return the last value along `dim` that is not NaN, in memory, NaN where there is none.

    `n_records`: how many records of a trial can hold a value that matters; of a trial with 0 the
    value may be any or NaN. Of NumPy arrays no block is read that no trial needs.
    """
    if values.chunks is not None:
        return _by_dask(values, dim)
    like = values.isel({dim: 0}, drop=True)
    found = np.full(like.shape, np.nan, values.dtype)
    reach = np.asarray(xr.DataArray(n_records).broadcast_like(like).transpose(*like.dims))
    axis = values.get_axis_num(dim)
    for cells, steps in _blocks_from_the_end(values, axis):
        if (np.isnan(found[cells]) & (reach[cells] > steps.start)).any():
            last = _last(_read(values, axis, cells, steps), axis)
            found[cells] = np.where(np.isnan(found[cells]), last, found[cells])
    return like.copy(data=found)


def value_at_place(values: xr.DataArray, dim: str, place: xr.DataArray) -> xr.DataArray:
    """Return each trial's value at its own place along `dim`, in memory; NaN for a place of -1."""
    like = values.isel({dim: 0}, drop=True)
    at = np.asarray(place.broadcast_like(like).transpose(*like.dims))
    if values.chunks is not None:
        position = xr.DataArray(np.arange(values.sizes[dim]), dims=dim)
        position = position.chunk({dim: values.chunksizes[dim]})
        here = (position == like.astype(np.int64).copy(data=at)).transpose(*values.dims)
        return _by_dask(values.where(here), dim)
    axis = values.get_axis_num(dim)
    found = np.full(like.shape, np.nan, values.dtype)
    for cells, steps in _blocks_from_the_end(values, axis):
        here = (at[cells] >= steps.start) & (at[cells] < steps.stop)
        if here.any():
            read = np.moveaxis(_read(values, axis, cells, steps), axis, -1)
            found[cells][here] = read[here, at[cells][here] - steps.start]
    return like.copy(data=found)


def _by_dask(values: xr.DataArray, dim: str) -> xr.DataArray:
    """Return the last value that is not NaN; a worker sends one value of a block."""
    import dask.array as da

    axis = values.get_axis_num(dim)
    last = da.reduction(  # type: ignore[no-untyped-call]
        values.data,
        chunk=_of_axis,
        aggregate=_of_axis,
        axis=axis,
        dtype=values.dtype,
        meta=np.empty((0,) * (values.ndim - 1), values.dtype),
    )
    return values.isel({dim: 0}, drop=True).copy(data=last.compute())


def _of_axis(block: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    last = _last(block, axis[0])
    return np.expand_dims(last, axis[0]) if keepdims else last


def _last(values: Array, axis: int) -> Array:
    is_there = np.flip(~np.isnan(values), axis)
    at = values.shape[axis] - 1 - np.argmax(is_there, axis, keepdims=True)
    return np.take_along_axis(values, at, axis).squeeze(axis)


def _blocks_from_the_end(values: xr.DataArray, axis: int) -> Iterator[tuple[Window, slice]]:
    """Return blocks of cells and steps that are read at once, the last steps first.

    Of a cube the chunks on disk. Of rows, which hold all their steps, and of what is in memory
    blocks of cells with all steps.
    """
    on_disk = values.encoding.get("chunks", ())
    n = values.shape[axis]
    others = [*values.shape[:axis], *values.shape[axis + 1 :]]
    if len(on_disk) == values.ndim:
        sides = [*on_disk[:axis], *on_disk[axis + 1 :]]
        side = on_disk[axis]
    else:
        sides = list(block(others, n * values.dtype.itemsize, CHUNK_BYTES))
        side = n
    for stop in range(n, 0, -side):
        for cells in windows(others, [max(1, s) for s in sides]):
            yield cells, slice(max(0, stop - side), stop)


def _read(values: xr.DataArray, axis: int, cells: Window, steps: slice) -> Array:
    found: Array = values[(*cells[:axis], steps, *cells[axis:])].values
    return found
