"""A study in the formats of other tools: NetCDF (the whole cube) or Parquet (tables)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.analyses import Request, requests
from phasecube.analysis.cube import PLAN, open_study
from phasecube.analysis.grokking import GrokkingRule, Phase, grokking
from phasecube.analysis.order_parameters import final_value
from phasecube.analysis.phase_diagram import sweep_dims
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Engine, Outcome

if TYPE_CHECKING:
    import pyarrow as pa

STEPS_PER_BLOCK = 25  # of a table of curves held in memory at once: a chunk of the cube
_ONSETS = ("t_mem", "t_mem_after", "t_grok", "t_grok_after", "delay", "ratio")


def export(study: Path | str, target: Path | str, *, curves: bool = False) -> Path:
    """Write the study as `target`, in the format of its suffix, and return the path.

    .nc: the Dataset as NetCDF 4. .parquet: one row per trial with its parameters, how it
    ended, final values and onsets; with `curves` one row per trial and recorded step.
    Raises StudyError for another suffix.
    """
    study, target = Path(study), Path(target)
    if target.suffix not in (".nc", ".parquet"):
        raise StudyError(f"{target}: export writes .nc (NetCDF) or .parquet, by the suffix")
    if curves and target.suffix == ".nc":
        raise StudyError("a NetCDF file always holds the curves; `curves` is for .parquet")
    ds = open_study(study)
    partial = target.with_name(f"{target.name}.{uuid4().hex}.partial")
    try:
        if target.suffix == ".nc":
            write_netcdf(ds, partial)
        elif curves:
            write_curves(ds, partial)
        else:
            trial_table(ds, grokking_rule(_asked(study, ds))).to_parquet(partial, index=False)
        partial.rename(target)
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
    """Write a Dataset as NetCDF 4; strings, flags and attributes as they are."""
    plain = ds.assign({n: v.astype(object) for n, v in ds.variables.items() if v.dtype.kind == "T"})
    encoding: dict[str, dict[str, Any]] = {
        str(n): {"zlib": True, "complevel": 4, "shuffle": True}
        for n, v in plain.data_vars.items()
        if v.dtype.kind == "f" and v.ndim
    }
    for name, variable in plain.variables.items():
        if variable.dtype.kind == "u":
            encoding.setdefault(str(name), {})["_FillValue"] = None  # 255 is a flag, not a gap
    plain.to_netcdf(path, engine="h5netcdf", encoding=encoding)


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


def _names(codes: pd.Series[Any], flags: type[Outcome] | type[Engine] | type[Phase]) -> Any:
    return codes.map({int(f): f.name.lower() for f in flags})


def write_curves(ds: xr.Dataset, path: Path) -> None:
    """Write one row per trial and recorded step: parameters, digest, step, measures.

    Rows come by blocks of steps, so that memory does not grow with their number.
    """
    import pyarrow.parquet as pq

    dims = sweep_dims(ds)
    scalars = [str(n) for n, v in ds.data_vars.items() if v.dims == (*dims, "step")]
    if not scalars:
        raise StudyError("the study recorded no scalar measure: there are no curves to export")
    trials = ds[["outcome", "digest", "n_recorded"]]
    trials = trials.drop_vars([n for n in trials.coords if "step" in str(n)], errors="ignore")
    places = _rows(trials, dims)
    n_recorded = places.pop("n_recorded").to_numpy()
    del places["outcome"]
    writer: pq.ParquetWriter | None = None
    try:
        for start in range(0, ds.sizes["step"], STEPS_PER_BLOCK):
            block = ds[scalars].isel(step=slice(start, start + STEPS_PER_BLOCK))
            written = n_recorded[:, None] > start + np.arange(block.sizes["step"])
            table = _block(block, scalars, places, written)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _block(
    block: xr.Dataset, scalars: list[str], places: pd.DataFrame, written_NS: np.ndarray
) -> pa.Table:
    import pyarrow as pa

    trial, step = np.nonzero(written_NS)
    rows = places.iloc[trial].reset_index(drop=True)
    rows["step"] = block.step.values[step]
    for name in scalars:
        rows[name] = block[name].values.reshape(len(places), -1)[trial, step]
    return pa.Table.from_pandas(rows, preserve_index=False)
