"""A study seen as a map: two axes span it, the others are fixed or reduced, each cell says
how much of it is known.

`arrange` brings a Dataset into panels with dims (row, column, member); the maps reduce
`member` with a stated statistic and its uncertainty. A cell counts its trials: planned,
settled, diverged, lost, censored; a value stands only on those that ended in good order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import product
from typing import Any, Literal

import numpy as np
import xarray as xr

from phasecube.analysis.estimates.intervals import Estimate, bootstrap, survival_median, wilson
from phasecube.analysis.grokking import GrokkingRule, grokking, majority
from phasecube.analysis.labels import in_words, long_name, name_and_unit, tick_labels
from phasecube.analysis.order_parameters import Onset, curve, final_value
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

Statistic = Literal["median", "mean", "share"]
CELL_DIMS = ("row", "column")
_KEPT_DIMS = {"step", "vector_step"}


class CellState(IntEnum):
    """How much of a cell has run."""

    NOT_PLANNED = 0
    NOT_RUN = 1
    PARTLY_RUN = 2
    COMPLETE = 3


@dataclass(frozen=True)
class MapAxis:
    """One side of a map: the dim of the study, its label with unit, one tick per cell.

    `values` are those of the axis, none for a zip: several parameters move along it.
    """

    dim: str
    name: str
    label: str
    ticks: tuple[str, ...]
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One map's share of a study: `ds` with dims row (y), column (x), member and step.

    `fixed` names the values of the other axes, `over` the axes reduced as members and
    `members` each member's place on them ("seed 0").
    """

    ds: xr.Dataset
    x: MapAxis
    y: MapAxis
    fixed: Mapping[str, Any]
    over: tuple[str, ...]
    members: tuple[str, ...]

    @property
    def title(self) -> str:
        """Return the fixed values in words, empty if there are none."""
        return in_words(self.fixed)


def sweep_dims(ds: xr.Dataset) -> list[str]:
    """Return the dims that trials lie on, in the order of the sweep."""
    return [str(d) for d in ds.outcome.dims]


def map_axis(ds: xr.Dataset, name: str) -> MapAxis:
    """Return the axis called `name`: a dim, or a coordinate along one dim.

    Raises StudyError naming the axes there are.
    """
    dims = sweep_dims(ds)
    if name in dims and name not in ds.coords:  # a zip: several coordinates along it
        names = [str(c) for c, v in ds.coords.items() if v.dims == (name,)]
        columns = [tick_labels(ds[c].values) for c in names]
        ticks = tuple(", ".join(t) for t in zip(*columns, strict=True)) if columns else ()
        ticks = ticks or tuple(str(i) for i in range(ds.sizes[name]))
        return MapAxis(name, name, ", ".join(name_and_unit(ds[c]) for c in names) or name, ticks)
    if name in ds.coords and len(ds[name].dims) == 1 and ds[name].dims[0] in dims:
        coord = ds[name]
        ticks, values = tick_labels(coord.values), tuple(coord.values.tolist())
        return MapAxis(str(coord.dims[0]), name, name_and_unit(coord), ticks, values)
    raise StudyError(f"the study has no axis {name!r}; it has {', '.join(dims) or 'none'}")


def place_on(ds: xr.Dataset, name: str, value: Any) -> tuple[str, int]:
    """Return (dim, index) of `value` on the axis `name`; floats match to 1e-9 relative.

    Raises StudyError naming the values there are.
    """
    axis = map_axis(ds, name)
    if name not in ds.coords:
        raise StudyError(f"{name} is a zip; fix one of its coordinates ({axis.label}) instead")
    values = ds[name].values
    if values.dtype.kind in "fiu" and isinstance(value, int | float):
        hits = np.flatnonzero(np.isclose(values, value, rtol=1e-9, atol=0))
    else:
        hits = np.flatnonzero(values == value)
    if hits.size == 0:
        raise StudyError(f"{name} has no value {value!r}; it has {', '.join(axis.ticks)}")
    return axis.dim, int(hits[0])


