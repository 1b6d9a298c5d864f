"""From curves to numbers: onset times that know when they are censored, final values.

An onset is known only to an interval: it came in (after, step] where it was seen, and
later than `after` where it was not seen by the end of the trial. A trial that diverged,
failed or has not run is none of these, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import xarray as xr

from phasecube.analysis.cube.last_record import value_at_place
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome


class Seen(IntEnum):
    """What is known of an onset."""

    NOT_PLANNED = 0
    NOT_RUN = 1  # not run, or not to its end and not seen so far
    OBSERVED = 2
    CENSORED = 3  # the trial ended in good order before the onset came
    DIVERGED = 4
    LOST = 5  # failed or out of memory


_ENDED_UNSEEN = {
    Outcome.NOT_RUN: Seen.NOT_RUN,
    Outcome.DONE: Seen.CENSORED,
    Outcome.PRUNED: Seen.CENSORED,
    Outcome.TIMED_OUT: Seen.CENSORED,
    Outcome.DIVERGED: Seen.DIVERGED,
    Outcome.FAILED: Seen.LOST,
    Outcome.OUT_OF_MEMORY: Seen.LOST,
    Outcome.NOT_PLANNED: Seen.NOT_PLANNED,
}
_SEEN_OF_OUTCOME = np.zeros(256, np.uint8)
for _outcome, _seen in _ENDED_UNSEEN.items():
    _SEEN_OF_OUTCOME[_outcome] = _seen

SEEN_ATTRS = {
    "flag_values": np.array([int(s) for s in Seen], np.uint8),
    "flag_meanings": " ".join(s.name for s in Seen),
}


# Trials whose last record is a result.
IN_ORDER = [Outcome.DONE, Outcome.PRUNED, Outcome.TIMED_OUT]


@dataclass(frozen=True)
class Onset:
    """When something came to each trial; three arrays over the dims of the trials.

    step: the first recorded step at which it held, NaN unless OBSERVED. after: the last
    recorded step at which it did not hold yet (equal to `step` at the first record).
    seen: `Seen`.
    """

    step: xr.DataArray
    after: xr.DataArray
    seen: xr.DataArray

    @property
    def observed(self) -> xr.DataArray:
        """True where the onset was seen."""
        return self.seen == Seen.OBSERVED

    @property
    def censored(self) -> xr.DataArray:
        """True where the trial ended in good order without it."""
        return self.seen == Seen.CENSORED

    def times(self) -> xr.DataArray:
        """Return the onset where observed, the last step without it where censored, else NaN.

        For survival estimates only: a plain mean of it would take a bound for a time.
        """
        return self.step.where(self.observed, self.after.where(self.censored))

    def dataset(self, name: str, long_name: str, unit: str = "step") -> xr.Dataset:
        """Return variables `name`, `name`_after and `name`_seen."""
        attrs = {"units": unit}
        return xr.Dataset(
            {
                name: self.step.assign_attrs(long_name=long_name, **attrs),
                f"{name}_after": self.after.assign_attrs(
                    long_name=f"last record before: {long_name}", **attrs
                ),
                f"{name}_seen": self.seen.assign_attrs(
                    long_name=f"what is known of: {long_name}", **SEEN_ATTRS
                ),
            }
        )


def curve(ds: xr.Dataset, measure: str) -> xr.DataArray:
    """Return the curves of a scalar measure; raise StudyError naming those there are."""
    scalars = [str(n) for n, v in ds.data_vars.items() if "step" in v.dims]
    if measure not in scalars:
        raise StudyError(
            f"the study recorded no scalar measure {measure!r}; it has {', '.join(scalars)}"
        )
    return ds[measure]


def taken(ds: xr.Dataset, measure: str) -> xr.Dataset:
    """Return the study at the records at which `measure` was taken: all, or its cadence's.

    `n_recorded` counts those.
    """
    steps = curve(ds, measure).attrs.get("cadence_steps")
    if steps is None:
        return ds
    places = np.flatnonzero(np.isin(ds.step.values, steps))
    n_recorded = ds.n_recorded.copy(data=np.searchsorted(places, ds.n_recorded.values))
    return ds.isel(step=places).assign(n_recorded=n_recorded)


def onset(
    ds: xr.Dataset,
    measure: str,
    threshold: float | xr.DataArray,
    *,
    above: bool = True,
    sustained: bool = False,
) -> Onset:
    """Return when each trial's `measure` reached `threshold` (>=, or <= if not `above`).

    `sustained`: the first record from which on it holds at every further record, so that
    a spike does not count. `threshold` may differ from trial to trial.
    """
    ds = taken(ds, measure)
    values = curve(ds, measure).transpose(..., "step")
    holds = values >= threshold if above else values <= threshold  # NaN holds nowhere
    position_S = xr.DataArray(np.arange(ds.sizes["step"]), dims="step")
    if values.chunks is not None:  # else a mask as large as the curves goes to the workers
        position_S = position_S.chunk(step=values.chunksizes["step"])
    n_recorded = ds.n_recorded.transpose(*values.dims[:-1])
    holds = (holds & (position_S < n_recorded)).transpose(*values.dims)
    if sustained:
        # After the last record at which it does not hold; what was never recorded does not count.
        fails = ((position_S < n_recorded) & ~holds).transpose(*values.dims)
        backwards = fails.isel(step=slice(None, None, -1))
        reduced = {"any": fails.any("step"), "at": backwards.argmax("step")}
    else:
        reduced = {"any": holds.any("step"), "at": holds.argmax("step")}
    # With dask only these two leave the workers, and the curves are read once for both.
    found = xr.Dataset(reduced, coords={}).compute()
    any_, at = found["any"].values, found["at"].values
    if sustained:
        first = np.where(any_, ds.sizes["step"] - at, 0)
        return _onset_from(first < n_recorded.values, first, ds, values.isel(step=0, drop=True))
    return _onset_from(any_, at, ds, values.isel(step=0, drop=True))


def _onset_from(
    seen_at_all: np.ndarray, first: np.ndarray, ds: xr.Dataset, like: xr.DataArray
) -> Onset:
    """Return onsets at the records `first` of the trials where it was seen."""
    steps_S = np.asarray(ds.step.values, np.float64)
    outcome = ds.outcome.transpose(*like.dims).values
    n_recorded = ds.n_recorded.transpose(*like.dims).values
    first = np.where(seen_at_all, first, 0)
    before = np.where(seen_at_all, np.maximum(first - 1, 0), n_recorded - 1)
    seen = np.where(seen_at_all, np.uint8(Seen.OBSERVED), _SEEN_OF_OUTCOME[outcome])
    after = np.where(before >= 0, steps_S[np.maximum(before, 0)], np.nan)
    return Onset(
        _like(like, np.where(seen_at_all, steps_S[first], np.nan)),
        _like(like, after),
        _like(like, seen.astype(np.uint8)),
    )


def _like(like: xr.DataArray, values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=like.dims, coords=like.coords)


def initial_value(ds: xr.Dataset, measure: str) -> xr.DataArray:
    """Return the value at the first record, NaN where nothing was recorded."""
    return curve(ds, measure).isel(step=0, drop=True)


def final_value(ds: xr.Dataset, measure: str) -> xr.DataArray:
    """Return the value at the last record of each trial that ended in good order.

    NaN for trials that diverged, failed or have not ended: their last record is no result.
    """
    values = curve(ds, measure)
    last = (ds.n_recorded - 1).clip(min=0)
    # Most trials end at the last grid point: read that one slice, and more only if needed.
    in_order = ds.outcome.isin(IN_ORDER)
    in_order = in_order & (ds.n_recorded > 0)
    end = ds.sizes["step"] - 1
    if bool((last.where(in_order, end) == end).all()):
        final = values.isel(step=-1, drop=True)
    else:
        final = value_at_place(values, "step", last.where(in_order, -1).astype(np.int64))
    return final.where(in_order).assign_attrs(values.attrs)


def delay(start: Onset, end: Onset) -> Onset:
    """Return the time from `start` to `end`.

    Censored where the start was seen and the end was not. Where the start was not seen
    the delay is as unknown as the start.
    """
    seen = end.seen.where(start.observed, start.seen).astype(np.uint8)
    return Onset(
        (end.step - start.step).where(seen == Seen.OBSERVED),
        (end.after - start.step).where(start.observed),
        seen,
    )


def ratio(start: Onset, end: Onset, *, log_interval: float) -> Onset:
    """Return end / max(start, log_interval), censored as `delay` is."""
    base = start.step.clip(min=log_interval)
    seen = end.seen.where(start.observed, start.seen).astype(np.uint8)
    return Onset(
        (end.step / base).where(seen == Seen.OBSERVED),
        (end.after / base).where(start.observed),
        seen,
    )


def first_interval(ds: xr.Dataset) -> float:
    """Return the gap between the first two records, the resolution of an onset at 0."""
    steps = ds.step.values
    return float(steps[1] - steps[0]) if len(steps) > 1 else 1.0
