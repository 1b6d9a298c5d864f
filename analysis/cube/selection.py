"""Which trials of a study are meant: by the values of its parameters and by how they ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.analysis.labels import format_value, in_words, tick_labels
from phasecube.analysis.lines.arranged import STEPS
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

Bools = npt.NDArray[np.bool_]
N_NAMED = 12  # values that an error lists
DIGEST = "digest"
N_DIGESTS = 5  # that an error lists


def chosen(
    ds: xr.Dataset, select: Mapping[str, Any], outcomes: Sequence[str | Outcome] = ()
) -> tuple[xr.Dataset, xr.DataArray]:
    """Return the study at the selected values, and which of its cells are meant (bool).

    `select` maps a parameter, or the labels of a vector measure, to a value or a list of
    values of which any will do; text is read as the parameter's type. Numbers match to 1e-9
    relative, or as the study's tables print them. `digest` takes the beginnings of digests,
    each of one trial, which may stand in several cells. `outcomes` are names or Outcomes of which
    any will do; without any, all planned trials are meant. Nothing is read but coordinates
    and outcomes. Raises StudyError naming what the study has instead.
    """
    masks = {dim: np.ones(n, bool) for dim, n in ds.sizes.items()}
    meant = xr.ones_like(ds.outcome, bool)
    for name, wanted in select.items():
        values = list(wanted) if isinstance(wanted, list | tuple | np.ndarray) else [wanted]
        if name == DIGEST and DIGEST in ds.data_vars:
            is_asked = _with_digests(ds[DIGEST], values)
            meant = meant & is_asked
            for dim in is_asked.dims:
                masks[dim] &= is_asked.any([d for d in is_asked.dims if d != dim]).values
            continue
        coord = _coordinate(ds, name, values)
        if coord is None:
            continue
        hit = np.any([matches(name, coord.values, value) for value in values], axis=0)
        if coord.ndim == 1:
            masks[coord.dims[0]] &= hit
        else:
            meant = meant & xr.DataArray(hit, dims=coord.dims)
    empty = [dim for dim, mask in masks.items() if not mask.any() and ds.sizes[dim]]
    if empty:
        raise StudyError(f"no trial has {in_words(select)}: each value is there, but not together")
    meant = meant.transpose(*ds.outcome.dims)
    places = {dim: _places(mask) for dim, mask in masks.items() if not mask.all()}
    ds, meant = ds.isel(places), meant.isel({d: p for d, p in places.items() if d in meant.dims})
    if outcomes:
        return ds, meant & ds.outcome.isin([outcome_of(name) for name in outcomes])
    return ds, meant & (ds.outcome != Outcome.NOT_PLANNED)


def outcome_of(name: str | Outcome) -> Outcome:
    """Return the Outcome of that name in small letters; raise StudyError naming all."""
    if isinstance(name, Outcome):
        return name
    known = {o.name.lower(): o for o in Outcome}
    found = known.get(name.strip().lower().replace("-", "_").replace(" ", "_"))
    if found is None:
        raise StudyError(f"no trial ends {name!r}; outcomes are {', '.join(known)}")
    return found


def _with_digests(digests: xr.DataArray, prefixes: Sequence[Any]) -> xr.DataArray:
    """Return which cells hold a trial whose digest begins so; StudyError unless each is one."""
    texts = digests.values
    texts = texts if texts.dtype.kind in "UT" else texts.astype(str)
    hit = np.zeros(texts.shape, bool)
    for prefix in prefixes:
        wanted = str(prefix).strip().lower()
        if not wanted:
            raise StudyError("a digest is selected by its beginning, at least one letter of it")
        begins = np.strings.startswith(texts, wanted)
        found = np.unique(texts[begins]).tolist()
        if len(found) != 1:
            count = f"{len(found):,} trials begin" if found else "no trial of the study begins"
            listing = "".join(f"\n  {name}" for name in found[:N_DIGESTS])
            more = "give more of the digest" if found else "`digest` is a column of its tables"
            raise StudyError(f"{count} with {wanted!r}; {more}{listing}")
        hit |= begins
    return xr.DataArray(hit, dims=digests.dims)


def matches(name: str, known: npt.NDArray[Any], value: Any) -> Bools:
    """Return where `known` is `value`, of its shape; raise StudyError where it never is."""
    if known.dtype.kind == "b":
        hit = known == _truth(name, value)
    elif known.dtype.kind in "fiu":
        number = _number(name, value)
        hit = np.isclose(known.astype(np.float64), number, rtol=1e-9, atol=0)
        if not hit.any():  # a value copied from a table has the digits that it shows
            hit = np.isin(known, [v for v, shown in _as_shown(known) if shown == number])
    else:
        hit = known.astype(str) == str(value)
    if not np.any(hit):
        raise StudyError(f"{name} has no value {value}; it has {_listed(known, value)}")
    return np.asarray(hit, bool)


def _coordinate(ds: xr.Dataset, name: str, values: Sequence[Any]) -> xr.DataArray | None:
    """Return the coordinate called `name`, None for a parameter fixed at one of `values`."""
    if name in STEPS:
        raise StudyError(f"{name} is no parameter of a trial; say at which step with step = N")
    if name == "outcome":
        raise StudyError("outcome is no parameter; say how trials ended with outcomes, --outcome")
    if name in ds.coords:
        return ds.coords[name]
    if name in ds.dims:
        along = [str(n) for n, c in ds.coords.items() if c.dims == (name,)]
        raise StudyError(f"{name} is a zip; select by what lies along it: {', '.join(along)}")
    fixed = json.loads(ds.attrs.get("fixed", "{}"))
    if name not in fixed:
        there = [str(n) for n in ds.coords if n not in STEPS]
        more = f"; fixed are {', '.join(fixed)}" if fixed else ""
        raise StudyError(
            f"the study has no parameter {name!r}; it has {', '.join(there) or 'no axis'}{more}"
        )
    here = np.asarray([fixed[name] if np.isscalar(fixed[name]) else json.dumps(fixed[name])])
    try:
        for value in values:
            matches(name, here, value)
    except StudyError as error:
        raise StudyError(f"{error}: it is fixed in this study") from None
    return None


def _places(mask: Bools) -> slice | npt.NDArray[np.int64]:
    """Return the true places, as a slice where they are evenly spaced: a slice stays lazy."""
    at = np.flatnonzero(mask)
    gaps = np.unique(np.diff(at))
    if gaps.size > 1:
        return at
    return slice(int(at[0]), int(at[-1]) + 1, int(gaps[0]) if gaps.size else 1)


def _truth(name: str, value: Any) -> bool:
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise StudyError(f"{name} is true or false, not {value!r}")
    return found


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise StudyError(f"{name} is a number, not {value!r}") from None


def _as_shown(known: npt.NDArray[Any]) -> list[tuple[Any, float]]:
    values = np.unique(known[np.isfinite(known)])
    return list(zip(values, map(float, tick_labels(values)), strict=True))


def _listed(known: npt.NDArray[Any], value: Any) -> str:
    values = np.unique(known[np.isfinite(known)] if known.dtype.kind == "f" else known)
    if len(values) <= N_NAMED:
        return ", ".join(tick_labels(values))
    ends = f"{len(values):,} from {format_value(values[0])} to {format_value(values[-1])}"
    if known.dtype.kind not in "fiu":
        return ends
    near = values[np.sort(np.argsort(np.abs(values - float(value)), kind="stable")[:2])]
    return f"{ends}, the nearest {' and '.join(format_value(v, 9) for v in near)}"
