"""What goes wrong on a cluster, on demand and at random."""

from __future__ import annotations

import inspect
import random
import signal
from typing import Any

from phasecube.cluster.rehearsal import lifecycle, task_processes
from phasecube.cluster.rehearsal.control import requeue
from phasecube.cluster.rehearsal.records import (
    CANCELLED,
    NODE_FAIL,
    OUT_OF_MEMORY,
    PENDING,
    PREEMPTED,
    RUNNING,
    Task,
)
from phasecube.cluster.rehearsal.state import Node, State

NODE_BACK_S = 1.0  # a storm's failed node returns after this
LAUNCH_FAILED = "launch failed requeued held"
NODE_FAILED = " DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS"


class UnknownMisfortuneError(Exception):
    """The action, or what it is to happen to, does not exist."""


class Misfortunes:
    """Actions on tasks and nodes, and a storm of them."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.random = random.Random(state.cluster.seed)  # noqa: S311 chooses tasks, no secrets
        self.rate_per_s = 0.0
        self.next_at = 0.0
        self.kinds: tuple[str, ...] = ()
        self.returning: dict[str, float] = {}

    def do(self, action: str, **options: Any) -> Any:
        """Do what `action` names and return what there is to tell of it.

        Raises UnknownMisfortuneError.
        """
        act = getattr(self, f"do_{action}", None)
        if act is None:
            raise UnknownMisfortuneError(f"no such action: {action}")
        try:
            inspect.signature(act).bind(**options)
        except TypeError as error:
            raise UnknownMisfortuneError(f"{action}: {error}") from error
        return act(**options)

    def do_tasks(self) -> list[dict[str, Any]]:
        """Return all tasks as plain values, those without a trace too."""
        return [task.described() for task in self.state.tasks()]

    def do_interruptions(self) -> list[str]:
        """Return what befell running tasks so far, in order."""
        return self.state.interruptions

    def do_requeue(self, task: str) -> None:
        """An operator sends a task back to the queue."""
        found = self._running(task, "requeue")
        if said := requeue(self.state, found):
            raise UnknownMisfortuneError(f"{task}: {said}")

    def do_preempt(self, task: str, mode: str = "requeue", grace_s: float = 0.0) -> None:
        """A task must give way; within the grace it may leave by itself."""
        found = self._running(task, "preempt")
        again = mode == "requeue" and found.array.request.requeue
        final = PENDING if again else PREEMPTED
        if not grace_s:
            lifecycle.terminate(self.state, found, final, "None", " DUE TO PREEMPTION")
            return
        found.preempted_to, found.grace_until = final, self.state.now + grace_s
        for number in (signal.SIGCONT, signal.SIGTERM):
            lifecycle.signal_task(self.state, found, number, "steps")

    def do_out_of_memory(self, task: str) -> None:
        """The kernel kills a task for its memory."""
        found = self._running(task, "out_of_memory")
        said = f"error: Detected 1 oom_kill event in StepId={found.job_id}.batch."
        lifecycle.write_log(found.output, f"slurmstepd-{found.node}: {said}")
        lifecycle.kill_now(self.state, found, OUT_OF_MEMORY, "OutOfMemory", "0:125")

    def do_kill(self, task: str) -> None:
        """The step's processes get SIGKILL; the script goes on as it may."""
        found = self._running(task, "kill")
        processes = self.state.processes_of(found)
        steps = [p.pid for p in processes if p.in_step or p.pid in found.step_pids]
        others = [p.pid for p in processes if p.pid != found.pid]
        task_processes.send(steps or others or [found.pid], signal.SIGKILL)

    def do_fail_node(self, node: str, linger_s: float = 0.0) -> None:
        """A node is set down: its tasks are requeued at once, or end as NODE_FAIL.

        With `linger_s` their processes go on that long, unknown to the controller.
        """
        found = self._node(node)
        found.up = False
        state = self.state
        for task in [t for t in state.live.values() if t.node == node]:
            state.interruptions.append(f"fail_node {task.name}")
            lifecycle.announce(task, NODE_FAILED)
            again = task.array.request.requeue
            final, reason = (PENDING, "BeginTime") if again else (NODE_FAIL, "NodeDown")
            if task.ending is not None and task.ending.state == CANCELLED:
                final, reason = CANCELLED, "None"
            if linger_s:
                for process in state.processes_of(task):
                    state.lingering[process.session] = state.now + linger_s
            lifecycle.kill_now(state, task, final, reason)

    def do_restore_node(self, node: str) -> None:
        """A node comes back."""
        self._node(node).up = True
        self.returning.pop(node, None)

    def do_silence(self, seconds: float) -> None:
        """The controller answers nobody for a while; what runs goes on."""
        self.state.silent_until = self.state.now + seconds

    def do_forget(self, task: str) -> None:
        """Slurm loses every record of a task, or of a whole array; its processes are killed."""
        for found in self._all_named(task):
            if found.job_id in self.state.live:
                lifecycle.kill_now(self.state, found, CANCELLED, "None")
            found.forgotten = True

    def do_launch_failure(self, task: str) -> None:
        """A task cannot start on its node: Slurm requeues it and holds it."""
        found = self._running(task, "launch_failure")
        found.held = LAUNCH_FAILED
        lifecycle.kill_now(self.state, found, PENDING, LAUNCH_FAILED)

    def do_unsaved_start(self, task: str) -> None:
        """The controller crashed before it saved that a task runs: it starts anew.

        It gets another job id and no restart is counted.
        """
        found = self._running(task, "unsaved_start")
        restarts = found.restarts
        lifecycle.kill_now(self.state, found, PENDING, "None")
        found.restarts = restarts
        if found.index is not None:
            found.job_id = 0

    def do_lose_arrays(self, since: int) -> None:
        """The controller crashed before it saved what was submitted since: ids are given again."""
        state = self.state
        for task in [t for t in state.live.values() if t.array.id >= since]:
            lifecycle.kill_now(state, task, CANCELLED, "None")
        state.arrays = {number: a for number, a in state.arrays.items() if number < since}
        state.next_id = min(since, state.next_id)

    def do_storm(
        self, rate_per_s: float, seed: int = 0, kinds: tuple[str, ...] | None = None
    ) -> None:
        """From now on something befalls a running task `rate_per_s` times a second."""
        self.rate_per_s = rate_per_s
        self.random = random.Random(seed)  # noqa: S311
        self.kinds = tuple(kinds or ("preempt", "preempt", "requeue", "kill", "fail_node"))
        self.next_at = self.state.now + self.random.expovariate(rate_per_s)

    def do_calm(self) -> None:
        """End the storm; nodes come back."""
        self.rate_per_s = 0.0
        for node in list(self.returning):
            self.do_restore_node(node)

    def tick(self) -> None:
        """Let nodes return, and the storm strike when it is time."""
        for node in [node for node, at in self.returning.items() if self.state.now >= at]:
            self.do_restore_node(node)
        if not self.rate_per_s or self.state.now < self.next_at:
            return
        self.next_at = self.state.now + self.random.expovariate(self.rate_per_s)
        running = [task for task in self.state.live.values() if task.state == RUNNING]
        if not running:
            return
        task, kind = self.random.choice(running), self.random.choice(self.kinds)
        if kind == "fail_node":
            node = task.node
            self.do_fail_node(node)
            self.returning[node] = self.state.now + NODE_BACK_S
        elif kind == "requeue" and not task.array.request.requeue:
            return
        else:
            self.do(kind, task=task.name)

    def _all_named(self, name: str) -> list[Task]:
        try:
            return self.state.named(name)
        except ValueError as error:
            raise UnknownMisfortuneError(f"{name} is no name of a task") from error

    def _named(self, name: str) -> Task:
        tasks = self._all_named(name)
        if len(tasks) != 1:
            raise UnknownMisfortuneError(f"{name} names {len(tasks)} tasks, not one")
        return tasks[0]

    def _running(self, name: str, action: str) -> Task:
        task = self._named(name)
        if task.job_id not in self.state.live:
            raise UnknownMisfortuneError(f"{action}: {name} is {task.state}, not running")
        self.state.interruptions.append(f"{action} {name}")
        return task

    def _node(self, name: str) -> Node:
        if name not in self.state.nodes:
            raise UnknownMisfortuneError(f"no such node: {name}")
        return self.state.nodes[name]
