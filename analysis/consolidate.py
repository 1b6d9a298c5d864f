"""Rewrite the rows of a study as cube.zarr, in chunks made for reading.

One variable per measure; a chunk holds all trials at some steps, so that one step of one
measure is one file. Written beside the old cube and renamed; a reader between the two
renames finds no cube and reads the rows.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import warnings
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import xarray as xr

from phasecube.analysis.cube import CUBE, PLAN, STEPS_PER_CHUNK, STORE, RowsBackend, is_current
from phasecube.analysis.cube_files import FILES, files_in
from phasecube.analysis.grid import grid_of, rows_or
from phasecube.engine.store import Store

CHUNK_BYTES = 64 * 2**20  # of one chunk before compression: wide studies hold fewer steps in one
SLAB_BYTES = 256 * 2**20  # of one measure held in memory at once


def consolidate(study: Path | str) -> Path:
    """Write cube.zarr of the study as it stands now and return its path.

    Nothing is done if the cube is current. Memory stays near SLAB_BYTES whatever the size.
    """
    study = Path(study)
    target = study / CUBE
    with (study / "cube.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, or we die
        for leftover in study.glob(f"{CUBE}.*.partial"):
            shutil.rmtree(leftover)  # of a writer that was killed: we hold its lock
        if is_current(study):
            return target
        partial = study / f"{CUBE}.{uuid4().hex}.partial"
        _write(study, partial)
        if target.exists():
            target.rename(study / f"{CUBE}.{uuid4().hex}.partial")
        partial.rename(target)
        for old in study.glob(f"{CUBE}.*.partial"):
            shutil.rmtree(old)
    return target


def _write(study: Path, path: Path) -> None:
    import zarr
    from zarr.codecs import BloscCodec

    ds = xr.open_dataset(study, engine=RowsBackend, cache=False)
    curves = [str(n) for n, v in ds.data_vars.items() if {"step", "vector_step"} & set(v.dims)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)  # consolidated metadata
        small = _plain_strings(ds.drop_vars(curves))
        encoding = {str(n): {"chunks": v.shape} for n, v in small.variables.items() if v.size}
        small.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)
        group = zarr.open_group(path, mode="r+", use_consolidated=False)
        arrays = {}
        for name in curves:
            variable = ds[name].variable
            axis = variable.dims.index("step" if "step" in variable.dims else "vector_step")
            arrays[name] = group.create_array(
                name,
                shape=variable.shape,
                chunks=_chunks(variable, axis),
                dtype=variable.dtype,
                # Bit planes of neighbouring values compress 1.4x, plain zstd 1.1x.
                compressors=BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"),
                fill_value=np.nan,
                dimension_names=[str(d) for d in variable.dims],
                chunk_key_encoding={"name": "default", "separator": "."},
                attributes=variable.attrs,
            )
        _copy_scalars(study, arrays)
        for name in curves:
            if "vector_step" in ds[name].dims:
                arrays[name][...] = ds[name].values
        group.attrs[FILES] = json.dumps(files_in(path))
        zarr.consolidate_metadata(path)


def _chunks(variable: xr.Variable, axis: int) -> tuple[int, ...]:
    one_step = max(1, variable.nbytes // max(1, variable.shape[axis]))
    steps = max(1, min(STEPS_PER_CHUNK, variable.shape[axis], CHUNK_BYTES // one_step))
    return tuple(steps if i == axis else max(1, n) for i, n in enumerate(variable.shape))


def _copy_scalars(study: Path, arrays: dict[str, Any]) -> None:
    """Copy the scalar measures in slabs: as many measures and whole chunks of steps as fit."""
    from phasecube.sweeps.plan import read_plan

    store, grid = Store(study / STORE), grid_of(read_plan(study / PLAN))
    names = store.layout.rule.scalars
    n_steps = len(store.layout.rule.steps)
    one_step = max(1, store.n_rows * np.dtype(store.layout.rule.dtype).itemsize)
    together = int(np.clip(SLAB_BYTES // (one_step * n_steps), 1, max(1, len(names))))
    for first in range(0, len(names), together):
        group = names[first : first + together]
        width = arrays[group[0]].chunks[-1]
        slab = max(1, SLAB_BYTES // (one_step * len(group)) // width) * width
        for start in range(0, n_steps, slab):
            steps = slice(start, min(start + slab, n_steps))
            rows_RMS = store.read_scalars(group, steps)
            for index, name in enumerate(group):
                trials_NS = rows_or(rows_RMS[:, index], grid.rows_N, np.nan)
                arrays[name][..., steps] = grid.scatter(trials_NS, np.nan)


def _plain_strings(ds: xr.Dataset) -> xr.Dataset:
    # Fixed-width strings have no specification in Zarr v3; variable-length ones do.
    texts = {n: v for n, v in ds.variables.items() if v.dtype.kind == "U"}
    return ds.assign({n: v.astype(np.dtypes.StringDType()) for n, v in texts.items()})
