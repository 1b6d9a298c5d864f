"""Points at rungs: what a pruner may know of a sweep, as arrays folded from recorded values.

A point is all trials that differ in their seed only. Its value at a rung is the median over
the seeds that have reached it. Everything here follows from values and outcomes alone, in
whatever order they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phasecube.engine.record import Outcome

if TYPE_CHECKING:
    from phasecube.sweeps.plan import Plan

Values = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
NO_POINT = -1


class State(IntEnum):
    """How a point stands: ENDED without a result means diverged, failed, or timed out."""

    RUNNING = 0
    FINISHED = 1
    PRUNED = 2
    ENDED = 3


@dataclass(frozen=True)
class Members:
    """Which trials are one point: `point_R` and `seed_R` by row of the store, -1 where none is.

    Points are numbered in the order of their first rows. `first_row_P` names a point for good:
    rows never move, whatever a study is extended by.
    """

    point_R: Places
    seed_R: Places
    first_row_P: Places
    n_seeds: int

    def __len__(self) -> int:
        return len(self.first_row_P)

    def rows_of(self, point: int) -> Places:
        """Return the rows of one point."""
        return np.flatnonzero(self.point_R == point)


def members_of(plan: Plan) -> Members:
    """Return the points of a plan."""
    rows, first = np.unique(plan.row, return_index=True)
    code_N = np.zeros(len(rows), np.int64)
    for name, column in plan.columns.items():
        if column.is_param and name != "seed":
            code_N = code_N * len(column.values) + column.codes[first]
            code_N = np.unique(code_N, return_inverse=True)[1].astype(np.int64)
    seeds = plan.columns.get("seed")
    seed_N = np.zeros(len(rows), np.int64) if seeds is None else seeds.codes[first].astype(np.int64)
    leaders, code_N = np.unique(code_N, return_index=True, return_inverse=True)[1:]
    order = np.argsort(leaders, kind="stable")  # rows increase, so a code's first is its least
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    point_R = np.full(plan.n_rows, NO_POINT, np.int64)
    seed_R = np.full(plan.n_rows, NO_POINT, np.int64)
    point_R[rows], seed_R[rows] = rank[code_N], seed_N
    n_seeds = 1 if seeds is None else len(np.unique(seed_N))
    return Members(point_R, seed_R, rows[leaders[order]], n_seeds)


@dataclass(frozen=True)
class Table:
    """P points at G rungs. NaN: fewer than the least number of seeds have a value there.

    `by_seed_PKG` has the value of each seed; `final_P` is the median of the last values of a
    finished point; `pruned_at_P` the step at which a point was pruned, -1 where it was not.
    """

    steps_G: Places
    value_PG: Values
    count_PG: Places
    by_seed_PKG: Values
    state_P: npt.NDArray[np.int8]
    final_P: Values
    pruned_at_P: Places
    first_row_P: Places

    def __len__(self) -> int:
        return len(self.state_P)


def fold(
    members: Members,
    steps_G: Places,
    values_RG: Values,
    last_R: Values,
    outcome_R: npt.NDArray[np.integer],
    stopped_R: npt.NDArray[np.integer],
    least: int,
) -> Table:
    """Return the points as rows show them.

    `values_RG` is a row's value at each rung and `last_R` its last one, NaN where there is none
    or it is not finite: neither NaN nor infinity is a value.
    """
    rows = np.flatnonzero(members.point_R != NO_POINT)
    point_N, seed_N = members.point_R[rows], members.seed_R[rows]
    n_points, n_places = len(members), int(members.seed_R.max(initial=0)) + 1
    shape = (n_points, n_places, len(steps_G))
    by_seed_PKG = np.full(shape, np.nan)
    by_seed_PKG[point_N, seed_N] = np.where(np.isfinite(values_RG[rows]), values_RG[rows], np.nan)
    value_PG, count_PG = _median(by_seed_PKG, least)
    outcome_N = np.asarray(outcome_R)[rows]

    def some(which_N: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return np.bincount(point_N[which_N], minlength=n_points) > 0

    pruned_N = outcome_N == Outcome.PRUNED
    open_P, pruned_P = some(outcome_N == Outcome.NOT_RUN), some(pruned_N)
    done_P = some(outcome_N == Outcome.DONE)
    state_P = np.where(
        pruned_P,
        State.PRUNED,
        np.where(open_P, State.RUNNING, np.where(done_P, State.FINISHED, State.ENDED)),
    ).astype(np.int8)
    last_PK1 = np.full((n_points, n_places, 1), np.nan)
    done_N = outcome_N == Outcome.DONE
    last_PK1[point_N[done_N], seed_N[done_N], 0] = last_R[rows[done_N]]
    final_P = np.where(state_P == State.FINISHED, _median(last_PK1, least)[0][:, 0], np.nan)
    # Nothing to compare with: too many of its seeds have no last value.
    state_P[(state_P == State.FINISHED) & ~np.isfinite(final_P)] = State.ENDED
    pruned_at_P = np.full(n_points, np.iinfo(np.int64).max)
    np.minimum.at(pruned_at_P, point_N[pruned_N], np.asarray(stopped_R)[rows[pruned_N]])
    pruned_at_P[~pruned_P] = -1
    return Table(
        *(steps_G, value_PG, count_PG, by_seed_PKG, state_P),
        *(final_P, pruned_at_P, members.first_row_P),
    )


def _median(values_PKG: Values, least: int) -> tuple[Values, Places]:
    """Return the median over K of what is finite, NaN where that is fewer than `least`."""
    ordered_PKG = np.sort(np.where(np.isfinite(values_PKG), values_PKG, np.nan), axis=1)
    count_PG = np.count_nonzero(np.isfinite(ordered_PKG), axis=1).astype(np.int64)

    def at(place_PG: Places) -> Values:
        found: Values = np.take_along_axis(ordered_PKG, place_PG[:, None, :], axis=1)[:, 0]
        return found

    low_PG = at(np.maximum((count_PG - 1) // 2, 0))
    median_PG = (low_PG + at(np.minimum(count_PG // 2, values_PKG.shape[1] - 1))) / 2
    return np.where(count_PG >= max(least, 1), median_PG, np.nan), count_PG
