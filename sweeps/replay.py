"""What a pruner would have done on recorded trials: steps saved, and which good points lost.

Trials are run once more in thought, as one process runs them: pack after pack, so many lanes
at once, free lanes taken over by the next trials. Values are those recorded; only who goes on
where is new.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phasecube.engine.record import Outcome
from phasecube.sweeps.adaptive_sections import PrunerSection
from phasecube.sweeps.pruner_optuna import Verdict, judge
from phasecube.sweeps.pruner_points import Members, Places, State, Values, fold

NOBODY = -1


@dataclass(frozen=True)
class Queue:
    """The trials of a pack, of `n_steps` each: rows in the order they begin, and their lanes.

    Newcomers enter once `least_free` lanes are free, where the first lane stands at a multiple
    of `period` steps.
    """

    rows: Sequence[int]
    n_steps: int
    lanes: int
    least_free: int = 1
    period: int = 1


@dataclass(frozen=True)
class Recorded:
    """Trials as they ran, by row: values at rungs, the last value, and how each ended.

    `end_R` is the step at which a trial ends by itself; of one that was really pruned that is
    its last planned step, which is not known.
    """

    members: Members
    steps_G: Places
    values_RG: Values
    last_R: Values
    outcome_R: npt.NDArray[np.integer]
    stopped_R: Places
    end_R: Places
    queues: Sequence[Queue]
    least: int
    last_step: int


@dataclass(frozen=True)
class Lost:
    """A point of the best tenth that would have been pruned."""

    first_row: int
    rank: int  # 1 is the best of all
    step: int
    value: float
    final: float


@dataclass(frozen=True)
class Replay:
    """What a pruner would have done.

    `steps` is what trials cost without it, `saved` what it would have spared; `unknown_steps`
    are those of trials really pruned that it would have let go on: whether they would have
    diverged, or been pruned later, nobody can say. `decile_kept` is the share of the best tenth
    of points that is kept, `rank_correlation` Spearman's of their places before and after,
    None for fewer than three.
    """

    steps: int
    saved: int
    unknown_steps: int
    pruned: dict[int, int]  # row: step
    verdicts: list[Verdict]
    points: int
    points_pruned: int
    points_unknown: int
    best: float | None
    best_kept: float | None
    decile: int
    decile_kept: float | None
    rank_correlation: float | None
    lost: list[Lost]


def replay(recorded: Recorded, pruner: PrunerSection) -> Replay:
    """Return what `pruner` would have done on trials that have run."""
    run = _Run(recorded, pruner)
    for queue in recorded.queues:
        run.pack(queue)
    return _summary(recorded, pruner, run)


class _Run:
    """What is seen as trials go on, and who was pruned."""

    def __init__(self, recorded: Recorded, pruner: PrunerSection) -> None:
        self.recorded, self.pruner = recorded, pruner
        self.pruned: dict[int, int] = {}
        self.verdicts: list[Verdict] = []
        n_rows = len(recorded.outcome_R)
        self._values_RG = np.full_like(recorded.values_RG, np.nan)
        self._outcome_R = np.zeros(n_rows, np.int64)
        self._stopped_R = np.full(n_rows, -1, np.int64)
        # A trial comes to the rungs before its end, and to none after it was really pruned.
        pruned_R = recorded.outcome_R == Outcome.PRUNED
        self._until_R = np.where(pruned_R, recorded.stopped_R, recorded.end_R - 1)

    def pack(self, queue: Queue) -> None:
        """Run the trials of one pack."""
        waiting = list(queue.rows)[::-1]
        begun: dict[int, int] = {}  # row: when, in the order of the lanes
        due: list[tuple[int, int, int]] = []  # when, at which of its steps, row

        def enter(now: int, n: int) -> None:
            for _ in range(min(n, len(waiting))):
                row = waiting.pop()
                begun[row] = now
                step = self._next(row, 0)
                heapq.heappush(due, (now + step, step, row))

        now = 0
        while waiting or begun:
            if not begun:  # a group begins anew
                enter(now, queue.lanes)
            now = due[0][0]
            there: dict[int, list[int]] = {}
            while due and due[0][0] == now:
                _, step, row = heapq.heappop(due)
                if row >= 0:
                    there.setdefault(step, []).append(row)
            for row in self._look(queue, there):
                del begun[row]
            for step, rows in there.items():
                for row in rows:
                    if row in begun:
                        after = self._next(row, step)
                        heapq.heappush(due, (begun[row] + after, after, row))
            n_free = queue.lanes - len(begun)
            if begun and n_free >= min(queue.least_free, len(waiting)) > 0:
                to_wait = -(now - next(iter(begun.values()))) % queue.period
                if to_wait:
                    heapq.heappush(due, (now + to_wait, 0, NOBODY))
                else:
                    enter(now, n_free)

    def _look(self, queue: Queue, there: Mapping[int, Sequence[int]]) -> list[int]:
        """Return who leaves, of trials that stand at these steps at one time."""
        recorded, left = self.recorded, []
        for step, rows in there.items():
            for row in rows:
                n = int(np.searchsorted(recorded.steps_G, step, side="right"))
                self._values_RG[row, :n] = recorded.values_RG[row, :n]
                if step == recorded.end_R[row] and step < queue.n_steps:
                    left.append(self._end(row))
        for step in sorted(there):
            if step == queue.n_steps:
                left += [self._end(row) for row in there[step]]
            else:
                standing = [row for row in there[step] if row not in left]
                left += self._judge(step, standing) if standing else []
        return left

    def _next(self, row: int, step: int) -> int:
        """Return the next rung of a trial after `step`, or its end."""
        steps_G, end = self.recorded.steps_G, int(self.recorded.end_R[row])
        g = int(np.searchsorted(steps_G, step, side="right"))
        return int(steps_G[g]) if g < len(steps_G) and steps_G[g] <= self._until_R[row] else end

    def _end(self, row: int) -> int:
        outcome = int(self.recorded.outcome_R[row])
        # What a pruned trial would have come to is not known: nothing is compared with it.
        self._outcome_R[row] = Outcome.TIMED_OUT if outcome == Outcome.PRUNED else outcome
        return row

    def _judge(self, step: int, rows: Sequence[int]) -> list[int]:
        """Return which of the trials that stand at `step` are pruned there."""
        recorded, point_R = self.recorded, self.recorded.members.point_R
        table = fold(
            *(recorded.members, recorded.steps_G, self._values_RG, recorded.last_R),
            *(self._outcome_R, self._stopped_R, recorded.least),
        )
        at_P = table.pruned_at_P
        gone = {p for p in point_R[list(rows)].tolist() if 0 <= at_P[p] <= step}
        points = sorted(set(point_R[list(rows)].tolist()) - gone)
        for verdict in judge(self.pruner, table, points, step, recorded.last_step):
            self.verdicts.append(verdict)
            if verdict.pruned:
                gone.add(verdict.point)
        found = [row for row in rows if int(point_R[row]) in gone]
        for row in found:
            self.pruned[row] = step
            self._outcome_R[row], self._stopped_R[row] = Outcome.PRUNED, step
        return found


def _summary(recorded: Recorded, pruner: PrunerSection, run: _Run) -> Replay:
    rows = np.array([row for queue in recorded.queues for row in queue.rows], np.int64)
    censored_R = recorded.outcome_R == Outcome.PRUNED
    stop_R = recorded.end_R.copy()
    for row, step in run.pruned.items():
        stop_R[row] = step
    unknown = [r for r in rows.tolist() if censored_R[r] and r not in run.pruned]
    full = fold(
        *(recorded.members, recorded.steps_G, recorded.values_RG, recorded.last_R),
        *(recorded.outcome_R, recorded.stopped_R, recorded.least),
    )
    sign = 1.0 if pruner.goal == "minimize" else -1.0
    ranked = np.flatnonzero(full.state_P == State.FINISHED)
    ranked = ranked[np.argsort(sign * full.final_P[ranked], kind="stable")]
    gone: dict[int, tuple[int, float]] = {}
    for verdict in run.verdicts:
        if verdict.pruned:
            gone[verdict.point] = (verdict.step, verdict.value)
    decile = ranked[: -(-len(ranked) // 10)].tolist()
    kept = [p for p in ranked.tolist() if p not in gone]
    finals = full.final_P
    return Replay(
        steps=int(recorded.end_R[rows].sum()),
        saved=int((recorded.end_R - stop_R)[rows].sum()),
        unknown_steps=int((recorded.end_R - recorded.stopped_R)[unknown].sum()),
        pruned=run.pruned,
        verdicts=run.verdicts,
        points=len(np.unique(recorded.members.point_R[rows])),
        points_pruned=len(gone),
        points_unknown=len(np.unique(recorded.members.point_R[unknown])),
        best=float(finals[ranked[0]]) if len(ranked) else None,
        best_kept=float(finals[kept[0]]) if kept else None,
        decile=len(decile),
        decile_kept=float(np.mean([p not in gone for p in decile])) if decile else None,
        rank_correlation=_rank_correlation(ranked.tolist(), decile, gone, sign),
        lost=[
            Lost(int(full.first_row_P[p]), place + 1, *gone[p], float(finals[p]))
            for place, p in enumerate(decile)
            if p in gone
        ],
    )


def _rank_correlation(
    ranked: Sequence[int], decile: Sequence[int], gone: dict[int, tuple[int, float]], sign: float
) -> float | None:
    """Return Spearman's of the best tenth: who was pruned comes after all kept, latest first."""
    if len(decile) < 3:
        return None
    kept = [p for p in ranked if p not in gone]
    out = sorted((p for p in ranked if p in gone), key=lambda p: (-gone[p][0], sign * gone[p][1]))
    place = {p: i for i, p in enumerate([*kept, *out])}
    after = np.argsort(np.argsort([place[p] for p in decile])).astype(float)
    before = np.arange(len(decile), dtype=float)
    return float(np.corrcoef(before, after)[0, 1])
