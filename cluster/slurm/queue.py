"""The truth about tasks: squeue, then sacct, then the end marker that the task itself left."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from phasecube.cluster.job_array import (
    JobArray,
    is_elsewhere,
    read_arrays,
    with_ended,
    write_array,
)
from phasecube.cluster.job_state import JobState, TaskState
from phasecube.cluster.ranges import ranges_of
from phasecube.cluster.slurm.command import (
    AccountingOffError,
    SlurmMissingError,
    SlurmSilentError,
    slurm,
)
from phasecube.cluster.study import Study
from phasecube.cluster.task_marker import TaskMarker, read_marker, read_markers, started_tasks

STATES: Mapping[str, JobState] = {
    **dict.fromkeys(
        ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT",
         "RESV_DEL_HOLD"),
        JobState.PENDING,
    ),
    **dict.fromkeys(
        ("RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "STOPPED", "RESIZING"),
        JobState.RUNNING,
    ),
    "COMPLETED": JobState.COMPLETED,
    "FAILED": JobState.FAILED,
    "TIMEOUT": JobState.TIMED_OUT,
    "DEADLINE": JobState.TIMED_OUT,
    "OUT_OF_MEMORY": JobState.OUT_OF_MEMORY,
    "NODE_FAIL": JobState.NODE_FAILED,
    "BOOT_FAIL": JobState.NODE_FAILED,
    "PREEMPTED": JobState.PREEMPTED,
    "CANCELLED": JobState.CANCELLED,
    "REVOKED": JobState.CANCELLED,
}  # fmt: skip
OF_MARKER: Mapping[str, JobState] = {
    "finished": JobState.COMPLETED,
    "stopped": JobState.CANCELLED,
    "failed": JobState.FAILED,
}

# A line without indices: what had not started when its array was cancelled. For some seconds sacct
# lists a task that has begun so, too: any other state of it is nobody's.
WHOLE = -1
# (name of the job, task or WHOLE) -> Slurm's state, reason. By name: a controller that crashed
# before it saved an array gives its id to another.
Places = dict[tuple[str, int], tuple[str, str]]


@dataclass(frozen=True)
class Queue:
    """What Slurm says of a study's arrays. `states[number][task]`, of tasks without a known end.

    `arrays` are the study's, with ids found by their names where a submission was cut off.
    `silent` is why Slurm could not be asked, if so.
    """

    arrays: Sequence[JobArray]
    states: Mapping[int, Mapping[int, TaskState]] = field(default_factory=dict)
    silent: str | None = None

    def state(self, array: JobArray, task: int) -> TaskState:
        """Return how a task stands."""
        if task in array.ended:
            state, said = array.ended[task]
            return TaskState(JobState(state), said=said)
        return self.states[array.number][task]

    def live_packs(self) -> set[int]:
        """Return the packs of tasks that may still run."""
        return {
            pack
            for array in self.arrays
            for task in array.open_tasks
            if self.states[array.number][task].state.may_live
            for pack in array.packs[task]
        }


def read_queue(study: Path, arrays: Sequence[JobArray], *, moved: bool = False) -> Queue:
    """Return the state of every task of `arrays`, by one squeue and at most one sacct.

    Arrays submitted for another place are left out: their tasks are not this study's. With
    `moved` those of a place that is gone are in: the study stood there.
    """
    here = [
        array
        for array in arrays
        if not is_elsewhere(array, study) or (moved and not Path(array.path).exists())
    ]
    asked = [array for array in here if array.open_tasks]
    if not asked:
        return Queue(here)
    try:
        places, names = _squeue(sorted({array.user for array in asked}))
        asked = [_found(study, array, names) for array in asked]
        started = {array.number: started_tasks(study, array.number) for array in asked}
        accounts = _sacct(
            [a for a in asked if _unknown(a, places, started[a.number]) or _cancelled(a, places)]
        )
    except (SlurmSilentError, SlurmMissingError) as error:
        said = {a.number: {t: TaskState(JobState.UNKNOWN) for t in a.open_tasks} for a in asked}
        return Queue(here, said, str(error))
    # Who cancelled a task only the accounts know.
    by_whom = {k: v for k, v in (accounts or {}).items() if v[1].startswith("by ")}
    ended = {k: by_whom[k] for k, v in places.items() if v[0] == "CANCELLED" and k in by_whom}
    places = (accounts or {}) | places | ended
    states = {
        array.number: {
            task: _state(
                study,
                array,
                task,
                _place(array, task, places, started[array.number]),
                accounts is None,
            )
            for task in array.open_tasks
        }
        for array in asked
    }
    by_number = {array.number: array for array in asked}
    return Queue([by_number.get(array.number, array) for array in here], states)


def standing_queue(study: Study, *, keep: bool = True) -> Queue:
    """Return how the study's tasks stand, and keep for good the ends that are known now.

    Raises SlurmSilentError where Slurm cannot say: nothing may be inferred from that. The
    caller holds the study's lock.
    """
    queue = read_queue(study.path, read_arrays(study.path))
    if queue.silent is not None:
        raise SlurmSilentError(
            f"{queue.silent}. Tasks of {study.path} may be running, so nothing was submitted; "
            "try again when Slurm answers"
        )
    if not keep:
        return queue
    kept = []
    for array in queue.arrays:
        states = queue.states.get(array.number, {})
        over = {t: (s.state.value, s.said) for t, s in states.items() if not s.state.may_live}
        new = with_ended(array, over) if over else array
        if over:
            write_array(study.path, new)
        kept.append(new)
    return replace(queue, arrays=kept)


def _squeue(users: Sequence[str]) -> tuple[Places, dict[str, str]]:
    """Return the tasks that squeue knows, and each job's id by its name."""
    places: Places = {}
    names = {}
    said = slurm(
        # -r: else the pending tasks of an array are one line, with all their reasons in one.
        *("squeue", "-h", "-a", "-r", "-t", "all"),
        *("-u", ",".join(users), "-o", "%F|%K|%T|%r|%j"),
    )
    for line in said.splitlines():
        job, tasks, state, rest = line.split("|", 3)
        reason, _, name = rest.partition("|")
        names[name] = job
        for task in ranges_of(tasks) if tasks[:1].isdecimal() else _whole(state):
            places[name, task] = (state.split()[0], reason)
    return places, names


