"""Cancel, hold and release chosen tasks: as few commands as their number allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from phasecube.cluster.job_state import JobState
from phasecube.cluster.ranges import ranges_text
from phasecube.cluster.slurm.command import slurm
from phasecube.cluster.slurm.queue import Queue
from phasecube.cluster.task_marker import TaskMarker, now, read_marker, write_marker

AT_ONCE = 50  # ids in a command line
CANCELLED = "cancelled before it started"
FAILED_LAUNCHES = (
    "launch failed requeued held",
    "launch failed limit exceeded requeued held",
    "user env retrieval failed requeued held",
)


def cancel_tasks(study: Path, queue: Queue, tasks: Mapping[int, Sequence[int]]) -> int:
    """Return how many tasks were cancelled; those that run are told to checkpoint (SIGTERM).

    Slurm forgets at once a task that is cancelled before it starts, so it is noted in a marker.
    """
    ids = _ids(queue, tasks)
    for start in range(0, len(ids), AT_ONCE):
        slurm("scancel", *ids[start : start + AT_ONCE])
    for array in queue.arrays:
        for task in tasks.get(array.number, ()):
            if read_marker(study, array.number, task) is None:
                at = now()
                name = f"{array.slurm_id}_{task}"
                marker = TaskMarker("stopped", name, "", at, at, 0, message=CANCELLED)
                write_marker(study, array.number, task, marker)
    return sum(map(len, tasks.values()))


def hold_tasks(queue: Queue, tasks: Mapping[int, Sequence[int]], action: str) -> int:
    """Return how many tasks were held (`action` "hold") or released ("release")."""
    for name in _ids(queue, tasks):
        slurm("scontrol", action, name)
    return sum(map(len, tasks.values()))


def failed_launches(queue: Queue) -> list[str]:
    """Return the ids, 123_4, of tasks that Slurm holds because it could not start them."""
    return [
        f"{array.slurm_id}_{task}"
        for array in queue.arrays
        for task, state in queue.states.get(array.number, {}).items()
        if state.state is JobState.PENDING and state.reason.replace("_", " ") in FAILED_LAUNCHES
    ]


def _ids(queue: Queue, tasks: Mapping[int, Sequence[int]]) -> list[str]:
    """Return arrays whole where all is chosen of them, else their tasks as ranges."""
    found = []
    for array in queue.arrays:
        chosen = tasks.get(array.number, ())
        if not chosen or array.slurm_id is None:
            continue
        whole = set(chosen) >= set(array.open_tasks)
        found.append(array.slurm_id if whole else f"{array.slurm_id}_[{ranges_text(chosen)}]")
    return found
