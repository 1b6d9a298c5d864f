"""Which trials a trial goes on from: lineage, read from `parent_trial` and `branch_step`.

A trial that goes on from none is a line of one. Where a search branched (population based
training), the parameters along a line of ancestors are a schedule that the search found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.maps.phase_diagram import sweep_dims
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

PARENT, BEGIN, END = "parent_trial", "branch_step", "steps"
OF_BRANCHES = (PARENT, "parent_point", BEGIN, END)
POINT = "point"


def ancestry(ds: xr.Dataset, trial: str) -> list[str]:
    """Return the digests from the first ancestor of `trial` to itself.

    `trial` is a digest, 32 hexadecimal letters, as in `ds.digest`. Raises StudyError where the
    study has no such trial, or no longer has an ancestor of it.
    """
    parent_of = dict(zip(_over_trials(ds, ds.digest), _parents(ds)))
    line = [trial]
    while line[-1]:
        if line[-1] not in parent_of:
            whose = "" if len(line) == 1 else f", which {line[-2]} goes on from"
            raise StudyError(f"the study has no trial {line[-1]!r}{whose}")
        line.append(parent_of[line[-1]])
    return line[-2::-1]


def lineage(ds: xr.Dataset, trial: str, parameters: Sequence[str] = ()) -> pd.DataFrame:
    """Return one line an ancestor, the first on top and `trial` last.

    Columns: digest, begin and end (steps between which it alone trained: the last goes to its
    own end, the others until the next begins) and the `parameters`, by default the searched.
    Raises StudyError as `ancestry` does, and for a parameter that is no coordinate.
    """
    names = list(parameters) or searched_parameters(ds)
    for name in names:
        if name not in ds.coords:
            known = ", ".join(searched_parameters(ds)) or "none"
            raise StudyError(f"{name!r} is no coordinate of the study; searched were: {known}")
    line = ancestry(ds, trial)
    place = {digest: n for n, digest in enumerate(_over_trials(ds, ds.digest))}
    at = [place[digest] for digest in line]
    begins = np.asarray(_over_trials(ds, begin_of(ds)), np.int64)[at]
    last = int(np.asarray(_over_trials(ds, ds.stopped_at), np.int64)[at[-1]])
    columns = {name: [_over_trials(ds, ds[name])[n] for n in at] for name in names}
    return pd.DataFrame(
        {"digest": line, "begin": begins, "end": [*begins[1:].tolist(), last], **columns}
    )


def searched_parameters(ds: xr.Dataset) -> list[str]:
    """Return the parameters that vary from point to point, BRANCH left out."""
    return [
        str(name)
        for name, coord in ds.coords.items()
        if coord.dims == (POINT,) and name not in (*OF_BRANCHES, POINT)
    ]


def begin_of(ds: xr.Dataset) -> xr.DataArray:
    """Return the step at which each trial begins; 0 where none branches."""
    return ds[BEGIN] if BEGIN in ds.coords else xr.DataArray(0)


def curves(ds: xr.Dataset, measure: str) -> xr.DataArray:
    """Return a measure (point, step): the median over all other axes, what was recorded."""
    if measure not in ds.data_vars or "step" not in ds[measure].dims:
        measures = [str(n) for n, v in ds.data_vars.items() if "step" in v.dims]
        raise StudyError(f"the study recorded no {measure!r}; it has {', '.join(measures)}")
    if POINT not in ds.dims:
        raise StudyError("the study was not searched: it has no dimension 'point'")
    others = [d for d in sweep_dims(ds) if d != POINT]
    return ds[measure].median(others, skipna=True).transpose(POINT, "step")


def last_values(ds: xr.Dataset, measure: str) -> np.ndarray:
    """Return each point's last recorded value of a measure; NaN unless all its trials are done."""
    values_PS = np.asarray(curves(ds, measure).values, np.float64)
    known_PS = np.isfinite(values_PS)
    place_P = values_PS.shape[1] - 1 - np.argmax(known_PS[:, ::-1], axis=1)
    others = [d for d in sweep_dims(ds) if d != POINT]
    planned = ds.outcome.isin([Outcome.DONE, Outcome.NOT_PLANNED])
    done_P = np.asarray(planned.all(others)) & known_PS.any(1)
    return np.where(done_P, values_PS[np.arange(len(values_PS)), place_P], np.nan)


def best_point(ds: xr.Dataset, measure: str, *, maximize: bool = False) -> int:
    """Return the point with the best last value among those that trained longest."""
    last_P = last_values(ds, measure) * (-1.0 if maximize else 1.0)
    steps = ds[END] if END in ds.coords else xr.DataArray(0)
    steps_P = np.broadcast_to(np.asarray(steps.values), last_P.shape)
    if not np.isfinite(last_P).any():
        raise StudyError(f"no point of the study has a last {measure!r}")
    longest_P = steps_P == steps_P[np.isfinite(last_P)].max()
    return int(np.nanargmin(np.where(longest_P, last_P, np.nan)))


def points_of(ds: xr.Dataset, line: Sequence[str]) -> list[int]:
    """Return on which point each trial of a line stands."""
    point = xr.DataArray(np.arange(ds.sizes[POINT]), dims=POINT)
    place = dict(zip(_over_trials(ds, ds.digest), _over_trials(ds, point)))
    return [int(place[digest]) for digest in line]


def a_trial_of(ds: xr.Dataset, point: int) -> str:
    """Return the digest of a point's first trial."""
    digests = [str(d) for d in np.ravel(ds.digest.isel({POINT: point}).values)]
    return next(d for d in digests if d)


def _parents(ds: xr.Dataset) -> list[str]:
    if PARENT not in ds.coords:
        return [""] * int(ds.digest.size)
    return _over_trials(ds, ds[PARENT])


def _over_trials(ds: xr.Dataset, array: xr.DataArray) -> list:  # type: ignore[type-arg]
    """Return one plain value for each cell of the axes."""
    dims = sweep_dims(ds)
    found = np.ravel(array.broadcast_like(ds.outcome).transpose(*dims).values)
    return [str(v) if found.dtype.kind in "UTO" else v.item() for v in found]