def _sacct(arrays: Sequence[JobArray]) -> Places | None:
    """Return what the accounts know of the arrays: nothing where there are none kept, None
    where they do not answer.
    """
    ids = ",".join(array.slurm_id for array in arrays if array.slurm_id is not None)
    places: Places = {}
    if not ids:
        return places
    try:
        said = slurm("sacct", "-n", "-P", "-X", "-j", ids, "-o", "JobID,State,ExitCode,JobName")
    except AccountingOffError:
        return places
    except SlurmSilentError:
        return None
    for line in said.splitlines():
        place, state, exit_code, name = line.split("|", 3)
        tasks = place.partition("_")[2]
        detail = state.partition(" ")[2] or ("" if exit_code == "0:0" else f"exit {exit_code}")
        # For some seconds one task is listed without its index, as a whole array is for good.
        whole = [WHOLE] if state.startswith("CANCELLED") else []
        for task in ranges_of(tasks.strip("[]")) or whole:
            places[name, task] = (state.split()[0], detail)
    return places


def _whole(state: str) -> list[int]:
    return [WHOLE] if state.startswith("CANCELLED") else []


def _unknown(array: JobArray, places: Places, started: Collection[int]) -> bool:
    return any(_place(array, task, places, started) is None for task in array.open_tasks)


def _cancelled(array: JobArray, places: Places) -> bool:
    return any(places.get((array.name, t), ("",))[0] == "CANCELLED" for t in array.open_tasks)


def _place(
    array: JobArray, task: int, places: Places, started: Collection[int]
) -> tuple[str, str] | None:
    never_started = None if task in started else places.get((array.name, WHOLE))
    return places.get((array.name, task), never_started)


def _found(study: Path, array: JobArray, names: Mapping[str, str]) -> JobArray:
    """Return the array with its id, if its submission was cut off before it could be noted."""
    if array.slurm_id is not None:
        return array
    found = names.get(array.name)
    if found is None and (markers := read_markers(study, array.number)):
        found = next(iter(markers.values())).slurm_id.partition("_")[0]
    return replace(array, slurm_id=found or _named_in_accounts(array))


def _named_in_accounts(array: JobArray) -> str | None:
    try:
        said = slurm(
            "sacct", "-n", "-P", "-X", "-S", array.submitted, "--name", array.name, "-o", "JobID"
        )
    except AccountingOffError:
        return None
    return said.partition("_")[0].strip() or None


def _state(
    study: Path, array: JobArray, task: int, known: tuple[str, str] | None, no_accounts: bool
) -> TaskState:
    if known is not None:
        state = STATES.get(known[0])
        if state is None:
            return TaskState(JobState.UNKNOWN, said=f"Slurm calls it {known[0]}")
        if state.may_live:
            return TaskState(state, known[1])
        marker = read_marker(study, array.number, task)
        return TaskState(state, said=_last_words(state, marker, known[1]))
    marker = read_marker(study, array.number, task)
    if marker is not None and marker.state in OF_MARKER:
        return TaskState(OF_MARKER[marker.state], said=marker.message)
    if no_accounts:
        return TaskState(JobState.UNKNOWN, said="the accounts (slurmdbd) do not answer")
    if array.slurm_id is None:
        return TaskState(JobState.LOST, said="its submission was cut off before Slurm had it")
    where = f"on {marker.host} since {marker.started}" if marker is not None else "never started"
    return TaskState(JobState.LOST, said=f"Slurm no longer knows it ({where})")


def _last_words(state: JobState, marker: TaskMarker | None, detail: str) -> str:
    if state is JobState.CANCELLED and detail.startswith("by "):
        return f"cancelled {detail.replace('by ', 'by user ')}"
    if marker is not None and marker.state in ("failed", "stopped"):
        return marker.message
    return "" if state is JobState.COMPLETED else detail
