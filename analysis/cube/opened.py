"""A study as one labelled Dataset, finished or still running.

Dims are the axes of the sweep and `step`; variables are the measures, how each trial ended
and where its numbers come from. A current cube.zarr is read if there is one, else the rows
that the workers have published so far; both give the same dims, coordinates and types, and
both read values only when they are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendEntrypoint
from xarray.core import indexing

from phasecube.analysis.caution import Caution, with_cautions
from phasecube.analysis.cube.chunking import in_chunks
from phasecube.analysis.cube.digest_words import DIGEST, words_of_bytes
from phasecube.analysis.cube.files import (
    CUBE,
    PLAN,
    SCHEMA_VERSION,
    STORE,
    check_study,
    check_whole,
    edition_of,
    is_current,
    plan_digest,
    state_of,
    status_digest,
    vouched_status,
)
from phasecube.analysis.cube.grid import Grid, as_coordinate, derived_coordinates, grid_of, rows_or
from phasecube.analysis.cube.row_values import RowValues
from phasecube.analysis.search.facts import search_attrs
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Engine, Outcome, Status
from phasecube.engine.store import Store

if TYPE_CHECKING:
    from phasecube.sweeps.axis import Axis
    from phasecube.sweeps.plan import Plan

ATTEMPTS = 3  # at opening a cube that is replaced meanwhile; then the rows are read
__all__ = ["CUBE", "PLAN", "SCHEMA_VERSION", "STORE", "RowsBackend", "frame"]
__all__ += ["is_current", "open_study", "plan_digest", "status_digest"]
Chunks = dict[str, int] | Literal["auto"] | None


def open_study(path: Path | str, *, chunks: Chunks = None) -> xr.Dataset:
    """Return the study at `path` as a Dataset over its axes and `step`.

    Values are read from disk when used, and no more than is used; with `chunks` they are dask
    arrays, for cubes larger than memory: "auto" (see `chunking.in_chunks`) or sizes by dim. A
    cube.zarr alone can be opened too. Raises StudyError if there is no study.
    """
    from phasecube.analysis.cube.store import open_cube

    path = Path(path)
    if path.suffix == ".zarr" and path.is_dir():
        cautions = check_whole(path)
        return _chunked(with_cautions(open_cube(path), cautions), chunks)
    check_study(path)
    lacks = ""
    for _ in range(ATTEMPTS):
        edition = edition_of(path / CUBE)
        state = state_of(path)
        if edition_of(path / CUBE) != edition:
            continue
        lacks = state.lacks
        if not state.is_current:
            break
        try:
            return _chunked(open_cube(path / CUBE, edition), chunks)
        except StudyError:
            if edition_of(path / CUBE) == edition:  # not replaced while it was opened
                lacks = "a file in it is not what was written"
                break
    ds = _chunked(xr.open_dataset(path, engine=RowsBackend), chunks)
    if not lacks:
        return ds
    why = f"{path / CUBE} is not whole, {lacks}: the rows were read, which takes longer. "
    why += "`phasecube report` on the study writes it anew"
    return with_cautions(ds, [Caution("damaged_cube", why)])


def _chunked(ds: xr.Dataset, chunks: Chunks) -> xr.Dataset:
    return ds if chunks is None else in_chunks(ds, chunks)


class RowsBackend(BackendEntrypoint):
    """Lets xarray open the row store of a study; `open_study` is the way in."""

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
    ) -> xr.Dataset:
        """Return the Dataset of the rows published so far; values are read when used."""
        from phasecube.sweeps.plan import read_plan

        study = Path(filename_or_obj)
        store = Store(study / STORE)
        # First: what it vouches for is there.
        status_RF, lost = vouched_status(store, store.read_status())
        digest = plan_digest(study)  # first: of a plan replaced meanwhile no cube looks current
        plan = read_plan(study / PLAN)
        ds = frame(plan, store, status_RF)
        ds.attrs["plan_digest"] = digest
        ds.attrs["status_digest"] = status_digest(status_RF)
        ds = with_cautions(ds, lost)
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables
        return ds.drop_vars(dropped or [])


def frame(plan: Plan, store: Store, status_RF: npt.NDArray[np.int32]) -> xr.Dataset:
    """Return the Dataset of a plan over a store as it stood when `status_RF` was read."""
    grid = grid_of(plan)
    status_NF = _status_of_trials(grid, status_RF)
    layout = store.layout
    coords = _coordinates(plan, grid)
    coords["step"] = xr.Variable("step", layout.rule.steps, {"units": "step", "long_name": "step"})
    if layout.rule.vectors:
        coords["vector_step"] = xr.Variable(
            "vector_step", layout.rule.vector_steps, {"units": "step", "long_name": "step"}
        )
    data: dict[str, xr.Variable] = {}
    dtype = np.dtype(layout.rule.dtype)
    for name in layout.rule.scalars:
        rows = RowValues(store, grid, name, (len(layout.rule.steps),), dtype)
        attrs = _measure_attrs(layout.measures[name])
        if name in layout.rule.cadences:
            attrs["cadence_steps"] = layout.rule.cadences[name].tolist()
        data[name] = _lazy((*grid.dims, "step"), rows, attrs)
    for name, labels in layout.rule.vectors.items():
        measure = layout.measures[name]
        dim = measure.dim or f"{name}_label"
        coords[dim] = xr.Variable(dim, np.asarray(labels))
        recorded = (len(layout.rule.vector_steps), len(labels))
        rows = RowValues(store, grid, name, recorded, dtype)
        data[name] = _lazy((*grid.dims, "vector_step", dim), rows, _measure_attrs(measure))
    data |= _provenance(plan, grid, status_NF)
    settled = bool((status_NF[:, Status.OUTCOME] != Outcome.NOT_RUN).all())
    return xr.Dataset(data, coords, _attrs(plan, list(data), list(coords), complete=settled))


def _lazy(dims: tuple[str, ...], rows: RowValues, attrs: dict[str, Any]) -> xr.Variable:
    return xr.Variable(dims, indexing.LazilyIndexedArray(rows), attrs)


def _status_of_trials(grid: Grid, status_RF: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    fresh_F = np.zeros(len(Status), np.int32)
    fresh_F[Status.STOPPED_AT] = -1
    status_NF: npt.NDArray[np.int32] = rows_or(status_RF, grid.rows_N, fresh_F)
    return status_NF


def _provenance(plan: Plan, grid: Grid, status_NF: npt.NDArray[np.int32]) -> dict[str, xr.Variable]:
    digests = words_of_bytes(grid.scatter(plan.digests, 0))
    fields: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "outcome": (
            status_NF[:, Status.OUTCOME].astype(np.uint8),
            Outcome.NOT_PLANNED,
            {"long_name": "how the trial ended", **_flags(Outcome)},
        ),
        "n_recorded": (
            status_NF[:, Status.N_RECORDED],
            0,
            {"long_name": "entries of the step grid that hold values", "units": "1"},
        ),
        "stopped_at": (
            status_NF[:, Status.STOPPED_AT],
            -1,
            {"long_name": "step after which the trial trained no further", "units": "step"},
        ),
        "engine": (
            status_NF[:, Status.ENGINE].astype(np.uint8),
            Engine.NONE,
            {"long_name": "engine, the numeric class of the trial", **_flags(Engine)},
        ),
        "run": (
            status_NF[:, Status.RUN],
            -1,
            {"long_name": "line of runs.jsonl that says commit, versions and hardware"},
        ),
    }
    found = {
        name: xr.Variable(grid.dims, grid.scatter(values, fill), attrs)
        for name, (values, fill, attrs) in fields.items()
    }
    found[DIGEST] = xr.Variable(grid.dims, digests, {"long_name": "identity of the trial"})
    return found


def _flags(flags: type[Outcome] | type[Engine]) -> dict[str, Any]:
    return {
        "flag_values": np.array([int(f) for f in flags], np.uint8),
        "flag_meanings": " ".join(f.name for f in flags),
    }


def _measure_attrs(measure: Any) -> dict[str, Any]:
    return {"long_name": measure.long_name, "units": measure.unit}


def _coordinates(plan: Plan, grid: Grid) -> dict[str, xr.Variable]:
    coords = {
        axis.name: xr.Variable(dim.name, as_coordinate(axis.values), _axis_attrs(axis))
        for dim in plan.dims
        for axis in dim.axes
    }
    return coords | derived_coordinates(plan, grid, coords)


def _axis_attrs(axis: Axis) -> dict[str, Any]:
    given = {"long_name": axis.label, "units": axis.unit, "scale": axis.scale}
    return {name: value for name, value in given.items() if value}


def _attrs(
    plan: Plan, variables: list[str], coordinates: list[str], *, complete: bool
) -> dict[str, Any]:
    sweep = plan.sweep
    fixed = {name: v for name, v in plan.constants.items() if name not in plan.columns}
    return {
        "Conventions": "CF-1.12",
        "title": sweep.title or sweep.name,
        "question": sweep.question,
        "sweep": sweep.name,
        "experiment": plan.experiment,
        "experiment_version": plan.version,
        "fixed": json.dumps(fixed, sort_keys=True),
        "counts": json.dumps(dict(plan.counts), sort_keys=True),
        "variables": variables,
        "order_of_coordinates": coordinates,
        "complete": int(complete),
        "schema_version": SCHEMA_VERSION,
        **search_attrs(sweep),
    }