def coords_at(ds: xr.Dataset, at: Mapping[str, int]) -> dict[str, Any]:
    """Return each coordinate's value at places on dims, in the order of the dims."""
    return {
        str(name): coord.values[i]
        for dim, i in at.items()
        for name, coord in ds.coords.items()
        if coord.dims == (dim,)
    }


def default_axes(ds: xr.Dataset) -> tuple[str | None, str | None]:
    """Return the first two axes with more than one value, seeds last of all."""
    dims = [d for d in sweep_dims(ds) if ds.sizes[d] > 1 and d != "seed"]
    dims += [d for d in sweep_dims(ds) if d not in dims and d != "seed"]
    return (dims[0] if dims else None), (dims[1] if len(dims) > 1 else None)


def arrange(
    ds: xr.Dataset,
    x: str | None,
    y: str | None,
    *,
    measures: Sequence[str],
    select: Mapping[str, Any] | None = None,
    over: Sequence[str] = ("seed",),
) -> list[Panel]:
    """Return one panel for each combination of values on the axes that nothing fixes.

    `select` fixes axes at a value; the axes in `over` are reduced (those the study does
    not have are passed by); with neither x nor y a panel is a single cell. Panels hold
    only `measures`, how the trials ended, and their digests.
    """
    for measure in measures:
        curve(ds, measure)
    kept = ["outcome", "n_recorded", *(["digest"] if "digest" in ds else [])]
    ds = ds[[*dict.fromkeys(measures), *kept]]  # the others stay unread
    chosen = dict(place_on(ds, name, value) for name, value in (select or {}).items())
    sides = [map_axis(ds, name) if name else None for name in (y, x)]
    used = [side.dim for side in sides if side]
    if len(set(used)) < len(used) or set(used) & set(chosen):
        raise StudyError(f"x = {x}, y = {y} and select = {select} name an axis twice")
    reduced = [d for d in sweep_dims(ds) if d in over and d not in used and d not in chosen]
    free = [d for d in sweep_dims(ds) if d not in {*used, *chosen, *reduced}]
    panels = []
    for places in product(*(range(ds.sizes[d]) for d in free)):
        at = {**chosen, **dict(zip(free, places, strict=True))}
        shown = [d for d in sweep_dims(ds) if d in at and (ds.sizes[d] > 1 or d in chosen)]
        fixed = coords_at(ds, {dim: at[dim] for dim in shown})
        panels.append(_panel(ds.isel(at), sides, reduced, fixed))
    return panels


def _panel(
    ds: xr.Dataset, sides: Sequence[MapAxis | None], reduced: list[str], fixed: dict[str, Any]
) -> Panel:
    one = MapAxis("", "", "", ("",))
    ticks = [[f"{d} {tick}" for tick in map_axis(ds, d).ticks] for d in reduced]
    members = tuple(", ".join(place) for place in product(*ticks)) if reduced else ("trial",)
    # Coordinates would collide with the new dims; the axes hold what a map needs of them.
    cells = ds.drop_vars([n for n in ds.coords if n not in _KEPT_DIMS])
    for side, dim in zip(sides, CELL_DIMS, strict=True):
        cells = cells.rename({side.dim: dim}) if side else cells.expand_dims(dim)
    if reduced:
        cells = cells.stack(member=reduced, create_index=False)
    else:
        cells = cells.expand_dims("member")
    cells = cells.transpose(*CELL_DIMS, "member", ..., missing_dims="ignore")
    return Panel(cells, sides[1] or one, sides[0] or one, fixed, tuple(reduced), members)


