"""How a task of a job array stands, whichever scheduler says so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """PENDING and RUNNING are alive; UNKNOWN is the scheduler's silence, which proves nothing.

    LOST: the scheduler answers and does not know the task, and it left no end marker.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    UNKNOWN = "UNKNOWN"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAILED = "NODE_FAILED"
    PREEMPTED = "PREEMPTED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"

    @property
    def may_live(self) -> bool:
        """Return whether the task's packs may be in training, now or later."""
        return self in (JobState.PENDING, JobState.RUNNING, JobState.UNKNOWN)


# Ends that its packs may be to blame for.
DEATHS = (JobState.FAILED, JobState.OUT_OF_MEMORY, JobState.LOST)


@dataclass(frozen=True)
class TaskState:
    """A task's state; `reason` is why it waits, in the scheduler's word; `said` how it ended."""

    state: JobState
    reason: str = ""
    said: str = ""
