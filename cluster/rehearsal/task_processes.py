"""The processes of tasks: start, find, signal, and leave none behind.

A task has a session of its own. A process that left the session is still known by the
environment it was started with.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MARK = "FAKE_SLURM_TASK"  # SOCKET:JOB_ID, in the environment of every process of a task


@dataclass(frozen=True)
class Found:
    """A living process of a task."""

    pid: int
    in_step: bool  # started by srun
    session: int


def start(
    script: str, cwd: str, environment: dict[str, str], output: str, error: str, append: bool
) -> int:
    """Start a script in a session of its own and return its pid; raises OSError if it cannot."""
    with Path(script).open(encoding="utf-8") as lines:
        interpreter = shlex.split(lines.readline()[2:])
    mode = "ab" if append else "wb"
    with ExitStack() as files:
        log = files.enter_context(Path(cwd, output).open(mode))
        errors = files.enter_context(Path(cwd, error).open(mode)) if error else log
        process = subprocess.Popen(
            [*interpreter, script],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=errors,
            start_new_session=True,
        )
    # The controller waits for its children itself: without this, the next Popen might take
    # the exit status of one that was let go of.
    process.returncode = 0
    return process.pid


def find(socket: str, sessions: Mapping[int, int]) -> dict[int, list[Found]]:
    """Return the living processes of this controller's tasks, by job id.

    `sessions` names the job of every session that was started.
    """
    mark = f"{MARK}={socket}:".encode()
    found: dict[int, list[Found]] = defaultdict(list)
    for entry in os.scandir(PROC):
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        # A process may end, or belong to another user, while it is looked at.
        with suppress(OSError):
            environment = (PROC / entry.name / "environ").read_bytes()
            session = os.getsid(pid)
            job_id = sessions.get(session)
            if (place := environment.find(mark)) >= 0:
                job_id = int(environment[place + len(mark) :].partition(b"\0")[0])
            if job_id is not None and not _is_zombie(entry.name):
                in_step = b"SLURM_STEP_ID=" in environment
                found[job_id].append(Found(pid, in_step, session))
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each process; those that are gone are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def sweep(socket: str, sessions: Mapping[int, int] | None = None) -> int:
    """Kill every process of this controller's tasks; return how many there were."""
    killed: set[int] = set()
    # A process may fork while its parent is being found: look until none is left.
    while (
        pids := {one.pid for group in find(socket, sessions or {}).values() for one in group}
        - killed
    ):
        send(pids, signal.SIGKILL)
        killed |= pids
    return len(killed)


def _is_zombie(pid: str) -> bool:
    stat = (PROC / pid / "stat").read_bytes()
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] == b"Z"
