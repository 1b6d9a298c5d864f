"""squeue and sacct: the same tasks, as each of them shows them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from phasecube.cluster.rehearsal.index_ranges import format_ranges, parse_ranges
from phasecube.cluster.rehearsal.lifecycle import limit_s
from phasecube.cluster.rehearsal.placing import memory_of
from phasecube.cluster.rehearsal.records import CANCELLED, PENDING, Array, Task
from phasecube.cluster.rehearsal.state import State
from phasecube.cluster.rehearsal.words import Words, clock, filled, table

SHORT = {
    "PENDING": "PD", "RUNNING": "R", "COMPLETING": "CG", "COMPLETED": "CD", "FAILED": "F",
    "CANCELLED": "CA", "TIMEOUT": "TO", "NODE_FAIL": "NF", "OUT_OF_MEMORY": "OOM",
    "PREEMPTED": "PR", "SUSPENDED": "S",
}  # fmt: skip
IN_QUEUE = frozenset(("PENDING", "RUNNING", "COMPLETING", "SUSPENDED"))
USUAL = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"


@dataclass(frozen=True)
class Row:
    """One line: a task, or the rest of an array."""

    task: Task
    indices: str  # 3, 5-9%2 or N/A
    state: str
    reason: str
    bracketed: bool = False

    @property
    def id(self) -> str:
        """Return 12, 12_3 or 12_[5-9%2]."""
        if self.indices == "N/A":
            return str(self.task.array.id)
        indices = f"[{self.indices}]" if self.bracketed else self.indices
        return f"{self.task.array.id}_{indices}"


def squeue(state: State, words: Words) -> tuple[str, str]:
    """Return what squeue prints, and its complaints; raises RefusalError."""
    said = ""
    users = words.listed("user")
    known = {array.user for array in state.arrays.values()}
    for user in users:
        if user not in known and not words.user_exists(user):
            said += f"squeue: error: Invalid user: {user}\n\n"
    states = _states(words)
    jobs = words.listed("jobs")
    if len(jobs) == 1 and not state.named(jobs[0].partition("_")[0]):
        words.refuse("slurm_load_jobs error: Invalid job id specified")
    held = {(t.array.id, t.index) for t in state.in_memory()}
    rows = [
        row
        for array in state.arrays.values()
        for row in _rows(state, array, words.has("array"))
        if row.state in states
        and ((array.id, row.task.index) in held or row.bracketed or row.indices == "N/A")
        and (not users or array.user in users)
        and (not jobs or _chosen(row, jobs))
        and words.allows("name", array.request.name)
        and words.allows("partition", _fields(state, row)["P"])
    ]
    pattern = words.value("format", USUAL)
    lines = [filled(pattern, _fields(state, row)) for row in rows]
    if not words.has("noheader"):
        lines.insert(0, filled(pattern, HEADER))
    return "".join(line.rstrip(" ") + "\n" for line in lines), said


def sacct(state: State, words: Words) -> str:
    """Return what sacct prints; raises RefusalError."""
    if not state.cluster.accounting:
        words.refuse("Slurm accounting storage is disabled")
    jobs, users, states = words.listed("jobs"), words.listed("user"), words.listed("state")
    rows: list[Mapping[str, str]] = []
    for array in state.arrays.values():
        for row in _rows(state, array, False, merged=False):
            if jobs and not _chosen(row, jobs):
                continue
            if (users and array.user not in users) or (states and row.state not in states):
                continue
            if words.allows("name", array.request.name):
                rows += _accounts(state, row, whole=words.has("allocations"))
    usual = "JobID,JobName,Partition,Account,AllocCPUS,State,ExitCode"
    return table(words, rows, usual, 'sacct: error: Invalid field requested: "{}"')


def _states(words: Words) -> frozenset[str]:
    asked = [name.upper() for name in words.listed("states")]
    if "ALL" in asked:
        return frozenset(SHORT)
    long = {short: name for name, short in SHORT.items()}
    names = [long.get(name, name) for name in asked]
    for name, given in zip(names, words.listed("states")):
        if name not in SHORT:
            words.refuse(
                f"squeue: error: Invalid job state specified: {given}\n"
                f"squeue: error: Valid job states include: {','.join(SHORT)}\n"
            )
    return frozenset(names) or IN_QUEUE


def _rows(state: State, array: Array, each: bool, merged: bool = True) -> Iterable[Row]:
    tasks = [t for t in array.tasks.values() if not t.forgotten and not t.traceless]
    rest = [t for t in tasks if t.unsplit]
    if not merged:  # accounts hear late of what was struck from the rest
        lately = state.now - state.cluster.accounts_lag_s
        rest = [
            t for t in array.tasks.values() if t.unsplit or (t.traceless and t.ended_at > lately)
        ]
    as_one = len(rest) > 1 and not each
    if as_one:
        # squeue shows tasks that wait again together with those that never started.
        waiting = [t for t in tasks if t.state == PENDING] if merged else rest
        reasons = dict.fromkeys(t.reason for t in [*rest, *waiting])
        indices = format_ranges([t.index for t in waiting if t.index is not None])
        if array.throttle is not None and len(waiting) == len(rest):
            indices += f"%{array.throttle}"
        yield Row(rest[0], indices, PENDING, ",".join(reasons), bracketed=True)
        tasks = [t for t in tasks if not t.unsplit and (t.state != PENDING or not merged)]
    young = state.now - array.rest_cancelled_at <= state.cluster.min_job_age_s
    if array.rest_cancelled and (young or not merged):
        first = next(t for t in array.tasks.values() if t.traceless)
        ranged = array.rest_cancelled != "N/A"
        yield Row(first, array.rest_cancelled, CANCELLED, array.rest_reason, bracketed=ranged)
    for task in tasks:
        yield Row(task, "N/A" if task.index is None else str(task.index), task.state, task.reason)


def _chosen(row: Row, jobs: Sequence[str]) -> bool:
    for name in jobs:
        first, _, indices = name.partition("_")
        if first not in (str(row.task.array.id), str(row.task.job_id)):
            continue
        if not indices:
            return True
        if row.indices != "N/A":
            wanted, _ = parse_ranges(indices.strip("[]"))
            if set(wanted) & set(parse_ranges(row.indices)[0]):
                return True
    return False


def _fields(state: State, row: Row) -> dict[str, str]:
    task, request = row.task, row.task.array.request
    partition = state.cluster.partition(request.partition)
    accounting = state.cluster.accounting
    limit = limit_s(state, task)
    return {
        "i": row.id,
        "F": str(task.array.id),
        "A": str(task.job_id or task.array.id),
        "K": row.indices,
        "T": row.state,
        "t": SHORT[row.state],
        "r": row.reason,
        "R": task.node or f"({row.reason})",
        "N": task.node,
        "j": request.name,
        "u": task.array.user,
        "U": str(task.array.user_id),
        "P": partition.name if partition else request.partition,
        "q": (request.qos or "normal") if accounting else "(null)",
        "a": (request.account or task.array.user) if accounting else "(null)",
        "C": str(request.cpus),
        "D": "1",
        "m": f"{memory_of(state, request)}M",
        "M": clock(_elapsed_s(state, task)),
        "l": "UNLIMITED" if limit is None else clock(limit),
        "Z": task.array.cwd,
        "o": task.array.script,
    }


HEADER = {
    "i": "JOBID", "F": "ARRAY_JOB_ID", "A": "JOBID", "K": "ARRAY_TASK_ID", "T": "STATE",
    "t": "ST", "r": "REASON", "R": "NODELIST(REASON)", "N": "NODELIST", "j": "NAME",
    "u": "USER", "U": "UID", "P": "PARTITION", "q": "QOS", "a": "ACCOUNT", "C": "CPUS",
    "D": "NODES", "m": "MIN_MEMORY", "M": "TIME", "l": "TIME_LIMIT", "Z": "WORK_DIR",
    "o": "COMMAND",
}  # fmt: skip


def _elapsed_s(state: State, task: Task) -> float:
    if not task.started_at or task.state == PENDING:
        return 0.0
    end = state.now if task.node and not task.ended_at > task.started_at else task.ended_at
    return (end - task.started_at) * 60 / state.cluster.minute_s


def _accounts(state: State, row: Row, whole: bool) -> Iterable[Mapping[str, str]]:
    task, request, fields = row.task, row.task.array.request, _fields(state, row)
    shown, name = row.state, row.id
    lag_s = state.cluster.accounts_lag_s
    if row.bracketed and row.state == CANCELLED and task.array.rest_was_cut:
        name = str(task.array.id)
    elif task.job_id == task.array.id and task.started_at > state.now - lag_s:
        name = str(task.array.id)  # for a while it is listed without its index
    if row.state == CANCELLED:
        shown = f"CANCELLED by {task.cancelled_by}"
    elif row.state == "COMPLETING":
        shown = "RUNNING"
    elif row.state == PENDING and task.restarts:
        shown = "REQUEUED"
    values = {
        "JobID": name,
        "JobIDRaw": str(task.job_id or task.array.id),
        "JobName": request.name,
        "State": shown,
        "ExitCode": task.exit_code,
        "User": task.array.user,
        "Account": fields["a"],
        "Partition": fields["P"],
        "QOS": fields["q"],
        "NodeList": task.node or "None assigned",
        "AllocCPUS": str(request.cpus),
        "ReqCPUS": str(request.cpus),
        "ReqMem": fields["m"],
        "MaxRSS": "",
        "Elapsed": clock(_elapsed_s(state, task), full=True),
        "ElapsedRaw": str(int(_elapsed_s(state, task))),
        "Timelimit": fields["l"],
        "Reason": row.reason,
        "Submit": _at(state, task.array.submitted_at),
        "Start": _at(state, task.started_at),
        "End": _at(state, task.ended_at),
    }
    yield values
    if not whole and task.started_at:
        yield values | {"JobID": f"{name}.batch", "JobName": "batch"}


def _at(state: State, moment: float) -> str:
    if not moment:
        return "Unknown"
    passed = state.now - moment
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - passed))
