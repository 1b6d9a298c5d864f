"""Send what a study lacks to Slurm: plan − store − packs of living tasks = job arrays.

An array is written into the study before sbatch is asked, under a name that no other has.
A death in between leaves an array without an id, which the next command finds by that
name or takes for never submitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from phasecube.cluster.cut import Pace, cut, seconds_of_packs, steps_left
from phasecube.cluster.engine_choices import EngineChoices, group_id, group_keys
from phasecube.cluster.give_up import give_up
from phasecube.cluster.job import EngineRequest
from phasecube.cluster.job_array import (
    JobArray,
    next_number,
    read_arrays,
    script_path,
    with_ended,
    write_array,
)
from phasecube.cluster.pace import measured_pace
from phasecube.cluster.provenance import append_run, environment, read_runs
from phasecube.cluster.slurm.command import (
    SBATCH_TIMEOUT_S,
    SlurmError,
    SlurmSilentError,
    slurm,
)
from phasecube.cluster.slurm.deadly import deadly_packs
from phasecube.cluster.slurm.limits import Limits, read_limits, user_name
from phasecube.cluster.slurm.queue import Queue, read_queue
from phasecube.cluster.slurm.refusals import explain_refusal, is_submit_limit
from phasecube.cluster.slurm.script import LOGS, batch_script
from phasecube.cluster.slurm.settings import SlurmSettings
from phasecube.cluster.study import Study
from phasecube.engine.errors import StudyError
from phasecube.engine.store import write_by_rename
from phasecube.sweeps.plan import Plan


@dataclass(frozen=True)
class Asked:
    """A submission: of which plan, for which study folder, with which settings."""

    path: Path
    plan: Plan
    status_RF: npt.NDArray[np.int32]
    settings: SlurmSettings
    flags: Mapping[str, Any]
    run: int
    pace: Pace | None = None  # a probe's, where no task has measured anything

    def array(
        self,
        number: int,
        tasks: Sequence[Sequence[int]],
        requested: Mapping[str, EngineRequest],
    ) -> JobArray:
        """Return the array of these tasks, not yet submitted."""
        token = uuid4().hex[:8]
        return JobArray(
            number=number,
            token=token,
            name=f"{self.plan.sweep.name}.{token}",
            path=str(self.path.resolve()),
            user=user_name(),
            submitted=time.strftime("%Y-%m-%dT%H:%M:%S"),
            run=self.run,
            settings=self.settings.to_json(),
            flags=self.flags,
            environment={},
            packs=tasks,
            requested=requested,
        )


@dataclass(frozen=True)
class Proposed:
    """Arrays that would be submitted now, and what waits for room or runs already."""

    arrays: Sequence[JobArray]
    waiting: Sequence[int]  # packs
    live: int  # packs in tasks that may run
    seconds: float | None  # of all tasks, one core each; None while nothing is measured
    why: str
    limits: Limits


def standing_queue(study: Study, *, keep: bool = True) -> Queue:
    """Return how the study's tasks stand, and keep for good the ends that are known now.

    Raises SlurmSilentError where Slurm cannot say: nothing may be inferred from that. The
    caller holds the study's lock.
    """
    queue = read_queue(study.path, read_arrays(study.path))
    if queue.silent is not None:
        raise SlurmSilentError(
            f"{queue.silent}. Tasks of {study.path} may be running, so nothing was submitted; "
            "try again when Slurm answers"
        )
    if not keep:
        return queue
    kept = []
    for array in queue.arrays:
        states = queue.states.get(array.number, {})
        over = {t: (s.state.value, s.said) for t, s in states.items() if not s.state.may_live}
        new = with_ended(array, over) if over else array
        if over:
            write_array(study.path, new)
        kept.append(new)
    return replace(queue, arrays=kept)


def propose(
    asked: Asked, packs: Collection[int], queue: Queue, limits: Limits | None = None
) -> Proposed:
    """Return the arrays that would run `packs`, those of living tasks left out.

    `limits` are read from the cluster unless given.

    Raises StudyError where the walltime is more than the cluster gives.
    """
    plan, settings = asked.plan, asked.settings
    live = queue.live_packs()
    wanted = [p for p in sorted(packs) if p not in live]
    names = {g: group_id(key) for g, key in group_keys(plan).items()}
    group = {p: names[int(plan.group[plan.trials_in(p)[0]])] for p in wanted}
    left_P = steps_left(plan, asked.status_RF)
    left = {p: int(left_P[p]) for p in wanted}
    seconds = seconds_of_packs(wanted, left, group, asked.pace or measured_pace(asked.path))
    limits = limits or read_limits(settings)
    if limits.partition_fault is not None:
        raise StudyError(limits.partition_fault)
    if limits.max_walltime_s is not None and settings.walltime_s > limits.max_walltime_s:
        raise StudyError(
            f"a walltime of {settings.walltime_s // 60} min is more than {limits.walltime_reason}; "
            "ask for less with --time: a task whose time runs out goes back to the queue"
        )
    found = cut(
        wanted,
        seconds,
        walltime_s=settings.walltime_s,
        processes=settings.processes,
        room=limits.room,
        packs_per_job=settings.packs_per_job,
    )
    requested = EngineChoices(asked.path, plan, asked.status_RF).requested
    used = {group[p] for task in found.tasks for p in task}
    fixed = {names[g]: e for g, e in requested.items() if e != "auto" and names[g] in used}
    first, most = next_number(asked.path), limits.max_array_size
    arrays = [
        asked.array(first + i, found.tasks[i * most : (i + 1) * most], fixed)
        for i in range(-(-len(found.tasks) // most))
    ]
    total_s = None if found.seconds is None else sum(found.seconds)
    return Proposed(arrays, found.waiting, len(live), total_s, found.why, limits)


def send(study: Path, proposed: Proposed, say: Callable[[str], None]) -> list[JobArray]:
    """Submit the arrays one by one and return those that Slurm took.

    A submit limit that bites all the same ends it without an error: the rest waits. Raises
    SlurmError with a remedy for any other refusal. The caller holds the study's lock.
    """
    (study / LOGS).mkdir(parents=True, exist_ok=True)
    code = environment(study)
    sent = []
    for planned in proposed.arrays:
        array = replace(planned, environment=code)
        write_array(study, array)
        script = batch_script(study, array)
        write_by_rename(script_path(study, array.number), script.encode())
        try:
            script_file = str(script_path(study, array.number))
            said = slurm("sbatch", script_file, timeout_s=SBATCH_TIMEOUT_S)
        except SlurmSilentError as error:
            raise SlurmSilentError(
                f"{error}. Whether it took the job array is not known; "
                f"`phasecube resume {study}` finds out and sends what is missing"
            ) from error
        except SlurmError as error:
            settings = SlurmSettings.from_json(array.settings)
            why = explain_refusal(error.said, settings, proposed.limits)
            full = is_submit_limit(error.said)
            write_array(study, replace(array, withdrawn=why, refused=not full))
            if full:
                say(f"{why}; what is left waits for room")
                break
            raise SlurmError(why, error.said) from error
        array = replace(array, slurm_id=_job_id(said))
        write_array(study, array)
        say(_sentence(array))
        sent.append(array)
    return sent


def _job_id(said: str) -> str:
    from submitit import SlurmExecutor

    found: str = SlurmExecutor._get_job_id_from_submission_command(said)
    return found


def _sentence(array: JobArray) -> str:
    n_packs = sum(map(len, array.packs))
    return (
        f"job array {array.slurm_id} ({array.name}): {len(array.packs):,} tasks, {n_packs:,} packs"
    )


def submit_missing(
    study: Study,
    settings: SlurmSettings,
    flags: Mapping[str, Any],
    say: Callable[[str], None],
    pace: Pace | None = None,
) -> list[JobArray]:
    """Submit every open pack that no living task has and return the arrays that Slurm took.

    The caller holds the study's lock. Raises SlurmError with a remedy.
    """
    queue = standing_queue(study)
    plan = study.plan
    for event in deadly_packs(study, queue).values():
        give_up(study, event, len(read_runs(study.path)))
        say(f"pack {event.pack} is given up: {event.message}")
    status_RF = study.store.read_status()
    missing = plan.missing(status_RF)
    open_packs = set(missing.tolist()) - queue.live_packs()
    if not open_packs:
        say(_nothing(study, len(missing)))
        return []
    EngineChoices(study.path, plan, status_RF).withdraw_stale()
    run = append_run(study.path, plan.sweep.folder, plan.sweep.resources.device)
    asked = Asked(study.path, plan, status_RF, settings, flags, run, pace)
    proposed = propose(asked, open_packs, queue)
    for line in forecast_lines(proposed, settings):
        say(line)
    asks_gpus = bool(settings.gpus) or (settings.gres or "").startswith("gpu")
    if asks_gpus != plan.sweep.resources.device.startswith("cuda"):
        say(
            f"warning: tasks ask for {'GPUs' if asks_gpus else 'no GPU'}, and the device of "
            f"[resources] is {plan.sweep.resources.device!r}"
        )
    sent = send(study.path, proposed, say)
    left = len(open_packs) - sum(len(task) for array in sent for task in array.packs)
    if left:
        say(
            f"{left:,} packs wait: {proposed.limits.room_reason}. "
            f"`phasecube resume {study.path}` sends more as room appears; with --follow it waits"
        )
    return sent


def forecast_lines(proposed: Proposed, settings: SlurmSettings) -> list[str]:
    """Return the shape and the cost of what is proposed, in words."""
    n_tasks = sum(len(array.packs) for array in proposed.arrays)
    fault = proposed.limits.accounting_fault
    warned = [] if fault is None else [f"warning: {fault}"]
    if not n_tasks:
        return warned
    asks = [_count(settings.cpus, "core")]
    if settings.gpus or settings.gres:
        asks.append(settings.gres or _count(settings.gpus or 0, "GPU"))
    if settings.memory_mb is not None:
        asks.append(f"{settings.memory_mb:,} MB")
    at_once = f", {settings.throttle} at once" if settings.throttle else ""
    lines = [
        *warned,
        f"{_count(n_tasks, 'task')} in {_count(len(proposed.arrays), 'job array')}"
        f"{at_once}: {', '.join(asks)}, {settings.walltime_s // 60} min each ({proposed.why})",
    ]
    if proposed.seconds is not None:
        hours = proposed.seconds / settings.processes / 3600
        kind, each = ("GPU", settings.gpus) if settings.gpus else ("CPU", settings.cpus)
        lines.append(f"about {hours * (each or 1):.3g} {kind}-hours, by measured seconds a step")
    return lines


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _nothing(study: Study, n_missing: int) -> str:
    if n_missing:
        return f"{study.path}: nothing to submit; its {n_missing:,} open packs are in living tasks"
    return f"{study.path}: nothing to submit; every trial is settled"
