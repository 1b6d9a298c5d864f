"""A task's life once it has a node: start, warning, end, and back to the queue."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from phasecube.cluster.rehearsal import task_processes
from phasecube.cluster.rehearsal.client import fill_pattern
from phasecube.cluster.rehearsal.placing import cpus_of, memory_of
from phasecube.cluster.rehearsal.records import (
    COMPLETED,
    COMPLETING,
    FAILED,
    PENDING,
    RUNNING,
    TIMEOUT,
    Ending,
    Task,
)
from phasecube.cluster.rehearsal.state import Node, State
from phasecube.cluster.rehearsal.task_environment import task_environment

GONE_WITHIN_S = 2.0  # how long the kernel may take to bury what was killed


def start(state: State, task: Task, node: Node) -> None:
    """Give the task its place on the node and start its script."""
    state.split(task)
    request = task.array.request
    node.cpus += cpus_of(state, request)
    node.memory_mb += memory_of(state, request)
    free = [gpu for gpu in range(state.cluster.gpus_per_node) if gpu not in node.gpus]
    task.gpus = tuple(free[: request.gpus])
    node.gpus.update(task.gpus)
    task.node, task.state, task.reason = node.name, RUNNING, "None"
    task.started_at, task.warned, task.step_pids, task.ending = state.now, False, [], None
    task.preempted_to = ""
    task.exit_code = "0:0"
    state.live[task.job_id] = task
    environment = task_environment(state, task)
    cwd = task.array.cwd
    task.output = str(Path(cwd, fill_pattern(request.output, environment)))
    try:
        task.pid = task_processes.start(
            task.array.script,
            cwd,
            environment,
            task.output,
            fill_pattern(request.error, environment),
            request.append,
        )
    except OSError:
        # As slurmd does it: no log can be written, so nothing is said of why.
        task.ending = Ending(FAILED, "JobLaunchFailure", 0.0, "0:53")
        _bury(state, task)


def batch_ended(state: State, pid: int, status: int) -> None:
    """Note that the process `pid` ended; its task ends when nothing of it is left."""
    task = next((t for t in state.live.values() if t.pid == pid), None)
    if task is None:
        return
    task.pid = 0
    if task.ending is None:
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            ending = Ending(COMPLETED, "None", 0.0)
        elif code > 0:
            ending = Ending(FAILED, "NonZeroExitCode", 0.0, f"{code}:0")
        else:
            ending = Ending(FAILED, "JobLaunchFailure", 0.0, f"0:{-code}")
        task.ending = ending
    if not state.processes_of(task):
        _bury(state, task)
    elif task.ending.kill_at == 0.0:  # what the script left behind
        terminate(state, task, task.ending.state, task.ending.reason, None, task.ending.exit_code)


def terminate(
    state: State, task: Task, final: str, reason: str, why: str | None, exit_code: str = "0:0"
) -> None:
    """Ask all processes of the task to leave; KillWait later they are killed.

    `why` ends the line that Slurm writes into the logs (None writes none).
    """
    if task.ending is not None and task.ending.kill_at:
        # Already leaving: only what becomes of it changes, not how long it may take.
        task.ending = Ending(final, reason, task.ending.kill_at, exit_code)
        return
    if why is not None:
        announce(task, why)
    task.ending = Ending(final, reason, state.now + state.cluster.kill_wait_s, exit_code)
    task.state = COMPLETING
    task.reason = "None" if final == PENDING else reason
    pids = [found.pid for found in state.processes_of(task)]
    task_processes.send(pids, signal.SIGCONT)
    task_processes.send(pids, signal.SIGTERM)


def kill_now(state: State, task: Task, final: str, reason: str, exit_code: str = "0:0") -> None:
    """End the task at once: no process of it is left when this returns."""
    task.ending = Ending(final, reason, state.now, exit_code)
    end_by = state.now + GONE_WITHIN_S
    while (found := state.processes_of(task)) and state.now < end_by:
        task_processes.send([one.pid for one in found], signal.SIGKILL)
        time.sleep(0.002)
    _bury(state, task)


def tick(state: State) -> None:
    """Warn, end and kill what is due; bury what has no process left."""
    leaving = [task for task in state.live.values() if task.ending is not None]
    processes = state.processes() if leaving else {}
    for task in leaving:
        found = processes.get(task.job_id, [])
        if not found and not task.pid:
            _bury(state, task)
        elif task.ending is not None and state.now >= task.ending.kill_at:
            task_processes.send([one.pid for one in found], signal.SIGKILL)
    late = {session for session, until in state.lingering.items() if state.now >= until}
    if late:
        task_processes.send(state.of_sessions(late), signal.SIGKILL)
        state.lingering = {s: until for s, until in state.lingering.items() if s not in late}
    for task in list(state.live.values()):
        if task.ending is None:
            _keep_time(state, task)


def limit_s(state: State, task: Task) -> float | None:
    """Return the task's time limit in Slurm's seconds, None where it has none."""
    partition = state.cluster.partition(task.array.request.partition)
    if task.array.request.time_s is not None or partition is None:
        return task.array.request.time_s
    return partition.default_time_s or partition.max_time_s


def signal_task(state: State, task: Task, number: signal.Signals, whom: str) -> None:
    """Signal the processes of the steps, the script alone ("batch"), or both ("full")."""
    found = state.processes_of(task)
    steps = {one.pid for one in found if one.in_step} | set(task.step_pids)
    chosen = {
        "batch": {task.pid} - {0},
        "full": {one.pid for one in found},
        "steps": steps & {one.pid for one in found},
    }[whom]
    task_processes.send(chosen, number)


def announce(task: Task, why: str) -> None:
    """Write into the task's logs why it is ended, as slurmstepd does."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S")
    step = f"STEP {task.job_id}.0"
    for path, what in ((task.step_output, step), (task.output, f"JOB {task.job_id}")):
        line = (
            f"slurmstepd-{task.node}: error: *** {what} ON {task.node} CANCELLED AT {at}{why} ***"
        )
        if path:
            write_log(path, line)


