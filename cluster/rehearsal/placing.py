"""Which waiting task starts where: in order of submission, what fits goes."""

from __future__ import annotations

from collections.abc import Callable

from phasecube.cluster.rehearsal.records import COMPLETING, PENDING, RUNNING, Array, Task
from phasecube.cluster.rehearsal.request import Request
from phasecube.cluster.rehearsal.state import Node, State

Start = Callable[[Task, Node], None]


def place(state: State, start: Start) -> None:
    """Start what fits; note for every other waiting task why it waits."""
    short = False  # an earlier job waits for resources
    for array in list(state.arrays.values()):
        waiting = [t for t in array.tasks.values() if t.state == PENDING and not t.forgotten]
        waiting.sort(key=lambda task: task.unsplit)  # the rest comes last and waits as one
        array_short = False
        for task in waiting:
            reason = _start_or_reason(state, array, task, start, array_short)
            array_short |= reason == "Resources"
            if reason and short and reason == "Resources":
                reason = "Priority"
            if reason and task.unsplit:
                array.rest_reason = reason
                break
            task.reason = reason or task.reason
        for task in waiting:
            if task.unsplit:
                task.reason = array.rest_reason
        short |= array_short


def memory_of(state: State, request: Request) -> int:
    """Return the megabytes a task takes of its node."""
    if request.memory_mb is None:
        return state.cluster.default_memory_mb * request.cpus
    return request.memory_mb or state.cluster.memory_mb  # --mem=0 asks for the whole node


def cpus_of(state: State, request: Request) -> int:
    """Return the cores a task takes of its node."""
    return state.cluster.cpus_per_node if request.exclusive else request.cpus


def _start_or_reason(state: State, array: Array, task: Task, start: Start, short: bool) -> str:
    """Start the task and return ""; else return why it waits."""
    if task.held:
        return task.held
    if task.begin_at > state.now:
        return "BeginTime"
    if fault := _partition_fault(state, array.request):
        return fault
    busy = sum(t.state in (RUNNING, COMPLETING) for t in array.tasks.values())
    if array.throttle is not None and busy >= array.throttle:
        return "JobArrayTaskLimit"
    allowed = state.cluster.max_running
    if allowed is not None:
        users = sum(t.array.user == array.user for t in state.live.values())
        if users >= allowed:
            return "QOSMaxJobsPerUserLimit"
    node = None if short else _fitting(state, array.request)
    if node is None:
        return "Resources"
    start(task, node)
    return ""


def _partition_fault(state: State, request: Request) -> str:
    partition = state.cluster.partition(request.partition)
    if partition is None or not partition.up:
        return "PartitionDown"
    limit = partition.max_time_s
    if limit is not None and request.time_s is not None and request.time_s > limit:
        return "PartitionTimeLimit"
    if request.nodes > state.cluster.nodes:
        return "PartitionNodeLimit"
    return ""


def _fitting(state: State, request: Request) -> Node | None:
    cluster = state.cluster
    for node in state.nodes.values():
        if (
            node.up
            and node.cpus + cpus_of(state, request) <= cluster.cpus_per_node
            and node.memory_mb + memory_of(state, request) <= cluster.memory_mb
            and len(node.gpus) + request.gpus <= cluster.gpus_per_node
        ):
            return node
    return None
