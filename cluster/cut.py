"""Packs into tasks, by their measured seconds and what the cluster allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phasecube.engine.record import Outcome, Status
from phasecube.sweeps.forecast import begins_of, steps_of
from phasecube.sweeps.plan import Plan

FILL = 0.8  # of the walltime: an estimate may be wrong by a quarter
LEAST_S = 600.0  # a task shorter than ten minutes is mostly start-up and scheduling
Pace = Mapping[str, tuple[int, float]]  # by group_id: trial-steps trained, seconds they took
USUAL_TASKS = 1000  # where nothing is measured: what most sites let one user submit


@dataclass(frozen=True)
class Cut:
    """Tasks as lists of packs, and what has to wait until there is room for more."""

    tasks: Sequence[Sequence[int]]
    waiting: Sequence[int]  # packs
    seconds: Sequence[float] | None  # of each task, one core; None while nothing is measured
    why: str  # the sizes, in words


def cut(
    packs: Sequence[int],
    seconds: Mapping[int, float] | None,
    *,
    walltime_s: float,
    processes: int,
    room: int | None,
    packs_per_job: int | None,
) -> Cut:
    """Return `packs` as tasks in their order; `seconds` is what each pack takes one process.

    No more than `room` tasks. Tasks of measured packs last between ten minutes and
    four fifths of the walltime; what does not fit then waits. Unmeasured ones take all
    packs between them: a task whose walltime ends goes back to the queue.
    """
    if not packs or room == 0:
        return Cut([], list(packs), None, "")
    most = min(room or USUAL_TASKS, len(packs)) if room is not None else len(packs)
    if packs_per_job is not None:
        tasks = [list(packs[i : i + packs_per_job]) for i in range(0, len(packs), packs_per_job)]
        why = f"{packs_per_job:,} pack{'s' * (packs_per_job > 1)} a task, as asked"
    elif seconds is None:
        n_tasks = min(most, USUAL_TASKS)
        tasks = [part.tolist() for part in np.array_split(np.asarray(packs), n_tasks)]
        why = f"{len(packs):,} packs over {n_tasks:,} tasks; nothing is measured yet"
    else:
        total_s = sum(seconds[p] for p in packs) / processes
        longest_s = FILL * walltime_s
        target_s = min(longest_s, max(LEAST_S, total_s / most))
        tasks = _by_seconds(packs, seconds, target_s * processes)
        if len(tasks) > most:  # shares come out uneven: rather fuller than one too many
            tasks = _by_seconds(packs, seconds, longest_s * processes)
        why = f"tasks of about {target_s / 60:.0f} min, by measured seconds a step"
    kept = tasks if room is None else tasks[:room]
    waiting = [pack for task in tasks[len(kept) :] for pack in task]
    each_s = None if seconds is None else [sum(seconds[p] for p in task) for task in kept]
    return Cut(kept, waiting, each_s, why)


def _by_seconds(
    packs: Sequence[int], seconds: Mapping[int, float], target_s: float
) -> list[list[int]]:
    tasks: list[list[int]] = []
    left_s = 0.0
    for pack in packs:
        if not tasks or seconds[pack] > left_s:
            tasks.append([])
            left_s = target_s
        tasks[-1].append(pack)
        left_s -= seconds[pack]
    return tasks


def seconds_of_packs(
    packs: Sequence[int], steps_left: Mapping[int, int], group: Mapping[int, str], pace: Pace
) -> dict[int, float] | None:
    """Return the seconds that each pack will take one process; None if nothing is measured.

    A pack of a group that has not run yet is taken to go at the pace of all others.
    """
    if not pace:
        return None
    steps, seconds = (sum(each) for each in zip(*pace.values()))
    if not steps:
        return None
    mean_s = seconds / steps
    by_group = {g: s / n for g, (n, s) in pace.items() if n}
    return {p: steps_left[p] * by_group.get(group[p], mean_s) for p in packs}


def steps_left(plan: Plan, status_RF: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return the trial-steps that each pack still lacks, int64 [P]."""
    steps_R = np.zeros(plan.n_rows, np.int64)
    steps_R[plan.row] = steps_of(plan)
    grid = np.concatenate([[0], plan.rule.steps])  # the step that n_recorded has reached
    n_rows = min(plan.n_rows, len(status_RF))
    reached_R = np.zeros(plan.n_rows, np.int64)
    reached_R[plan.row] = begins_of(plan)
    recorded_R = grid[status_RF[:n_rows, Status.N_RECORDED]]
    reached_R[:n_rows] = np.maximum(reached_R[:n_rows], recorded_R)
    open_R = np.ones(plan.n_rows, np.bool_)
    open_R[:n_rows] = status_RF[:n_rows, Status.OUTCOME] == Outcome.NOT_RUN
    left_R = np.where(open_R, np.maximum(steps_R - reached_R, 0), 0)
    left_P: npt.NDArray[np.int64] = left_R.reshape(-1, plan.pack_size).sum(axis=1)
    return left_P