def write_log(path: str, line: str) -> None:
    """Add a line to a task's log."""
    # A log that cannot be written is the task's own trouble: the cluster goes on.
    with suppress(OSError), Path(path).open("a", encoding="utf-8") as log:
        log.write(line + "\n")


def _keep_time(state: State, task: Task) -> None:
    if task.preempted_to and state.now >= task.grace_until:
        terminate(state, task, task.preempted_to, "None", " DUE TO PREEMPTION")
        return
    if (allowed := limit_s(state, task)) is None:
        return
    request = task.array.request
    left = task.started_at + state.cluster.real_s(allowed) - state.now
    if left <= 0:
        terminate(state, task, TIMEOUT, "TimeLimit", " DUE TO TIME LIMIT")
    elif request.signal and not task.warned and left <= state.cluster.real_s(request.signal_s):
        task.warned = True
        whom = "batch" if request.signal_batch else "steps"
        signal_task(state, task, signal.Signals[f"SIG{request.signal}"], whom)


def _bury(state: State, task: Task) -> None:
    """Free the node; the task is over, or back in the queue."""
    assert task.ending is not None
    node, request = state.nodes[task.node], task.array.request
    node.cpus -= cpus_of(state, request)
    node.memory_mb -= memory_of(state, request)
    node.gpus.difference_update(task.gpus)
    state.live.pop(task.job_id, None)
    task.state, task.reason = task.ending.state, task.ending.reason
    task.exit_code, task.ended_at = task.ending.exit_code, state.now
    task.gpus, task.pid, task.step_pids, task.step_output = (), 0, [], ""
    if task.state == PENDING:
        back_to_queue(state, task)


def back_to_queue(state: State, task: Task) -> None:
    """Make the task wait again, after the delay of a requeue."""
    task.restarts += 1
    task.state, task.node, task.ending, task.exit_code = PENDING, "", None, "0:0"
    task.begin_at = state.now + state.cluster.requeue_delay_s
    task.reason = task.held or "BeginTime"