def cell_counts(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the state of each cell and its counts: planned, settled, diverged, lost."""
    outcome = ds.outcome
    planned = outcome != Outcome.NOT_PLANNED
    settled = planned & (outcome != Outcome.NOT_RUN)
    counts = {
        "n_planned": planned,
        "n_settled": settled,
        "n_diverged": outcome == Outcome.DIVERGED,
        "n_lost": outcome.isin([Outcome.FAILED, Outcome.OUT_OF_MEMORY]),
    }
    summed = {name: hits.sum("member") for name, hits in counts.items()}
    n_planned, n_settled = summed["n_planned"].values, summed["n_settled"].values
    state = np.select(
        [n_planned == 0, n_settled == 0, n_settled < n_planned],
        [CellState.NOT_PLANNED, CellState.NOT_RUN, CellState.PARTLY_RUN],
        CellState.COMPLETE,
    )
    attrs = {
        "flag_values": np.array([int(s) for s in CellState], np.uint8),
        "flag_meanings": " ".join(s.name for s in CellState),
    }
    summed["state"] = xr.DataArray(state.astype(np.uint8), dims=CELL_DIMS, attrs=attrs)
    return summed


def _cells(estimate: Estimate, **attrs: str) -> dict[str, xr.DataArray]:
    fields = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {n: xr.DataArray(v, dims=CELL_DIMS, attrs=attrs) for n, v in fields.items()}


def value_map(
    panel: Panel,
    measure: str,
    *,
    statistic: Statistic = "median",
    threshold: float | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Return value, low, high, n_used and the counts of each cell for final values.

    "median" and "mean" come with a bootstrap interval, "share" (of trials whose final
    value is at least `threshold`) with Wilson's.
    """
    final = final_value(panel.ds, measure).compute()  # one read for all that follows
    used = final.notnull()
    if statistic == "share":
        if threshold is None:
            raise StudyError('statistic = "share" needs a threshold: the share of which trials?')
        hits = (final >= threshold).sum("member")
        estimate = wilson(hits.values, used.sum("member").values, confidence=confidence)
        label = f"share of trials with {name_and_unit(panel.ds[measure])} ≥ {threshold:g}"
        unit = "1"
    else:
        estimate = bootstrap(final.values, statistic, confidence=confidence)
        label = f"final {long_name(panel.ds[measure])}"  # whoever draws it adds the unit
        unit = str(panel.ds[measure].attrs.get("units", "1"))
    how = "Wilson" if statistic == "share" else "bootstrap"
    return xr.Dataset(
        {
            **_cells(estimate, long_name=label, units=unit),
            "n_used": used.sum("member"),
            **cell_counts(panel.ds),
        },
        attrs={"statistic": statistic, "interval": f"{how} {100 * confidence:g} %"},
    )


def onset_map(
    panel: Panel, onset: Onset, label: str, *, unit: str = "step", confidence: float = 0.95
) -> xr.Dataset:
    """Return the Kaplan-Meier median of an onset per cell; `inf` where it lies past the trials.

    beyond: the shortest time for which a trial of the cell was watched in vain.
    """
    times = onset.times().transpose(*CELL_DIMS, "member")
    observed = onset.observed.transpose(*CELL_DIMS, "member")
    estimate = survival_median(times.values, observed.values, confidence=confidence)
    return xr.Dataset(
        {
            **_cells(estimate, long_name=label, units=unit),
            "beyond": onset.after.where(onset.censored).min("member"),
            "n_used": times.notnull().sum("member"),
            "n_observed": observed.sum("member"),
            "n_censored": onset.censored.sum("member"),
            **cell_counts(panel.ds),
        },
        attrs={
            "statistic": "Kaplan–Meier median",
            "interval": f"log-log Greenwood {100 * confidence:g} %",
        },
    )


def phase_map(
    panel: Panel, rule: GrokkingRule | None = None, *, confidence: float = 0.95
) -> xr.Dataset:
    """Return the commonest phase per cell with its share, Wilson interval and the counts."""
    rule = rule or GrokkingRule()
    found = majority(grokking(panel.ds, rule).phase, ["member"], confidence=confidence)
    return found.assign(cell_counts(panel.ds)).assign_attrs(
        statistic="commonest phase",
        interval=f"Wilson {100 * confidence:g} %",
        rule=rule.sentence(),
    )
