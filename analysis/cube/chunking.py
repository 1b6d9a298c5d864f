"""How large a piece of a cube is held at once: chosen from bytes, never a trial at a time.

Curves are arrays over cells (the axes of the sweep) and what a trial recorded: `step`, or
`vector_step` and labels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from phasecube.engine.errors import StudyError

STEPS_PER_CHUNK = 25  # of the cube: one step of one measure is one small file
CHUNK_BYTES = 64 * 2**20  # of a chunk before compression, and of a dask array's
TASK_BYTES = 16 * 2**20  # smaller chunks of the cube are read together: a task costs 0.3 ms
AT_ONCE_BYTES = 2**30  # of a study; a larger one is read in chunks
STEP_DIMS = ("step", "vector_step")
Window = tuple[slice, ...]


def curves_of(ds: xr.Dataset) -> list[str]:
    """Return the names of the measures, scalar and vector, that have steps."""
    return [str(n) for n, v in ds.data_vars.items() if set(STEP_DIMS) & set(v.dims)]


def chunks_on_disk(variable: xr.Variable) -> tuple[int, ...]:
    """Return the chunks of a curve in the cube: all cells at as many steps as CHUNK_BYTES hold.

    At most STEPS_PER_CHUNK steps. Where one step of all cells is larger: that step, of a block
    of neighbouring cells.
    """
    axis = step_axis(variable.dims)
    n_cells, n_labels = math.prod(variable.shape[:axis]), math.prod(variable.shape[axis + 1 :])
    one_step = max(1, n_cells * n_labels * variable.dtype.itemsize)
    steps = int(np.clip(CHUNK_BYTES // one_step, 1, STEPS_PER_CHUNK))
    cells = block(variable.shape[:axis], n_labels * variable.dtype.itemsize, CHUNK_BYTES)
    return (
        *cells,
        max(1, min(steps, variable.shape[axis])),
        *(max(1, n) for n in variable.shape[axis + 1 :]),
    )


def block(shape: Sequence[int], bytes_of_one: int, limit: int) -> tuple[int, ...]:
    """Return the sides of a block of neighbours, in C order, that holds at most `limit` bytes.

    A block of one, if one is larger than that.
    """
    sides = []
    left = max(1, limit // max(1, bytes_of_one))
    for n in reversed(shape):
        side = max(1, min(n, left))
        sides.append(side)
        left = left // n if side == n else 1
    return tuple(reversed(sides))


def longer(chunks: Sequence[int], axis: int, limit: int, itemsize: int) -> tuple[int, ...]:
    """Return whole chunks joined along `axis` up to `limit` bytes; one, where one is larger."""
    times = max(1, limit // max(1, math.prod(chunks) * itemsize))
    return tuple(n * times if i == axis else n for i, n in enumerate(chunks))


def windows(shape: Sequence[int], sides: Sequence[int]) -> Iterator[Window]:
    """Return windows of these sides that cover `shape`, smaller where it ends."""
    places = [range(0, n, side) for n, side in zip(shape, sides, strict=True)]
    for starts in itertools.product(*places):
        yield tuple(
            slice(start, min(start + side, n))
            for start, side, n in zip(starts, sides, shape, strict=True)
        )


def in_chunks(ds: xr.Dataset, sizes: Mapping[str, int] | Literal["auto"]) -> xr.Dataset:
    """Return the study with its curves as dask arrays; `sizes` by dim, or "auto".

    "auto" of a cube: the chunks on disk, joined along the steps up to TASK_BYTES. Of rows: blocks
    of neighbouring cells with all their steps, CHUNK_BYTES of the measure that has most. Raises
    StudyError for what is neither.
    """
    names = curves_of(ds)
    if sizes != "auto":
        _check_sizes(sizes, {str(dim) for n in names for dim in ds[n].dims})
        return ds.assign({n: ds[n].chunk(_of_dims(sizes, ds[n].dims)) for n in names})
    cells = _cells_of_rows([ds[n].variable for n in names])
    return ds.assign({n: ds[n].chunk(_automatic(ds[n].variable, cells)) for n in names})


def _check_sizes(sizes: object, dims: set[str]) -> None:
    takes = 'chunks are "auto" or sizes by dim, as {"lr": 10, "step": -1}'
    if not isinstance(sizes, Mapping):
        raise StudyError(f"{takes}; got {sizes!r}")
    unknown = [str(dim) for dim in sizes if dim not in dims]
    if unknown:
        raise StudyError(f"no measure has the dim {', '.join(unknown)}; {_named(dims)}")
    for dim, n in sizes.items():
        is_whole = isinstance(n, int | np.integer) and not isinstance(n, bool)
        if not is_whole or (n < 1 and n != -1):
            raise StudyError(f"{takes}; a size is from 1 on, or -1: all. {dim} has {n!r}")


def _named(dims: set[str]) -> str:
    return f"there are {', '.join(sorted(dims)) or 'none'}"


def within_memory(ds: xr.Dataset) -> xr.Dataset:
    """Return the study, in chunks chosen for it where it is larger than AT_ONCE_BYTES."""
    return in_chunks(ds, "auto") if ds.nbytes > AT_ONCE_BYTES else ds


def _of_dims(sizes: Mapping[str, int], dims: Sequence[Hashable]) -> dict[Hashable, int]:
    return {dim: sizes[str(dim)] for dim in dims if dim in sizes}


def _automatic(variable: xr.Variable, cells: Sequence[int]) -> dict[Hashable, int]:
    axis = step_axis(variable.dims)
    on_disk = variable.encoding.get("chunks")
    if on_disk is None:  # a row holds all its steps: fewer at once would read them again and again
        return dict(zip(variable.dims, (*cells, *variable.shape[axis:]), strict=True))
    sides = longer(on_disk, axis, TASK_BYTES, variable.dtype.itemsize)
    return dict(zip(variable.dims, sides, strict=True))


def _cells_of_rows(variables: Sequence[xr.Variable]) -> tuple[int, ...]:
    """Return the sides of the block of cells of which every measure fits into CHUNK_BYTES."""
    if not variables:
        return ()
    shape = variables[0].shape[: step_axis(variables[0].dims)]
    of_one = max(math.prod(v.shape[step_axis(v.dims) :]) * v.dtype.itemsize for v in variables)
    return block(shape, of_one, CHUNK_BYTES)


def step_axis(dims: Sequence[Hashable]) -> int:
    """Return the place of the dim of a curve that counts its steps; cells lie before it."""
    return next(i for i, dim in enumerate(dims) if dim in STEP_DIMS)
