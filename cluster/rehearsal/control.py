"""scancel, and scontrol's requeue, hold, release and update."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Callable, Sequence

from phasecube.cluster.rehearsal import lifecycle
from phasecube.cluster.rehearsal.index_ranges import format_ranges
from phasecube.cluster.rehearsal.records import CANCELLED, PENDING, Task
from phasecube.cluster.rehearsal.request import RefusalError
from phasecube.cluster.rehearsal.state import State
from phasecube.cluster.rehearsal.submission import user_of

UNKNOWN = "Invalid job id specified"
FINISHED = "Job has already finished"
WAITING = "Job is pending execution"
DISABLED = "Requested operation is presently disabled"


def scancel(state: State, arguments: Sequence[str], uid: int) -> str:
    """Cancel or signal the jobs named, or chosen by -t, -u, -n; return "".

    Raises RefusalError in scancel's words.
    """
    options, names = _options(arguments)
    if not names and not options:
        raise RefusalError("scancel: error: No job identification provided")
    chosen: dict[str, list[Task]] = {"": list(state.in_memory())} if not names else {}
    for name in names:
        try:
            chosen[name] = state.named(name)
        except ValueError as error:
            raise RefusalError(f"scancel: error: Invalid job id {name}") from error
    wanted = options.get("user", user_of(uid) if "me" in options else "")
    states = options.get("state", "").upper()
    for name, tasks in chosen.items():
        group = [
            task
            for task in tasks
            if task.queued
            and wanted in ("", task.array.user)
            and states in ("", task.state)
            and options.get("name", task.array.request.name) == task.array.request.name
        ]
        if "signal" in options:
            _signal(state, group, options)
        else:
            _cancel(state, group, whole="_" not in name and "state" not in options, by=uid)
    return ""


def requeue(state: State, task: Task) -> str:
    """Send a task back to the queue; return "", or why not.

    As in Slurm, one that is being cancelled comes back to life.
    """
    if task.state == PENDING or (task.ending is not None and task.ending.state == PENDING):
        return WAITING
    if not task.array.request.requeue:
        return DISABLED
    if not task.queued:
        lifecycle.back_to_queue(state, task)
        return ""
    lifecycle.terminate(state, task, PENDING, "BeginTime", " DUE TO JOB REQUEUE")
    return ""


def hold(task: Task, by: str) -> str:
    """Keep a task from starting; return "", or why not."""
    if not task.queued:
        return FINISHED
    task.held = by
    task.reason = by  # as in Slurm, also where it runs
    return ""


def release(task: Task) -> str:
    """Let a task start; return "", or why not."""
    if not task.queued:
        return FINISHED
    task.held = ""
    task.reason = "None"
    return ""


def to_all(
    state: State, names: Sequence[str], act: Callable[[Task], str], keyword: str
) -> tuple[str, int]:
    """Act on every task named; return what scontrol says of those refused, and its exit code.

    The rest of an array is held and released as one, so what is named of it is split off.
    """
    if not names:
        raise RefusalError(f"too few arguments for keyword:{keyword}")
    said: list[str] = []
    for name in ",".join(names).split(","):
        try:
            tasks = state.named(name)
        except ValueError:
            tasks = []
        if not tasks:
            said.append(f"{name}: {UNKNOWN}")
            continue
        # The rest of an array waits, and is named, as one.
        rest = format_ranges([t.index for t in tasks[0].array.unsplit() if t.index is not None])
        if keyword != "requeue" and set(tasks[0].array.unsplit()) - set(tasks):
            for task in tasks:
                if task.unsplit:
                    state.split(task)
        answers: dict[str, list[Task]] = defaultdict(list)
        for task in tasks:
            answers[act(task)].append(task)
        for answer, group in answers.items():
            whole = bool(rest) and all(t.unsplit for t in group)
            label = _label(group, rest if whole else "")
            if answer:
                said.append(f"{label}: {answer}")
            elif len(answers) > 1:
                said.append(f"{label}: No error")
    return "".join(line + "\n" for line in said), 1 if said else 0


def set_throttle(state: State, job: str, limit: int) -> None:
    """Change how many tasks of an array may run at once; 0 lifts the limit."""
    for task in state.named(job)[:1]:
        task.array.throttle = limit or None


def _label(tasks: Sequence[Task], rest: str) -> str:
    array_id = tasks[0].array.id
    indices = [t.index for t in tasks if t.index is not None]
    if rest or indices:
        return f"{array_id}_{rest or format_ranges(indices)}"
    return str(array_id)


def _cancel(state: State, tasks: Sequence[Task], whole: bool, by: int) -> None:
    arrays = {task.array.id: task.array for task in tasks}.values()
    rests = {array.id: array.unsplit() for array in arrays}
    for task in tasks:
        task.cancelled_by = by
        if task.unsplit:
            # Slurm strikes it from the array's rest and keeps no record of it.
            task.state, task.ended_at, task.traceless = CANCELLED, state.now, True
        elif task.state == PENDING:
            task.state, task.ended_at = CANCELLED, state.now
        else:
            lifecycle.terminate(state, task, CANCELLED, "None", "")
    for array in arrays:
        rest = [task.index for task in rests[array.id] if task.index is not None]
        taken = any(task.job_id == array.id for task in array.tasks.values())
        if rest and not array.unsplit() and not taken:
            throttle = f"%{array.throttle}" if array.throttle and len(rest) > 1 else ""
            array.rest_cancelled = format_ranges(rest) + throttle if whole else "N/A"
            array.rest_cancelled_at = state.now
            array.rest_was_cut = sum(t.traceless for t in array.tasks.values()) > len(rest)


def _signal(state: State, tasks: Sequence[Task], options: dict[str, str]) -> None:
    text = options["signal"].upper().removeprefix("SIG")
    try:
        number = signal.Signals(int(text)) if text.isdigit() else signal.Signals[f"SIG{text}"]
    except (KeyError, ValueError) as error:
        raise RefusalError(f"scancel: error: Unknown job signal: {text}") from error
    whom = next((name for name in ("batch", "full") if name in options), "steps")
    for task in tasks:
        if task.state != PENDING:
            lifecycle.signal_task(state, task, number, whom)


def _options(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    long = {"t": "state", "u": "user", "n": "name", "s": "signal", "b": "batch", "f": "full"}
    long |= {"Q": "quiet", "v": "verbose"}
    flags = ("batch", "full", "quiet", "verbose", "me")
    options: dict[str, str] = {}
    names: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            names.append(word)
            continue
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = {"jobname": "name"}.get(name, name)
        else:
            name, value, equals = long.get(word[1:2], ""), word[2:], word[2:]
        if name not in (*long.values(), "me"):
            raise RefusalError(f"scancel: unrecognized option '{word}'")
        if name not in flags and not equals:
            if not rest:
                raise RefusalError(f"scancel: option '{word}' requires an argument")
            value = rest.pop(0)
        options[name] = value
    options.pop("quiet", None)
    return options, names
