"""A study in the formats of other tools: NetCDF (all of it, as a tree) or Parquet (tables)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import xarray as xr

from phasecube.analysis.analyses import Request, requests
from phasecube.analysis.cube.chunking import within_memory
from phasecube.analysis.cube.long_tables import ROWS_PER_GROUP, write_curves, write_vectors
from phasecube.analysis.cube.opened import PLAN, open_study
from phasecube.analysis.cube.tree import as_tree
from phasecube.analysis.grokking import GrokkingRule, Phase, grokking
from phasecube.analysis.maps.phase_diagram import sweep_dims
from phasecube.analysis.order_parameters import Seen, final_value
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Engine, Outcome

_ONSETS = [
    f"{n}{of}" for n in ("t_mem", "t_grok", "delay", "ratio") for of in ("", "_after", "_seen")
]


def export(
    study: Path | str, target: Path | str, *, curves: bool = False, vectors: str | None = None
) -> Path:
    """Write the study as `target`, in the format of its suffix, and return the path.

    .nc: NetCDF 4, the root group as `open_tree` has it and a group for each label of vector
    measures. .parquet: one row per trial with its parameters, how it ended, final values and
    onsets; with `curves` one row per trial and recorded step; with `vectors`, the dim of their
    labels, one row per trial, step and label. Published by rename: there is a whole file or
    none. Raises StudyError for another suffix and where the file cannot be written.
    """
    study, target = Path(study), Path(target)
    if target.suffix not in (".nc", ".parquet"):
        raise StudyError(f"{target}: export writes .nc (NetCDF) or .parquet, by the suffix")
    if target.suffix == ".nc" and (curves or vectors):
        raise StudyError(
            "a NetCDF file always holds curves and vectors; `curves` and `vectors` are for .parquet"
        )
    if curves and vectors:
        raise StudyError("one table holds curves or vectors; export them to two files")
    ds = within_memory(open_study(study))
    partial = target.with_name(f"{target.name}.{uuid4().hex}.partial")
    try:
        if target.suffix == ".nc":
            write_netcdf(ds, partial)
        elif curves:
            write_curves(ds, partial)
        elif vectors:
            write_vectors(ds, vectors, partial)
        else:
            table = trial_table(ds, grokking_rule(_asked(study, ds)))
            table.to_parquet(partial, index=False, row_group_size=ROWS_PER_GROUP)
        partial.replace(target)
    except OSError as error:
        raise StudyError(
            f"{target} cannot be written: {error.strerror or error}; name a folder that exists, "
            "can be written to and has room"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _asked(study: Path, ds: xr.Dataset) -> list[Request]:
    from phasecube.sweeps.plan import read_plan

    sweep = read_plan(study / PLAN).sweep
    return requests([(a.kind, a.options) for a in sweep.analyses], ds)


def grokking_rule(wanted: Sequence[Request]) -> GrokkingRule | None:
    """Return the rule of the first grokking analysis, None if there is none."""
    return next((r.rule for r in wanted if r.kind == "grokking"), None)


def write_netcdf(ds: xr.Dataset, path: Path) -> None:
    """Write a study as NetCDF 4: a group for each label of vectors, all else at the root.

    Strings, flags and attributes as they are. Dask arrays are written chunk by chunk.
    """
    texts = {n: v.astype(object) for n, v in ds.variables.items() if v.dtype.kind == "T"}
    tree = as_tree(ds.assign(texts))
    # NetCDF has no type for an empty list.
    tree.attrs = {n: v for n, v in tree.attrs.items() if not (isinstance(v, list) and not v)}
    encoding = {
        node.path: {
            str(n): _encoding(v) for n, v in node.to_dataset(inherit=False).variables.items()
        }
        for node in tree.subtree
    }
    tree.to_netcdf(path, engine="h5netcdf", encoding=encoding)


def _encoding(variable: xr.Variable) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if variable.dtype.kind == "u":
        found["_FillValue"] = None  # 255 is a flag, not a gap
    if variable.dtype.kind == "f" and variable.ndim:
        found |= {"zlib": True, "complevel": 4, "shuffle": True}
        if variable.chunks is not None:  # else a chunk of the file is compressed again and again
            found["chunksizes"] = tuple(max(sizes) for sizes in variable.chunks)
    return found


def trial_table(ds: xr.Dataset, rule: GrokkingRule | None) -> pd.DataFrame:
    """Return one row per planned trial; onsets and phases if there is a rule for them."""
    dims = sweep_dims(ds)
    scalars = [str(n) for n, v in ds.data_vars.items() if v.dims == (*dims, "step")]
    table = ds[["outcome", "engine", "n_recorded", "stopped_at", "run", "digest"]]
    table = table.drop_vars([n for n in table.coords if "step" in str(n)], errors="ignore")
    table = table.assign({f"final_{name}": final_value(ds, name) for name in scalars})
    if rule is not None:
        found = grokking(ds, rule)
        table = table.assign({n: found[n] for n in (*_ONSETS, "phase")})
    frame = _rows(table, dims)
    frame = frame[frame["outcome"] != Outcome.NOT_PLANNED].reset_index(drop=True)
    frame["outcome"] = _names(frame["outcome"], Outcome)
    frame["engine"] = _names(frame["engine"], Engine)
    if "phase" in frame:
        frame["phase"] = _names(frame["phase"], Phase)
    for name in (n for n in _ONSETS if n in frame and n.endswith("_seen")):
        frame[name] = _names(frame[name], Seen)
    return frame


def _rows(ds: xr.Dataset, dims: list[str]) -> pd.DataFrame:
    """Return one row per cell: coordinates first, in the order of the axes."""
    names = [str(n) for n in ds.coords] + [str(n) for n in ds.data_vars]
    columns = {}
    template = ds.outcome
    for name in names:
        values = ds[name].broadcast_like(template).transpose(*dims).values.ravel()
        columns[name] = values.astype(object) if values.dtype.kind == "T" else values
    return pd.DataFrame(columns)


def _names(codes: pd.Series[Any], flags: type[IntEnum]) -> Any:
    return codes.map({int(f): f.name.lower() for f in flags})
