"""Several studies as one Dataset: the same axes, a further dim `study`, and what conflicts."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from phasecube.analysis.caution import ATTR, Caution, cautions_of, with_cautions
from phasecube.analysis.lines.arranged import STEPS
from phasecube.analysis.maps.phase_diagram import sweep_dims
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Engine, Outcome

STUDY = "study"
# What a cell holds that a study has not planned; measures and numbers hold NaN.
ABSENT: dict[Hashable, Any] = {
    "outcome": np.uint8(Outcome.NOT_PLANNED),
    "engine": np.uint8(Engine.NONE),
    "n_recorded": np.int32(0),
    "stopped_at": np.int32(-1),
    "run": np.int32(-1),
    "digest": "",
}


def joined(studies: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return studies over the same axes as one Dataset with a new first dim `study`.

    The values of an axis, the steps and the labels are the union of the studies'; a cell that
    a study has not is NaN, with the outcome NOT_PLANNED. `attrs["conflicts"]` lists in words
    in what the studies differ: experiment, version, fixed parameters, steps, measures, units.
    What of it makes numbers hard to compare is a caution too (`caution.cautions_of(attrs)`), as
    are trials that have not ended, several engines, cubes of several schemas, and whatever a
    study brings of its own. Fixed parameters that differ are coordinates along `study`;
    `attrs["fixed"]` keeps those that do not. `n_recorded` counts on the common steps: between
    its own records a study's measure is NaN, which `sustained` onsets take for a failure.
    `run` counts in the `runs.jsonl` of each study. Studies opened with `chunks` stay lazy,
    others are read.

    Raises StudyError for fewer than two studies, an axis that not all have, and a zip whose
    values differ.
    """
    if len(studies) < 2:
        raise StudyError(f"a join takes two studies or more, got {len(studies)}")
    parts = dict(studies)
    dims = sweep_dims(next(iter(parts.values())))
    _check_axes(parts)
    parts = {name: _near_values_as_one(ds, parts, dims) for name, ds in parts.items()}
    indexes = _unions(parts)
    conflicts, told_apart, shared = _conflicts(parts)
    cautions = [Caution(kind, text) for kind, text in conflicts if kind] + _cautions(parts)
    grids = _with_all_names({name: _on_grid(ds, indexes) for name, ds in parts.items()})
    found = xr.concat(
        [grids[name] for name in parts],
        dim=xr.Variable(STUDY, list(parts), {"long_name": "study"}),
        join="exact",
        data_vars="all",
        coords="different",
        compat="equals",
        combine_attrs="drop_conflicts",
    )
    found = found.assign_coords({n: (STUDY, v) for n, v in told_apart.items() if n not in found})
    found = found.transpose(STUDY, *dims, ...)
    for name in ("plan_digest", "status_digest", "variables", "order_of_coordinates"):
        found.attrs.pop(name, None)  # of one study on disk
    for name in map(str, found.data_vars):  # a cadence holds for all studies or for none
        cadences = [ds[name].attrs.get("cadence_steps") for ds in parts.values() if name in ds]
        if any(c != cadences[0] for c in cadences):
            found[name].attrs.pop("cadence_steps", None)
    found.attrs["fixed"] = json.dumps(shared, sort_keys=True)
    found.attrs["complete"] = min(int(ds.attrs.get("complete", 0)) for ds in parts.values())
    found.attrs["conflicts"] = [text for _, text in conflicts]
    found.attrs.pop(ATTR, None)  # each study's, named for it below
    return with_cautions(found, cautions)


