"""A study's records as one long Parquet table: a row for each trial and step, or vector entry.

Windows of the cube are read one after another, as its chunks lie, and leave as row groups: memory
holds one window of each measure, whatever the size of the study. The order of the rows is theirs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.analysis.maps.phase_diagram import sweep_dims
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_GROUP = 2**19  # of a Parquet row group: 80 MB with twenty columns
Window = dict[str, slice]
OUTCOMES = np.full(256, "", f"U{max(len(o.name) for o in Outcome)}")
for _outcome in Outcome:
    OUTCOMES[_outcome] = _outcome.name.lower()


def write_curves(ds: xr.Dataset, path: Path) -> None:
    """Write one row per trial and recorded step: parameters, digest, outcome, step, measures.

    Raises StudyError where no scalar measure was recorded.
    """
    dims = (*sweep_dims(ds), "step")
    scalars = [str(n) for n, v in ds.data_vars.items() if v.dims == dims]
    if not scalars:
        raise StudyError("the study recorded no scalar measure: there are no curves to export")
    _write(ds, scalars, dims, path)


def write_vectors(ds: xr.Dataset, label: str, path: Path) -> None:
    """Write one row per trial, vector step and entry of `label`: as curves, and the label.

    All measures over that label are columns. A step at which a trial recorded none of them has
    no rows. Raises StudyError naming the labels there are.
    """
    dims = (*sweep_dims(ds), "vector_step", label)
    vectors = [str(n) for n, v in ds.data_vars.items() if v.dims == dims]
    if not vectors:
        known = [str(v.dims[-1]) for v in ds.data_vars.values() if "vector_step" in v.dims]
        there = ", ".join(dict.fromkeys(known)) or "none"
        raise StudyError(f"the study recorded no vector measure over {label!r}; it has {there}")
    _write(ds, vectors, dims, path)


def _write(ds: xr.Dataset, names: Sequence[str], dims: Sequence[str], path: Path) -> None:
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    try:
        for table in _tables(ds, names, dims):
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _tables(ds: xr.Dataset, names: Sequence[str], dims: Sequence[str]) -> Iterator[pa.Table]:
    """Return the rows of all windows, at most ROWS_PER_GROUP at once; one table even if empty."""
    n_cells = len(sweep_dims(ds))
    cells = ds[["outcome", "digest", "n_recorded"]].compute()
    for window in _windows(ds[names[0]]):
        values = ds[list(names)].isel(window).load()
        here = cells.isel({d: s for d, s in window.items() if d in dims[:n_cells]})
        arrays = [values[name].transpose(*dims).values for name in names]
        places = np.flatnonzero(_is_recorded(here, arrays, dims, window))
        for start in range(0, max(len(places), 1), ROWS_PER_GROUP):
            some = places[start : start + ROWS_PER_GROUP]
            yield _table(values, here, dict(zip(names, arrays, strict=True)), dims, some)


def _windows(values: xr.DataArray) -> Iterator[Window]:
    """Return the chunks of a dask array as slices by dim, the whole of any other."""
    if values.chunks is None:
        yield {}
        return
    starts = [np.cumsum([0, *sizes]) for sizes in values.chunks]
    for place in itertools.product(*(range(len(sizes)) for sizes in values.chunks)):
        yield {
            str(dim): slice(int(starts[d][i]), int(starts[d][i + 1]))
            for d, (dim, i) in enumerate(zip(values.dims, place, strict=True))
        }


def _is_recorded(
    cells: xr.Dataset, arrays: Sequence[npt.NDArray[Any]], dims: Sequence[str], window: Window
) -> npt.NDArray[np.bool_]:
    """Return which values are rows of the table, of the shape of each measure."""
    if dims[-1] == "step":
        start = window.get("step", slice(0, None)).start
        recorded = cells.n_recorded.transpose(*dims[:-1]).values[..., None]
        is_row: npt.NDArray[np.bool_] = recorded > start + np.arange(arrays[0].shape[-1])
        return is_row
    some = np.zeros(arrays[0].shape[:-1], bool)
    for array in arrays:
        some |= ~np.isnan(array).all(-1)
    return np.broadcast_to(some[..., None], arrays[0].shape)


def _table(
    window: xr.Dataset,
    cells: xr.Dataset,
    measures: dict[str, npt.NDArray[Any]],
    dims: Sequence[str],
    places: npt.NDArray[np.int64],
) -> pa.Table:
    import pyarrow as pa

    shape = next(iter(measures.values())).shape
    at = dict(zip(dims, np.unravel_index(places, shape), strict=True))

    def along(values: xr.DataArray) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = values.values[tuple(at[str(d)] for d in values.dims)]
        return np.broadcast_to(found, places.shape)

    inner = [d for d in dims if d not in cells.outcome.dims]
    columns = {str(n): along(c) for n, c in window.coords.items() if not set(inner) & set(c.dims)}
    columns["digest"] = along(cells.digest)
    columns["outcome"] = OUTCOMES[along(cells.outcome)]
    columns |= {("step" if d == "vector_step" else d): along(window[d]) for d in inner}
    columns |= {name: array.reshape(-1)[places] for name, array in measures.items()}
    return pa.table({name: pa.array(_plain(values)) for name, values in columns.items()})


def _plain(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what Arrow knows: NumPy's strings of variable length as objects."""
    return values.astype(object) if values.dtype.kind == "T" else values
