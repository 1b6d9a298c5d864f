"""What a submission would send: packs cut into tasks, tasks into arrays, and what they cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from phasecube.cluster.cut import Pace, cut, seconds_of_packs, steps_left
from phasecube.cluster.engine_choices import EngineChoices, group_id, group_keys
from phasecube.cluster.job import EngineRequest
from phasecube.cluster.job_array import JobArray, next_number
from phasecube.cluster.pace import measured_pace
from phasecube.cluster.slurm.limits import Limits, read_limits, user_name
from phasecube.cluster.slurm.queue import Queue
from phasecube.cluster.slurm.settings import SlurmSettings
from phasecube.cluster.task_marker import now
from phasecube.engine.errors import StudyError
from phasecube.sweeps.plan import Plan
from phasecube.sweeps.summary import count


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
        return JobArray(
            number=number,
            name=f"{self.plan.sweep.name}.{uuid4().hex[:8]}",
            path=str(self.path.resolve()),
            user=user_name(),
            submitted=now(),
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


def forecast_lines(proposed: Proposed, settings: SlurmSettings) -> list[str]:
    """Return the shape and the cost of what is proposed, in words."""
    n_tasks = sum(len(array.packs) for array in proposed.arrays)
    fault = proposed.limits.accounting_fault
    warned = [] if fault is None else [f"warning: {fault}"]
    if not n_tasks:
        return warned
    asks = [count(settings.cpus, "core")]
    if settings.gpus or settings.gres:
        asks.append(settings.gres or count(settings.gpus or 0, "GPU"))
    if settings.memory_mb is not None:
        asks.append(f"{settings.memory_mb:,} MB")
    at_once = f", {settings.throttle} at once" if settings.throttle else ""
    lines = [
        *warned,
        f"{count(n_tasks, 'task')} in {count(len(proposed.arrays), 'job array')}"
        f"{at_once}: {', '.join(asks)}, {settings.walltime_s // 60} min each ({proposed.why})",
    ]
    if proposed.seconds is not None:
        hours = proposed.seconds / settings.processes / 3600
        kind, each = ("GPU", settings.gpus) if settings.gpus else ("CPU", settings.cpus)
        lines.append(f"about {hours * (each or 1):.3g} {kind}-hours, by measured seconds a step")
    return lines
