"""A study asked one question: measures of the trials selected, reduced over axes, as a table.

`phasecube show STUDY --select lr=1e-3 --reduce seed:median` is `query` on the command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.caution import cautions_of
from phasecube.analysis.cube.joined import joined
from phasecube.analysis.cube.selection import chosen
from phasecube.analysis.cube.step_bins import Statistic, binned, quantiles
from phasecube.analysis.lines.arranged import STEPS, recorded
from phasecube.analysis.lines.slices import value_at
from phasecube.analysis.maps.phase_diagram import sweep_dims
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

__all__ = ["joined", "measures_of", "query"]

Reduce = Callable[[xr.DataArray, str], xr.DataArray]
QUANTILE = re.compile(r"q([1-9][0-9]?)")
STATISTICS: dict[str, Reduce] = {
    "median": lambda values, dim: _quantile(values, dim, 0.5),
    "mean": lambda values, dim: values.mean(dim),
    "min": lambda values, dim: values.min(dim),
    "max": lambda values, dim: values.max(dim),
    "std": lambda values, dim: values.std(dim, ddof=1),
    "count": lambda values, dim: values.count(dim),
    "iqr": lambda values, dim: _quantile(values, dim, 0.75) - _quantile(values, dim, 0.25),
}


def query(
    ds: xr.Dataset,
    *,
    select: Mapping[str, Any] | None = None,
    outcomes: Sequence[str | Outcome] = (),
    reduce: Sequence[tuple[str, str]] = (),
    measures: Sequence[str] = (),
    step: int | None = None,
    bins: tuple[int, Statistic] | None = None,
) -> pd.DataFrame:
    """Return one row a trial, or one a cell of what `reduce` leaves, with a column a measure.

    select, outcomes: which trials, see `selection.chosen`. reduce: (axis, statistic) in order:
    an axis of the sweep or the labels of a vector measure; median, mean, min, max, std (of the
    sample, n - 1), count, iqr (q75 - q25) or q1 to q99. Several statistics of one axis give a
    column each, another axis is reduced next. Columns say so: val_loss_seed_median.
    measures: scalar or vector, all scalar ones without any. step: the record that counts, by
    default the last of each trial. bins: (bins a decade, statistic of the records in one), a
    row for each log bin of steps in place of one record, see `step_bins.binned`.

    At the last record a trial that diverged, failed or has not ended has no value, unless
    `outcomes` asks for such: its last record is no result. At `step` and in bins every value
    counts that was recorded there. Missing values (NaN) enter no statistic; `attrs["notes"]`
    says how many trials lack one and how they ended, and what speaks against the study.
    Columns: the parameters; `trials` selected in the cell, or `outcome` and `digest` of the
    trial; the measures, in float64. Only what is asked for is read, so the table is the same
    on dask arrays. Raises StudyError naming what there is.
    """
    names = list(measures) or measures_of(ds)
    if bins is not None and step is not None:
        raise StudyError("one record counts, or bins of steps: say step or bins, not both")
    steps_by_axis = _by_axis(ds, names, reduce)
    ds = ds.assign(outcome=ds.outcome.compute())  # one byte a trial, asked again and again
    ds, meant = chosen(ds, select or {}, outcomes)
    if bins is None:
        values = {name: _values(ds, meant, name, step, bool(outcomes)) for name in names}
    else:
        values = {name: _in_bins(ds, meant, name, bins) for name in names}
        for found in values.values():
            ds = ds.assign_coords(found.coords)
    columns = dict(values)
    for axis, statistics in steps_by_axis.items():
        columns = {
            f"{name}_{axis}_{said}": _statistic(said)(column, axis)
            for name, column in columns.items()
            for said in statistics
        }
    dims = [d for d in sweep_dims(ds) if d not in steps_by_axis]
    dims += _shared_labels(columns, dims)
    trials = meant.sum([d for d in sweep_dims(ds) if d in steps_by_axis])
    table = _table(ds, dims, trials, columns, is_reduced=bool(steps_by_axis))
    when = "at the last record of each trial" if step is None else f"at step {step:,}"
    if bins is not None:
        when = f"{bins[1]} of the records in each of {bins[0]:,} bins of steps a decade"
    table.attrs["notes"] = tuple(_notes(ds, meant, values, when, steps_by_axis))
    return table


def measures_of(ds: xr.Dataset) -> list[str]:
    """Return the scalar measures that the study records; raise StudyError if it has none."""
    scalars = [str(n) for n, v in ds.data_vars.items() if "step" in v.dims]
    if not scalars:
        vectors = [str(n) for n, v in ds.data_vars.items() if "vector_step" in v.dims]
        raise StudyError(
            "the study recorded no scalar measure; name one of "
            + (", ".join(vectors) or "another study: it recorded none at all")
        )
    return scalars


def _statistic(name: str) -> Reduce:
    if name in STATISTICS:
        return STATISTICS[name]
    quantile = QUANTILE.fullmatch(name)
    if quantile is None:
        known = ", ".join(STATISTICS)
        raise StudyError(f"there is no statistic {name!r}; there are {known} and q1 to q99")
    return lambda values, dim: _quantile(values, dim, int(quantile[1]) / 100)


def _quantile(values: xr.DataArray, dim: str, q: float) -> xr.DataArray:
    # One sort for all cells: xarray's quantile that skips NaN takes them one by one.
    return quantiles(values, dim, (q,)).isel(quantile=0, drop=True)


def _by_axis(
    ds: xr.Dataset, measures: Sequence[str], reduce: Sequence[tuple[str, str]]
) -> dict[str, list[str]]:
    """Return the statistics asked of each axis, in order; StudyError for what is no axis."""
    labels = [str(d) for m in measures for d in recorded(ds, m)[0].dims if d not in STEPS]
    axes = list(dict.fromkeys([*sweep_dims(ds), *labels]))
    found: dict[str, list[str]] = {}
    for axis, statistic in reduce:
        if axis not in axes:
            raise StudyError(f"cannot reduce {axis!r}: {_why_no_axis(ds, axis, axes)}")
        _statistic(statistic)
        said = found.setdefault(axis, [])
        if statistic not in said:
            said.append(statistic)
    return found


def _why_no_axis(ds: xr.Dataset, name: str, axes: Sequence[str]) -> str:
    if name in STEPS:
        return "one record counts; say which with step = N"
    if name in ds.coords and name not in axes and ds[name].dims:
        return f"it lies along {', '.join(map(str, ds[name].dims))}; reduce that"
    fixed = json.loads(ds.attrs.get("fixed", "{}"))
    if name in fixed:
        return f"it is fixed at {fixed[name]}; the axes are {', '.join(axes) or 'none'}"
    return f"the axes are {', '.join(axes) or 'none'}"


def _values(
    ds: xr.Dataset, meant: xr.DataArray, measure: str, step: int | None, any_outcome: bool
) -> xr.DataArray:
    """Return the record asked for, in memory and float64, NaN where no trial is meant."""
    values, dim = recorded(ds, measure)
    if step is not None:
        taken = values.attrs.get("cadence_steps")
        grid = values[dim].values
        _check_step(measure, step, grid if taken is None else np.intersect1d(grid, taken))
    elif any_outcome:  # the trials asked for count, however they ended
        ended = np.where(meant.values, np.uint8(Outcome.DONE), np.uint8(Outcome.NOT_PLANNED))
        ds = ds.assign(outcome=ds.outcome.copy(data=ended))
    found = value_at(ds, measure, step).compute().astype(np.float64)
    labels = [d for d in found.dims if d not in meant.dims]
    return found.where(meant).transpose(*meant.dims, *labels)


def _in_bins(
    ds: xr.Dataset, meant: xr.DataArray, measure: str, bins: tuple[int, Statistic]
) -> xr.DataArray:
    """Return a measure in log bins of steps, in memory and float64, NaN where no trial is meant."""
    values, _ = recorded(ds, measure)
    found = binned(values, *bins).compute().astype(np.float64)
    labels = [d for d in found.dims if d not in meant.dims]
    return found.where(meant).transpose(*meant.dims, *labels)


def _check_step(measure: str, step: int, grid: np.ndarray) -> None:
    if step in grid:
        return
    near = grid[np.argsort(np.abs(grid - step), kind="stable")[:2]]
    raise StudyError(
        f"{measure} was not recorded at step {step:,}; the nearest of its {len(grid):,} records "
        f"from {grid[0]:,} to {grid[-1]:,} are {' and '.join(f'{s:,}' for s in sorted(near))}"
    )


def _shared_labels(columns: Mapping[str, xr.DataArray], dims: Sequence[str]) -> list[str]:
    """Return the label dims that all columns have; StudyError where they differ."""
    labels = {n: [str(d) for d in c.dims if d not in dims] for n, c in columns.items()}
    first = next(iter(labels.values()))
    if any(found != first for found in labels.values()):
        said = "; ".join(f"{n}: {', '.join(f) or 'no labels'}" for n, f in labels.items())
        raise StudyError(f"one table holds measures of the same labels ({said}); ask one by one")
    return first


def _table(
    ds: xr.Dataset,
    dims: Sequence[str],
    trials: xr.DataArray,
    columns: Mapping[str, xr.DataArray],
    *,
    is_reduced: bool,
) -> pd.DataFrame:
    like = next(iter(columns.values())).transpose(*dims)
    like = xr.DataArray(np.zeros(like.shape, bool), dims=dims)
    shown = (trials > 0).drop_vars(list(trials.coords)).broadcast_like(like).transpose(*dims).values

    def column(values: xr.DataArray) -> Any:
        bare = values.drop_vars(list(values.coords)).broadcast_like(like).transpose(*dims)
        found = bare.values[shown]
        return found.astype(object) if found.dtype.kind == "T" else found

    coords = [str(n) for n, c in ds.coords.items() if c.dims and set(c.dims) <= set(dims)]
    coords.sort(key=lambda n: (ds[n].ndim, dims.index(str(ds[n].dims[0]))))  # as the axes come
    table = {name: column(ds[name]) for name in coords}
    if is_reduced:
        table["trials"] = column(trials)
    else:
        names = {int(o): o.name.lower() for o in Outcome}
        table["outcome"] = np.array([names[int(o)] for o in column(ds.outcome)], object)
        if "digest" in ds:
            table["digest"] = column(ds.digest)
    return pd.DataFrame({**table, **{name: column(c) for name, c in columns.items()}})


def _notes(
    ds: xr.Dataset,
    meant: xr.DataArray,
    values: Mapping[str, xr.DataArray],
    when: str,
    reduced: Mapping[str, Sequence[str]],
) -> list[str]:
    """Return in words what was taken, which trials have no value of it, and all cautions."""
    over = ", then ".join(f"{', '.join(said)} over {axis}" for axis, said in reduced.items())
    notes = [when + (f": {over}" if over else "")]
    lacking: dict[str, list[str]] = {}
    outcomes = ds.outcome.values
    for name, found in values.items():
        labels = [d for d in found.dims if d not in meant.dims]
        is_lacking = (meant & found.isnull().all(labels)).values
        if is_lacking.any():
            kinds, counts = np.unique(outcomes[is_lacking], return_counts=True)
            said = ", ".join(
                f"{n:,} {Outcome(int(k)).name.lower().replace('_', ' ')}"
                for k, n in zip(kinds, counts, strict=True)
            )
            text = f"no {{}} in {is_lacking.sum():,} of {int(meant.sum()):,} trials: {said}"
            lacking.setdefault(text, []).append(name)
    notes += [text.format(", ".join(names)) for text, names in lacking.items()]
    return notes + [str(caution) for caution in cautions_of(ds.attrs)]
