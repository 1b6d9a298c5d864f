"""The last value of every trial, whichever record it stands at, read in blocks of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.analysis.cube.chunking import CHUNK_BYTES, Window, block, windows

Array = npt.NDArray[Any]


def last_value(values: xr.DataArray, dim: str, n_records: xr.DataArray | int) -> xr.DataArray:
    """Return the last value along `dim` that is not NaN, in memory, NaN where there is none.

    `n_records`: how many records of a trial can hold a value that matters; of a trial with 0 the
    value may be any or NaN. Of NumPy arrays no block is read that no trial needs.
    """
    like, axis = values.isel({dim: 0}, drop=True), values.get_axis_num(dim)
    if values.chunks is not None:
        return _by_dask(values.data, axis, like)
    found = np.full(like.shape, np.nan, values.dtype)
    reach = np.asarray(xr.DataArray(n_records).broadcast_like(like).transpose(*like.dims))
    for cells, steps in _blocks_from_the_end(values, axis):
        if (np.isnan(found[cells]) & (reach[cells] > steps.start)).any():
            last = _last(_read(values, axis, cells, steps), axis)
            found[cells] = np.where(np.isnan(found[cells]), last, found[cells])
    return like.copy(data=found)


def value_at_place(values: xr.DataArray, dim: str, place: xr.DataArray) -> xr.DataArray:
    """Return each trial's value at its own place along `dim`, in memory; NaN for a place of -1."""
    like = values.isel({dim: 0}, drop=True)
    at = np.asarray(place.broadcast_like(like).transpose(*like.dims))
    axis = values.get_axis_num(dim)
    if values.chunks is not None:
        return _by_dask(_picked(values.data, at, axis), axis, like)
    found = np.full(like.shape, np.nan, values.dtype)
    for cells, steps in _blocks_from_the_end(values, axis):
        here = (at[cells] >= steps.start) & (at[cells] < steps.stop)
        if here.any():
            inside = np.clip(at[cells] - steps.start, 0, steps.stop - steps.start - 1)
            read = _read(values, axis, cells, steps)
            picked = np.take_along_axis(read, np.expand_dims(inside, axis), axis).squeeze(axis)
            found[cells] = np.where(here, picked, found[cells])
    return like.copy(data=found)


def _by_dask(values: Any, axis: int, like: xr.DataArray) -> xr.DataArray:
    """Return the last value that is not NaN; of a block of steps one value leaves its worker."""
    import dask.array as da

    last = da.reduction(  # type: ignore[no-untyped-call]
        values,
        chunk=_of_axis,
        aggregate=_of_axis,
        axis=axis,
        dtype=values.dtype,
        meta=np.empty((0,) * (values.ndim - 1), values.dtype),
    )
    return like.copy(data=last.compute())


def _picked(values: Any, at: Array, axis: int) -> Any:
    """Return a dask array with one place for each block of steps: the value at `at`, or NaN."""
    import dask.array as da

    at = np.expand_dims(at, axis)
    chunks = [(1,) if i == axis else sizes for i, sizes in enumerate(values.chunks)]
    places = da.from_array(at, chunks=tuple(chunks))  # type: ignore[no-untyped-call]

    def of_block(block: Array, at: Array, block_info: Any) -> Array:
        start, stop = block_info[0]["array-location"][axis]
        found = np.take_along_axis(block, np.clip(at - start, 0, stop - start - 1), axis)
        return np.where((at >= start) & (at < stop), found, block.dtype.type(np.nan))

    chunks[axis] = (1,) * values.numblocks[axis]
    return da.map_blocks(  # type: ignore[no-untyped-call]
        of_block, values, places, chunks=tuple(chunks), dtype=values.dtype, meta=values._meta
    )


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
