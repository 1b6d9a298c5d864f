"""Which living tasks a command is about: all, those in a state, those with a cell of the sweep."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from phasecube.cluster.job_state import JobState
from phasecube.cluster.slurm.queue import Queue
from phasecube.cluster.study import Study
from phasecube.engine.errors import StudyError
from phasecube.sweeps.faults import suggest

Tasks = dict[int, list[int]]  # array number -> tasks


def choose_tasks(
    study: Study, queue: Queue, states: Collection[JobState], where: str | None = None
) -> Tasks:
    """Return the tasks in one of `states` that hold a trial for which `where` is true.

    Raises StudyError for an expression that is none, or names what the sweep has not.
    """
    packs = None if where is None else packs_where(study, where)
    return {
        array.number: [
            task
            for task in array.open_tasks
            if queue.state(array, task).state in states
            and (packs is None or not packs.isdisjoint(array.packs[task]))
        ]
        for array in queue.arrays
    }


def packs_where(study: Study, where: str) -> set[int]:
    """Return the packs that hold a trial for which the expression is true."""
    from phasecube.sweeps.expression import Expression

    plan = study.plan
    known = {*plan.columns, *plan.constants}
    try:
        condition = Expression(where)
    except ValueError as error:
        raise StudyError(f"--where: {error}") from error
    if unknown := [name for name in condition.names if name not in known]:
        raise StudyError(f"--where names {unknown[0]!r}; {suggest(unknown[0], known)}")
    columns = {name: plan.columns[name] for name in condition.names if name in plan.columns}
    values = {name: plan.constants[name] for name in condition.names if name not in columns}
    # Many trials, few combinations of the values that are named.
    codes_NC = np.zeros((len(plan), 0), np.int32)
    if columns:
        codes_NC = np.stack([column.codes for column in columns.values()], axis=1)
    found_UC, place_N = np.unique(codes_NC, axis=0, return_inverse=True)
    try:
        true_U = [
            bool(
                condition(
                    values | {n: c.values[code] for (n, c), code in zip(columns.items(), codes)}
                )
            )
            for codes in found_UC.tolist()
        ]
    except ValueError as error:
        raise StudyError(f"--where: {error}") from error
    true_N = np.asarray(true_U)[place_N.reshape(-1)]
    return set(np.unique(plan.row[true_N] // plan.pack_size).tolist())
