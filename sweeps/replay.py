"""What a pruner would have done on recorded trials: steps saved, and which good points lost.

Trials are run once more in thought: pack after pack, so many lanes at once, each lane taken
over by the next trial as soon as it is free. Values are those recorded; only who goes on
where is new.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phasecube.engine.record import Outcome
from phasecube.sweeps.adaptive_sections import PrunerSection
from phasecube.sweeps.pruner_optuna import Verdict, judge
from phasecube.sweeps.pruner_points import Members, Places, State, Values, fold


@dataclass(frozen=True)
class Recorded:
    """Trials as they ran, by row: values at rungs, the last value, and how each ended.

    `end_R` is the step at which a trial ends by itself; of one that was really pruned that is
    its last planned step, which is not known. `queues` are the rows of each pack in the order
    they begin, and how many lanes train them at once.
    """

    members: Members
    steps_G: Places
    values_RG: Values
    last_R: Values
    outcome_R: npt.NDArray[np.integer]
    stopped_R: Places
    end_R: Places
    queues: Sequence[tuple[Sequence[int], int]]
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
    for rows, lanes in recorded.queues:
        run.pack(rows, lanes)
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

    def pack(self, rows: Sequence[int], lanes: int) -> None:
        """Run the trials of one pack."""
        waiting = list(rows)[::-1]
        begun: dict[int, int] = {}
        due: list[tuple[int, int, int]] = []  # when, its step, row

        def start(now: int) -> None:
            while waiting and len(begun) < lanes:
                row = waiting.pop()
                begun[row] = now
                heapq.heappush(due, (now + self._next(row, 0), self._next(row, 0), row))

        start(0)
        while due:
            now = due[0][0]
            arrived: dict[int, list[int]] = {}
            while due and due[0][0] == now:
                _, step, row = heapq.heappop(due)
                if step >= self.recorded.end_R[row]:
                    self._end(row)
                    del begun[row]
                else:
                    arrived.setdefault(step, []).append(row)
            for step, there in arrived.items():
                for row in self._judge(step, there):
                    del begun[row]
                for row in there:
                    if row in begun:
                        after = self._next(row, step)
                        heapq.heappush(due, (begun[row] + after, after, row))
            start(now)

    def _next(self, row: int, step: int) -> int:
        """Return the next rung of a trial after `step`, or its end."""
        steps_G, end = self.recorded.steps_G, int(self.recorded.end_R[row])
        g = int(np.searchsorted(steps_G, step, side="right"))
        return int(steps_G[g]) if g < len(steps_G) and steps_G[g] <= self._until_R[row] else end

    def _end(self, row: int) -> None:
        recorded = self.recorded
        known = recorded.steps_G <= recorded.end_R[row]
        self._values_RG[row, known] = recorded.values_RG[row, known]
        outcome = int(recorded.outcome_R[row])
        # Its result is not known: nothing is compared with it.
        self._outcome_R[row] = Outcome.TIMED_OUT if outcome == Outcome.PRUNED else outcome

    def _judge(self, step: int, rows: Sequence[int]) -> list[int]:
        """Return which of the trials that stand at `step` are pruned there."""
        recorded, point_R = self.recorded, self.recorded.members.point_R
        g = int(np.searchsorted(recorded.steps_G, step))
        for row in rows:
            self._values_RG[row, : g + 1] = recorded.values_RG[row, : g + 1]
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
    rows = np.array([row for queue, _ in recorded.queues for row in queue], np.int64)
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