def _cautions(parts: Mapping[str, xr.Dataset]) -> list[Caution]:
    """Return what speaks against the studies themselves, each named."""
    found = [
        Caution(c.name, f"{name}: {c.message}")
        for name, ds in parts.items()
        for c in cautions_of(ds.attrs)
    ]
    versions = {n: ds.attrs.get("schema_version") for n, ds in parts.items()}
    schemas = {n: v for n, v in versions.items() if v is not None}
    if len(set(schemas.values())) > 1:
        said = ", ".join(f"{n} of schema {v}" for n, v in schemas.items())
        why = f"cubes of several schemas: {said}; open the studies themselves, or write them anew"
        found.append(Caution("several_schemas", why))
    engines = {n: _engines(ds) for n, ds in parts.items() if "engine" in ds}
    if len({engine for ran in engines.values() for engine in ran}) > 1:
        said = "; ".join(f"{n} on {', '.join(ran) or 'none'}" for n, ran in engines.items())
        why = f"trained by several engines, whose numbers differ by rounding: {said}"
        found.append(Caution("several_engines", why))
    for name, ds in parts.items():
        outcome = ds.outcome.values
        waiting, planned = (
            (outcome == Outcome.NOT_RUN).sum(),
            (outcome != Outcome.NOT_PLANNED).sum(),
        )
        if waiting:
            why = (
                f"{name}: {waiting:,} of {planned:,} trials have not ended; it stands for the rest"
            )
            found.append(Caution("half_a_study", why))
    return found


def _engines(ds: xr.Dataset) -> list[str]:
    """Return the engines of the trials that have run, in words."""
    ran = ~ds.outcome.isin([Outcome.NOT_RUN, Outcome.NOT_PLANNED]).values
    codes = np.unique(ds.engine.transpose(*ds.outcome.dims).values[ran])
    return [Engine(int(c)).name.lower() for c in codes if c != Engine.NONE]


def _check_axes(parts: Mapping[str, xr.Dataset]) -> None:
    """Raise StudyError naming every axis that not all studies have, and zips that differ."""
    said = [f"{n} has an axis {STUDY!r} already" for n, ds in parts.items() if STUDY in ds.dims]
    for dim in dict.fromkeys(d for ds in parts.values() for d in sweep_dims(ds)):
        have = [name for name, ds in parts.items() if dim in sweep_dims(ds)]
        if len(have) < len(parts):
            others = [n for n in parts if n not in have]
            fixed = [f"{n} has it fixed at {_fixed(parts[n])[dim]}" for n in others
                     if dim in _fixed(parts[n])]  # fmt: skip
            where = f"; {', '.join(fixed)}" if fixed else ""
            said.append(f"{dim} is an axis of {', '.join(have)} only{where}")
            continue
        coords = [_zipped(ds, dim) for ds in parts.values()]
        if dim not in parts[have[0]].coords and any(c != coords[0] for c in coords[1:]):
            said.append(
                f"the zip {dim} has other values in {', '.join(have[1:])} than in {have[0]}"
            )
        kinds = {name: ds[dim].dtype.kind in "US" for name, ds in parts.items() if dim in ds.coords}
        if len(set(kinds.values())) > 1:
            said.append(f"{dim} holds words in {', '.join(n for n, k in kinds.items() if k)} only")
    if said:
        raise StudyError(
            f"cannot join {', '.join(parts)}: {'; '.join(said)}. Choose one value of such an axis "
            "first, ds.isel(AXIS=0), or reduce it"
        )


def _zipped(ds: xr.Dataset, dim: str) -> dict[str, list[Any]]:
    return {str(n): c.values.tolist() for n, c in ds.coords.items() if c.dims == (dim,)}


def _near_values_as_one(
    ds: xr.Dataset, parts: Mapping[str, xr.Dataset], dims: list[str]
) -> xr.Dataset:
    """Return a study whose axes hold the floats of the first study that has them to 1e-9.

    The same geometric axis over another range differs in the last digits.
    """
    for dim in dims:
        if dim not in ds.coords or ds[dim].dtype.kind != "f":
            continue
        known = np.concatenate([other[dim].values for other in parts.values()])
        near = np.isclose(known, ds[dim].values[:, None], rtol=1e-9, atol=0)
        ds = ds.assign_coords({dim: ds[dim].copy(data=known[near.argmax(1)])})
    return ds


def _unions(parts: Mapping[str, xr.Dataset]) -> dict[Hashable, Any]:
    """Return for each labelled dim the values of any study: numbers in order, words as met."""
    found: dict[Hashable, Any] = {}
    for dim in dict.fromkeys(d for ds in parts.values() for d in ds.dims):
        values = [ds[dim].values for ds in parts.values() if dim in ds.coords]
        if not values:
            continue
        union = np.concatenate(values)
        _, first = np.unique(union, return_index=True)
        is_same = all(np.array_equal(v, values[0]) for v in values)
        in_order = union.dtype.kind in "fiu" and all((np.diff(v) > 0).all() for v in values)
        found[dim] = values[0] if is_same else union[first if in_order else np.sort(first)]
    return found


