"""Trials as rows that a boundary or an onset lies between, one for each member or each slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.analysis.boundary.estimators import boundary_of_members
from phasecube.analysis.caution import Caution
from phasecube.analysis.estimates.change_points import level_shifts
from phasecube.analysis.order_parameters import Onset, Seen, curve, taken
from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]
Unit = Literal["members", "slices"]


@dataclass(frozen=True)
class Bounded:
    """Ends [W, N] of N rows at W places: 0 or infinite where not known, both NaN for no row.

    `n_trials_W` trials stand behind each place.
    """

    low_WN: Floats
    high_WN: Floats
    n_trials_W: npt.NDArray[np.int64]
    cautions: tuple[Caution, ...]


def boundary_rows(
    holds: xr.DataArray, along: str, against: str, over: Sequence[str], unit: Unit, yes: str
) -> Bounded:
    """Return where an answer (1, 0, NaN) changes along an axis, at each place of another.

    "members": for each member the values between which it changes; where it changes more
    than once, from before the first change to after the last. "slices": one row for each place,
    the cell in which most members change. Raises StudyError where `along` holds no numbers
    above 0.
    """
    at_A = np.asarray(holds[along].values)
    if at_A.dtype.kind not in "fiu" or not (at_A > 0).all() or len(at_A) < 2:
        raise StudyError(f"a law of a boundary along {along!r} needs numbers above 0 on that axis")
    dim = str(holds[along].dims[0])
    order_A = np.argsort(at_A)
    at_A = at_A[order_A].astype(np.float64)
    members = [d for d in over if d in holds.dims]
    values = holds.transpose(against, dim, *members).values[:, order_A]
    holds_WAN = values.reshape(len(values), len(at_A), -1)
    if yes == "above":
        holds_WAN = 1 - holds_WAN
    n_trials_W = np.isfinite(holds_WAN).sum((1, 2))
    torn = 0
    ends: list[list[tuple[float, float]]] = []
    for holds_AN in holds_WAN:
        if unit == "slices":
            ends.append([_of_most(at_A, holds_AN)])
            continue
        rows = [_of_one(at_A, holds_A) for holds_A in holds_AN.T]
        torn += sum(more for _, _, more in rows)
        ends.append([(low, high) for low, high, _ in rows])
    cautions = []
    if torn:
        cautions.append(
            Caution(
                "not_monotone",
                f"{torn} members change their answer more than once along {along}; each counts "
                "as lying anywhere between its first change and its last",
            )
        )
    low_WN, high_WN = np.moveaxis(np.array(ends, np.float64), -1, 0)
    return Bounded(low_WN, high_WN, n_trials_W, tuple(cautions))


def _of_one(at_A: Floats, holds_A: Floats) -> tuple[float, float, bool]:
    known = np.flatnonzero(np.isfinite(holds_A))
    if not len(known):
        return np.nan, np.nan, False
    values_K, at_K = holds_A[known], at_A[known]
    no, yes = np.flatnonzero(values_K < 0.5), np.flatnonzero(values_K >= 0.5)
    first_no = int(no[0]) if len(no) else len(at_K)
    last_yes = int(yes[-1]) if len(yes) else -1
    low = float(at_K[first_no - 1]) if first_no > 0 else 0.0
    high = float(at_K[last_yes + 1]) if last_yes + 1 < len(at_K) else np.inf
    return low, high, last_yes > first_no


def _of_most(at_A: Floats, holds_AN: Floats) -> tuple[float, float]:
    asked_A = np.isfinite(holds_AN).any(1)
    if asked_A.sum() < 2:
        return np.nan, np.nan
    return boundary_of_members(at_A[asked_A], holds_AN[asked_A], resamples=1).bracket


def onset_rows(onset: Onset, against: str, over: Sequence[str]) -> Bounded:
    """Return between which records each trial's onset lies, without an end where it is censored.

    Trials that diverged, were lost or have not run have no row.
    """
    members = [d for d in over if d in onset.seen.dims]

    def ordered(values: xr.DataArray) -> npt.NDArray[np.generic]:
        found: npt.NDArray[np.generic] = values.transpose(against, *members).values
        return found.reshape(len(found), -1)

    step, after = (np.asarray(ordered(v), np.float64) for v in (onset.step, onset.after))
    seen = ordered(onset.seen)
    at_first = step <= after  # at the first record it held already
    low = np.where((seen == Seen.OBSERVED) & at_first, 0.0, after)
    high = np.where(seen == Seen.OBSERVED, step, np.inf)
    used = (seen == Seen.OBSERVED) | (seen == Seen.CENSORED)
    # An onset at step 0 has no logarithm and no place on the axis.
    at_zero = used & ~(high > 0)
    cautions = []
    for what, flag, n in (
        ("diverged_left_out", "diverged before it", int((seen == Seen.DIVERGED).sum())),
        ("onset_at_the_start", "had it at step 0", int(at_zero.sum())),
    ):
        if n:
            cautions.append(Caution(what, f"{n} trials {flag} and have no row"))
    used &= ~at_zero
    return Bounded(
        np.where(used, low, np.nan),
        np.where(used, high, np.nan),
        used.sum(1),
        tuple(cautions),
    )


def shift_onset(ds: xr.Dataset, measure: str, direction: Literal["up", "down"]) -> Onset:
    """Return where each trial's curve makes its greatest jump up or down, by `change_points`.

    It lies between two records; a trial that ended in good order without a jump is censored.
    """
    ds = taken(ds, measure)
    values = curve(ds, measure).transpose(..., "step").compute()
    steps_S = np.asarray(ds.step.values, np.float64)
    like = values.isel(step=0, drop=True)
    curves_TS = values.values.reshape(-1, len(steps_S)).astype(np.float64)
    n_T = ds.n_recorded.transpose(*like.dims).values.ravel()
    outcome_T = ds.outcome.transpose(*like.dims).values.ravel()
    step_T, after_T = np.full(len(curves_TS), np.nan), np.full(len(curves_TS), np.nan)
    seen_T = np.array([_unseen(int(o)) for o in outcome_T], np.uint8)
    for trial, (curve_S, n) in enumerate(zip(curves_TS, n_T, strict=True)):
        if seen_T[trial] != Seen.CENSORED:
            continue
        after_T[trial] = steps_S[max(n - 1, 0)]
        finite = np.isfinite(curve_S[:n])
        if finite.sum() < 5:
            seen_T[trial] = Seen.LOST
            continue
        mine_S = steps_S[:n][finite]
        found = level_shifts(curve_S[:n][finite], mine_S, resamples=0)
        rise_K = np.diff(found.level_L) * (1 if direction == "up" else -1)
        if (rise_K > 0).any():
            # The greatest, not the first: one curve in twenty has a small jump of chance.
            index = int(found.index_K[int(rise_K.argmax())])
            seen_T[trial] = Seen.OBSERVED
            step_T[trial], after_T[trial] = mine_S[index], mine_S[index - 1]

    def shaped(flat_T: npt.NDArray[np.generic]) -> xr.DataArray:
        return xr.DataArray(flat_T.reshape(like.shape), dims=like.dims, coords=like.coords)

    return Onset(shaped(step_T), shaped(after_T), shaped(seen_T))


def _unseen(outcome: int) -> Seen:
    from phasecube.engine.record import Outcome

    if outcome in (Outcome.DONE, Outcome.PRUNED, Outcome.TIMED_OUT):
        return Seen.CENSORED
    if outcome == Outcome.DIVERGED:
        return Seen.DIVERGED
    return Seen.NOT_RUN if outcome in (Outcome.NOT_RUN, Outcome.NOT_PLANNED) else Seen.LOST
