"""What the controller remembers: arrays and their tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from phasecube.cluster.rehearsal.request import Request

PENDING = "PENDING"
RUNNING = "RUNNING"
COMPLETING = "COMPLETING"
COMPLETED = "COMPLETED"
FAILED = "FAILED"
CANCELLED = "CANCELLED"
TIMEOUT = "TIMEOUT"
NODE_FAIL = "NODE_FAIL"
OUT_OF_MEMORY = "OUT_OF_MEMORY"
PREEMPTED = "PREEMPTED"


@dataclass(eq=False)
class Task:
    """One task. Until it is `split` off, Slurm keeps it only as an index of the array's rest."""

    array: Array = field(repr=False)
    index: int | None  # None: the job is no array
    job_id: int = 0  # 0 until split
    state: str = PENDING
    reason: str = "None"
    held: str = ""  # "", JobHeldUser or JobHeldAdmin
    begin_at: float = 0.0
    restarts: int = 0
    exit_code: str = "0:0"
    traceless: bool = False  # cancelled before it was split: Slurm forgets it
    forgotten: bool = False
    cancelled_by: int = 0  # the user's number, as sacct names it

    # while it has processes
    node: str = ""
    gpus: tuple[int, ...] = ()
    pid: int = 0
    step_pids: list[int] = field(default_factory=list)
    step_output: str = ""
    output: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    warned: bool = False
    preempted_to: str = ""  # during a preemption's grace: what becomes of it then
    grace_until: float = 0.0
    ending: Ending | None = None

    @property
    def name(self) -> str:
        """Return 12_3, or 12 where the job is no array."""
        return f"{self.array.id}" if self.index is None else f"{self.array.id}_{self.index}"

    @property
    def queued(self) -> bool:
        """Return whether it counts against submit limits."""
        return self.state in (PENDING, RUNNING, COMPLETING) and not self.forgotten

    @property
    def unsplit(self) -> bool:
        """Return whether it waits inside the array's rest."""
        return self.state == PENDING and not self.job_id

    def described(self) -> dict[str, Any]:
        """Return what tests and rehearsals want to know, as plain values."""
        return {
            "array": self.array.id,
            "index": self.index,
            "job_id": self.job_id,
            "name": self.array.request.name,
            "state": self.state,
            "reason": self.reason,
            "node": self.node,
            "restarts": self.restarts,
            "pid": self.pid,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True)
class Ending:
    """What becomes of a task when its last process is gone, and when patience ends."""

    state: str  # PENDING: back to the queue
    reason: str
    kill_at: float
    exit_code: str = "0:0"


@dataclass(eq=False)
class Array:
    """One sbatch: an array, or a job of one task."""

    id: int
    request: Request
    user: str
    user_id: int
    cwd: str
    environment: dict[str, str] = field(repr=False)
    script: str = ""  # path of the copy that runs
    submitted_at: float = 0.0
    tasks: dict[int | None, Task] = field(default_factory=dict, repr=False)
    throttle: int | None = None
    rest_reason: str = "None"
    rest_cancelled: str = ""  # what squeue shows of a rest that was cancelled
    rest_cancelled_at: float = 0.0
    rest_was_cut: bool = False  # tasks had been struck from it before

    def unsplit(self) -> list[Task]:
        """Return the tasks that wait in the array's rest, by index."""
        return [task for task in self.tasks.values() if task.unsplit]

    def split(self, task: Task, next_job_id: int) -> bool:
        """Give `task` a job id of its own; return whether `next_job_id` was used.

        As in Slurm, the last task left keeps the id of the array.
        """
        if task.job_id:
            return False
        last = len(self.unsplit()) == 1 and all(t.job_id != self.id for t in self.tasks.values())
        task.job_id = self.id if last else next_job_id
        return not last
