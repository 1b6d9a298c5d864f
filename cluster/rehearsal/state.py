"""All that the controller knows, and the few questions everyone asks of it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from phasecube.cluster.rehearsal import task_processes
from phasecube.cluster.rehearsal.fake_cluster import FakeCluster
from phasecube.cluster.rehearsal.index_ranges import parse_ranges
from phasecube.cluster.rehearsal.records import Array, Task


@dataclass
class Node:
    """One node: what of it is taken."""

    name: str
    up: bool = True
    cpus: int = 0
    memory_mb: int = 0
    gpus: set[int] = field(default_factory=set)


class State:
    """Arrays, nodes and the clock of one imitated cluster."""

    def __init__(self, cluster: FakeCluster, socket: str, folder: Path) -> None:
        self.cluster = cluster
        self.socket = socket
        self.folder = folder
        self.arrays: dict[int, Array] = {}
        self.nodes = {name: Node(name) for name in cluster.node_names()}
        self.live: dict[int, Task] = {}  # by job id: those that may have processes
        self.next_id = 1
        self.silent_until = 0.0
        self.lingering: dict[int, float] = {}  # sessions left on a failed node, until when
        self.interruptions: list[str] = []

    @property
    def now(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    def tasks(self) -> Iterator[Task]:
        """Yield every task that is not forgotten, in order of submission."""
        for array in self.arrays.values():
            for task in array.tasks.values():
                if not task.forgotten:
                    yield task

    def in_memory(self) -> Iterator[Task]:
        """Yield the tasks the controller still holds: finished ones for MinJobAge."""
        oldest = self.now - self.cluster.min_job_age_s
        for task in self.tasks():
            if (task.queued or task.ended_at > oldest) and not task.traceless:
                yield task

    def named(self, name: str) -> list[Task]:
        """Return the tasks that 12, 12_3 or 12_[3-5] names; none where it names none.

        Raises ValueError where that is no name of a job.
        """
        first, underscore, rest = name.partition("_")
        if not first.isdigit():
            raise ValueError(name)
        array = self.arrays.get(int(first))
        if not underscore:
            # A task also has a job id of its own.
            found = [*array.tasks.values()] if array else []
            found = found or [t for t in self.tasks() if t.job_id == int(first)]
        else:
            indices, _ = parse_ranges(rest.strip("[]"))
            found = [array.tasks[i] for i in indices if i in array.tasks] if array else []
        return [task for task in found if not task.forgotten and not task.traceless]

    def split(self, task: Task) -> None:
        """Give a task a job id of its own."""
        if task.array.split(task, self.next_id):
            self.next_id += 1

    def processes(self) -> dict[int, list[task_processes.Found]]:
        """Return the living processes of all tasks, by job id.

        Those that a failed node left behind belong to no task any more.
        """
        sessions = {task.pid: job_id for job_id, task in self.live.items() if task.pid}
        found = task_processes.find(self.socket, sessions)
        return {
            job_id: [one for one in group if one.session not in self.lingering]
            for job_id, group in found.items()
        }

    def processes_of(self, task: Task) -> list[task_processes.Found]:
        """Return the living processes of one task."""
        return self.processes().get(task.job_id, [])

    def of_sessions(self, sessions: Collection[int]) -> list[int]:
        """Return the living processes of these sessions."""
        found = task_processes.find(self.socket, dict.fromkeys(sessions, 0))
        return [one.pid for group in found.values() for one in group if one.session in sessions]
