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

from phasecube.analysis.cube.chunking import (
    CHUNK_BYTES,
    chunks_on_disk,
    curves_of,
    longer,
    step_axis,
    windows,
)
from phasecube.analysis.cube.files import FILES, files_in
from phasecube.analysis.cube.opened import CUBE, RowsBackend, is_current

SLAB_BYTES = 512 * 2**20  # of one measure held in memory at once
WRITE_BYTES = 2 * CHUNK_BYTES  # of it compressed at once, on two cores


def consolidate(study: Path | str) -> Path:
    """Write cube.zarr of the study as it stands now and return its path.

    Nothing is done if the cube is current. Memory stays below SLAB_BYTES and twice WRITE_BYTES
    whatever the size, beside what a trial has once: its outcome, digest and parameters.
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
    from zarr.codecs import Crc32cCodec, ZstdCodec

    ds = xr.open_dataset(study, engine=RowsBackend, cache=False)
    curves = curves_of(ds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)  # consolidated metadata
        small = _plain_strings(ds.drop_vars(curves))
        codecs = [ZstdCodec(), Crc32cCodec()]
        encoding: dict[str, dict[str, Any]] = {
            str(n): {"chunks": v.shape, "compressors": codecs}
            for n, v in small.variables.items()
            if v.size
        }
        small.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)
        group = zarr.open_group(path, mode="r+", use_consolidated=False)
        for name in curves:
            _copy(ds[name].variable, name, group)
        group.attrs[FILES] = json.dumps(files_in(path))
        zarr.consolidate_metadata(path)


def _copy(curve: xr.Variable, name: str, group: Any) -> None:
    """Copy a measure slab by slab; a pack is read once for each slab that it has a part in."""
    from zarr.codecs import BloscCodec, Crc32cCodec

    chunks, axis, itemsize = chunks_on_disk(curve), step_axis(curve.dims), curve.dtype.itemsize
    array = group.create_array(
        name,
        shape=curve.shape,
        chunks=chunks,
        dtype=curve.dtype,
        # Of bits that flipped on disk, Blosc lets most pass as other numbers.
        compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()],
        fill_value=np.nan,
        dimension_names=[str(d) for d in curve.dims],
        chunk_key_encoding={"name": "default", "separator": "."},
        attributes=curve.attrs,
    )
    for window in windows(curve.shape, longer(chunks, axis, SLAB_BYTES, itemsize)):
        slab = curve[window].values
        # A few chunks at a time: zarr holds each of them twice, and writes ten at once.
        for part in windows(slab.shape, longer(chunks, axis, WRITE_BYTES, itemsize)):
            place = tuple(
                slice(w.start + p.start, w.start + p.stop)
                for w, p in zip(window, part, strict=True)
            )
            array[place] = slab[part]


def _plain_strings(ds: xr.Dataset) -> xr.Dataset:
    # Fixed-width strings have no specification in Zarr v3; variable-length ones do.
    texts = {n: v for n, v in ds.variables.items() if v.dtype.kind == "U"}
    return ds.assign({n: v.astype(np.dtypes.StringDType()) for n, v in texts.items()})