def _on_grid(ds: xr.Dataset, indexes: Mapping[Hashable, Any]) -> xr.Dataset:
    """Return a study on the values of all, `n_recorded` counted on the steps of all."""
    steps = indexes.get("step")
    if steps is not None and "step" in ds.dims and "n_recorded" in ds:
        ends = np.concatenate([[0], np.searchsorted(steps, ds.step.values) + 1])
        ds = ds.assign(n_recorded=ds.n_recorded.copy(data=ends[ds.n_recorded].astype(np.int32)))
    own = {
        dim: values
        for dim, values in indexes.items()
        if dim in ds.dims and not np.array_equal(ds[dim].values, values)
    }
    words = {n: "" for n, c in ds.coords.items() if c.dtype.kind in "UT" and n not in ds.dims}
    return ds.reindex(own, fill_value={**ABSENT, **words}) if own else ds


def _with_all_names(grids: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return studies with the same variables, NaN (or ABSENT) where one has none of that name."""
    found = dict(grids)
    for own, ds in grids.items():
        for other in grids.values():
            for name, array in other.data_vars.items():
                if name not in found[own]:
                    fill = ABSENT.get(name, np.nan)
                    found[own] = found[own].assign({name: xr.full_like(array, fill)})
        coords = {n for other in grids.values() for n in other.coords if n not in found[own].coords}
        fixed = _fixed(ds)
        found[own] = found[own].assign_coords({n: fixed.get(str(n), np.nan) for n in coords})
    return found


def _conflicts(
    parts: Mapping[str, xr.Dataset],
) -> tuple[list[tuple[str, str]], dict[str, list[Any]], dict[str, Any]]:
    """Return what differs, parameters by study where all are plain, and what is fixed.

    What differs is (name of the caution, words); of fixed parameters there is no caution, to
    compare them is what studies are joined for.
    """
    said: list[tuple[str, str]] = []

    def compare(kind: str, what: str, values: Mapping[str, Any]) -> None:
        if any(v != next(iter(values.values())) for v in values.values()):
            said.append((kind, f"{what}: {', '.join(f'{n} = {v}' for n, v in values.items())}"))

    for attr in ("experiment", "experiment_version"):
        there = {n: ds.attrs[attr] for n, ds in parts.items() if attr in ds.attrs}
        compare(f"{attr}s_differ", attr.replace("_", " "), there)
    fixed = {n: _fixed(ds) for n, ds in parts.items()}
    told_apart, shared = {}, {}
    for name in sorted({p for f in fixed.values() for p in f}):
        values = {n: f.get(name, "not fixed") for n, f in fixed.items()}
        compare("", f"fixed {name}", values)
        first = next(iter(values.values()))
        if all(v == first for v in values.values()):
            shared[name] = first
        elif all(name in f and np.isscalar(f[name]) for f in fixed.values()):
            told_apart[name] = list(values.values())
    for dim in STEPS:
        grids = {n: ds[dim].values.tolist() for n, ds in parts.items() if dim in ds.coords}
        if any(g != next(iter(grids.values())) for g in grids.values()):
            records = {n: f"{len(g)} records from {g[0]} to {g[-1]}" for n, g in grids.items()}
            text = f"{dim}: {', '.join(f'{n} has {r}' for n, r in records.items())}"
            said.append(("steps_differ", text))
    for name in dict.fromkeys(str(n) for ds in parts.values() for n in ds.data_vars):
        have = [n for n, ds in parts.items() if name in ds]
        if len(have) < len(parts):
            said.append(("measures_differ", f"{name}: in {', '.join(have)} only"))
        for kind, attr in (("units_differ", "units"), ("cadences_differ", "cadence_steps")):
            compare(kind, f"{attr} of {name}", {n: parts[n][name].attrs.get(attr) for n in have})
    return said, told_apart, shared


def _fixed(ds: xr.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ds.attrs.get("fixed", "{}"))
    return found
