"""A study as lines: which trials stand behind each point, and expressions over its axes.

An axis is a dim of the sweep, a coordinate along one, or the labels of a vector measure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from phasecube.analysis.labels import in_words, tick_labels
from phasecube.analysis.maps.phase_diagram import MapAxis, coords_at, map_axis, place_on, sweep_dims
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.expression import Expression

STEPS = ("step", "vector_step")
MAX_PLOTS = 12


@dataclass(frozen=True)
class Bundle:
    """The trials of one line: `values` has dims (*kept, member) and `places` names its values.

    `numbers` holds everything an expression may read here, arrays along the kept axis
    included.
    """

    places: Mapping[str, Any]
    values: xr.DataArray
    outcome: xr.DataArray
    numbers: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Return the places in words, empty for the only line of a study."""
        return in_words(self.places)

    @property
    def n_members(self) -> int:
        """Return how many trials stand behind a point where there are most of them."""
        planned = (self.outcome != Outcome.NOT_PLANNED).sum("member")
        return int(planned.max())


def members_in_words(lines: Sequence[Bundle]) -> str:
    """Return how many trials a point has, as "5" or, where lines differ, "5 to 16"."""
    counts = sorted({line.n_members for line in lines}) or [1]
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def axis_of(values: xr.DataArray, ds: xr.Dataset, name: str) -> MapAxis:
    """Return the axis called `name`; raise StudyError naming those there are."""
    if name in label_dims(values, ds):
        return MapAxis(name, name, name.replace("_", " "), tick_labels(values[name].values))
    return map_axis(ds, name)


def recorded(ds: xr.Dataset, measure: str) -> tuple[xr.DataArray, str]:
    """Return a measure, scalar or vector, and the dim of its steps.

    Raises StudyError naming the measures there are.
    """
    measures = [str(n) for n, v in ds.data_vars.items() if set(STEPS) & set(v.dims)]
    if measure not in measures:
        raise StudyError(f"the study recorded no {measure!r}; it has {', '.join(measures)}")
    values = ds[measure]
    return values, next(d for d in STEPS if d in values.dims)


def label_dims(values: xr.DataArray, ds: xr.Dataset) -> list[str]:
    """Return the dims of a vector measure's labels."""
    known = {*sweep_dims(ds), *STEPS}
    return [str(d) for d in values.dims if d not in known]


def plots_of(
    ds: xr.Dataset,
    values: xr.DataArray,
    *,
    along: str | None,
    by: str | None,
    over: Sequence[str],
    select: Mapping[str, Any],
) -> Iterator[tuple[Mapping[str, Any], list[Bundle]]]:
    """Return (fixed, lines) of each plot: one for each combination on the axes nothing names.

    `along` is kept as an axis (None: the steps are), `by` tells lines apart, the axes in
    `over` are reduced (those the study does not have are passed by) and `select` fixes.
    """
    along_dim = axis_of(values, ds, along).dim if along else None
    by_dim = axis_of(values, ds, by).dim if by else None
    if along_dim is not None and along_dim == by_dim:
        raise StudyError(f"x = {along!r} and by = {by!r} are the same axis")
    chosen = dict(_place(ds, values, name, value) for name, value in select.items())
    for name, dim in (("x", along_dim), ("by", by_dim)):
        if dim in chosen:
            raise StudyError(f"{name} and select both name the axis {dim!r}")
    axes = [*sweep_dims(ds), *label_dims(values, ds)]
    reduced = [d for d in axes if d in over and d not in {along_dim, by_dim, *chosen}]
    free = [d for d in axes if d not in {along_dim, by_dim, *chosen, *reduced}]
    for places in product(*(range(values.sizes[d]) for d in free)):
        at = {**chosen, **dict(zip(free, places, strict=True))}
        lines = [
            _bundle(ds, values, {**at, **own}, reduced, by_dim)
            for own in ([{by_dim: i} for i in range(values.sizes[by_dim])] if by_dim else [{}])
        ]
        shown = {d: i for d, i in at.items() if values.sizes[d] > 1 or d in chosen}
        yield _named(ds, values, shown), [line for line in lines if line is not None]


def _place(ds: xr.Dataset, values: xr.DataArray, name: str, value: Any) -> tuple[str, int]:
    if name not in label_dims(values, ds):
        return place_on(ds, name, value)
    hits = np.flatnonzero(values[name].values == str(value))
    if not hits.size:
        raise StudyError(f"{name} has no label {value!r}; it has {', '.join(values[name].values)}")
    return name, int(hits[0])


def _bundle(
    ds: xr.Dataset,
    values: xr.DataArray,
    at: Mapping[str, int],
    reduced: Sequence[str],
    by_dim: str | None,
) -> Bundle | None:
    """Return the line at a place, None where no trial of it was planned."""
    here = values.isel({d: i for d, i in at.items() if d in values.dims})
    outcome = ds.outcome.isel({d: i for d, i in at.items() if d in ds.outcome.dims})
    if bool((outcome == Outcome.NOT_PLANNED).all()):
        return None
    numbers = dict(json.loads(ds.attrs.get("fixed", "{}")))
    numbers |= {
        str(n): c.item() if c.ndim == 0 else c.values
        for n, c in here.coords.items()
        if not set(c.dims) & set(reduced)
    }
    within = [d for d in reduced if d in here.dims]
    here = here.drop_vars([n for n, c in here.coords.items() if set(c.dims) & set(reduced)])
    members = [d for d in reduced if d in outcome.dims]
    outcome = outcome.drop_vars(list(outcome.coords))
    here = here.stack(member=within, create_index=False) if within else here.expand_dims("member")
    outcome = (
        outcome.stack(member=members, create_index=False)
        if members
        else outcome.expand_dims("member")
    )
    places = _named(ds, values, {d: i for d, i in at.items() if d == by_dim})
    return Bundle(places, here.transpose(..., "member"), outcome.transpose(..., "member"), numbers)


def _named(ds: xr.Dataset, values: xr.DataArray, at: Mapping[str, int]) -> dict[str, Any]:
    """Return the coordinates of places on axes by name."""
    found: dict[str, Any] = {}
    for dim, i in at.items():
        if dim in sweep_dims(ds) and dim not in ds.coords:  # a zip
            found |= coords_at(ds, {dim: i}) or {dim: i}
        else:  # an axis is told apart by its own values, whatever is derived from them
            found[dim] = (values if dim in values.coords else ds)[dim].values[i]
    return found


def evaluated(text: str, line: Bundle, n: int) -> np.ndarray:
    """Return an expression over the numbers of a line as n numbers.

    Raises StudyError for what is no expression, an unknown name or a value that is none.
    """
    try:
        expression = Expression(text)
    except ValueError as error:
        raise StudyError(str(error)) from error
    unknown = [name for name in expression.names if name not in line.numbers]
    if unknown:
        known = ", ".join(sorted(line.numbers))
        raise StudyError(f"{text!r} reads {', '.join(unknown)}; here there are {known}")
    columns = {}
    for name in expression.names:
        value = np.asarray(line.numbers[name])
        columns[name] = value if value.ndim else np.repeat(value, n)
        if len(columns[name]) != n:
            raise StudyError(f"{text!r} reads {name}, which does not lie along this plot")
    try:
        rows = [{m: c[i].item() for m, c in columns.items()} for i in range(n)]
        return np.array([float(expression(row)) for row in rows], np.float64)
    except (TypeError, ValueError) as error:
        raise StudyError(f"{text!r} gives no number here: {error}") from error
