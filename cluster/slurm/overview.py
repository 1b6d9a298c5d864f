"""How a study's tasks stand, in figures: what `status` and `watch` show of Slurm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phasecube.cluster.job_array import JobArray, is_elsewhere, read_arrays
from phasecube.cluster.job_state import JobState
from phasecube.cluster.pace import measured_pace
from phasecube.cluster.slurm.queue import Queue, read_queue
from phasecube.cluster.slurm.reasons import never_starts, why_pending
from phasecube.cluster.slurm.script import log_path
from phasecube.cluster.study import Study
from phasecube.engine.record import Outcome, Status

LINE_BYTES, LOG_LINES = 400, 3  # a line of a traceback and more
SHOWN_FAILURES = 3
BAD = (
    JobState.FAILED,
    JobState.OUT_OF_MEMORY,
    JobState.TIMED_OUT,
    JobState.NODE_FAILED,
    JobState.PREEMPTED,
    JobState.LOST,
)


@dataclass(frozen=True)
class TaskEnd:
    """A task that ended otherwise than finished: what was said, and the end of its log."""

    name: str  # as Slurm has it, 123_4
    state: str
    said: str
    log: str
    last_lines: Sequence[str]


@dataclass(frozen=True)
class JobsOverview:
    """The tasks of a study by state, why the pending ones wait, and what is left to pay for.

    `cpu_hours` and `gpu_hours` are None until a task has measured its pace; they are upper
    bounds where trials differ in their steps.
    """

    tasks: Mapping[str, int]
    waiting: Mapping[str, int]  # reason in words -> tasks
    stuck: int  # of them, those that will not start unless something is changed
    packs_live: int
    cpu_hours: float | None
    gpu_hours: float | None
    ends: Sequence[TaskEnd]  # the newest, oldest first
    silent: str | None
    elsewhere: str | None  # where the study was when other tasks were submitted

    @property
    def live(self) -> int:
        """Return how many tasks may still run."""
        return sum(n for state, n in self.tasks.items() if JobState(state).may_live)


def jobs_overview(study: Study) -> JobsOverview | None:
    """Return how the study's tasks stand, or None if it was never submitted."""
    arrays = read_arrays(study.path)
    if not arrays:
        return None
    queue = read_queue(study.path, arrays)
    states: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    stuck = 0
    for array in queue.arrays:
        if array.withdrawn is not None:
            continue
        for task in range(len(array.packs)):
            found = queue.state(array, task)
            states[found.state.value] += 1
            if found.state is JobState.PENDING:
                waiting[why_pending(found.reason, array.settings["throttle"])] += 1
                stuck += never_starts(found.reason)
    cpu_hours, gpu_hours = _hours_left(study, queue.arrays)
    return JobsOverview(
        dict(states),
        dict(waiting.most_common()),
        stuck,
        len(queue.live_packs()),
        cpu_hours,
        gpu_hours,
        _ends(study.path, queue),
        queue.silent,
        _elsewhere(study.path, arrays),
    )


def _hours_left(study: Study, arrays: Sequence[JobArray]) -> tuple[float | None, float | None]:
    pace = measured_pace(study.path).values()
    steps, seconds = sum(n for n, _ in pace), sum(s for _, s in pace)
    if not steps or not arrays:
        return None, None
    store = study.store
    status_RF = store.read_status()
    grid = np.concatenate([[0], store.layout.rule.steps])
    open_R = study.planned_rows() & (status_RF[:, Status.OUTCOME] == Outcome.NOT_RUN)
    left = int((grid[-1] - grid[status_RF[open_R, Status.N_RECORDED]]).sum())
    last = arrays[-1]
    hours = left * seconds / steps / last.settings["processes"] / 3600
    return hours * last.cpus, hours * last.gpus


def _ends(study: Path, queue: Queue) -> list[TaskEnd]:
    found = []
    for array in queue.arrays:
        if array.withdrawn is not None:
            continue
        for task in range(len(array.packs)):
            state = queue.state(array, task)
            if state.state in BAD:
                name = f"{array.slurm_id}_{task}"
                found.append((name, state))
    shown = []
    for name, state in found[-SHOWN_FAILURES:]:
        log = log_path(study, name)
        shown.append(TaskEnd(name, state.state.value, state.said, str(log), last_lines(log)))
    return shown


def last_lines(log: Path, count: int = LOG_LINES) -> list[str]:
    """Return the last lines of a task's log; none where it has none."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LINE_BYTES * count))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


def _elsewhere(study: Path, arrays: Sequence[JobArray]) -> str | None:
    """Return in words where tasks were submitted for, if not here."""
    for array in reversed(arrays):
        if is_elsewhere(array, study) and array.open_tasks:
            if (Path(array.path) / "sweep.toml").exists():
                return (
                    f"this is a copy of {array.path}, which has the tasks that were submitted there"
                )
            if not read_queue(study, [array], moved=True).live_packs():
                continue
            return (
                f"this study stood in {array.path} when job array {array.slurm_id} was submitted; "
                "its tasks will not find it: `phasecube cancel` ends them, `phasecube resume` "
                "submits what is left from here"
            )
    return None
