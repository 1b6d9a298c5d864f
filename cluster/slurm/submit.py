"""Send what a study lacks to Slurm: plan − store − packs of living tasks = job arrays.

An array is written into the study before sbatch is asked, under a name that no other has.
A death in between leaves an array without an id, which the next command finds by that
name or takes for never submitted.
"""

from __future__ import annotations

import getpass
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from phasecube.cluster.cut import Pace, cut, seconds_of_packs, steps_left
from phasecube.cluster.engine_choices import EngineChoices, group_id, group_keys
from phasecube.cluster.job import Event
from phasecube.cluster.job_array import (
    JobArray,
    next_number,
    read_arrays,
    script_path,
    with_ended,
    write_array,
)
from phasecube.cluster.job_state import DEATHS, JobState
from phasecube.cluster.pack_queue import MAX_DEATHS
from phasecube.cluster.provenance import environment
from phasecube.cluster.slurm.command import SlurmError, SlurmSilentError, slurm
from phasecube.cluster.slurm.limits import Limits, read_limits
from phasecube.cluster.slurm.queue import Queue, read_queue
from phasecube.cluster.slurm.refusals import explain_refusal, is_submit_limit
from phasecube.cluster.slurm.script import LOGS, batch_script
from phasecube.cluster.slurm.settings import SlurmSettings
from phasecube.cluster.study import Study
from phasecube.cluster.task_marker import read_markers
from phasecube.engine.errors import StudyError
from phasecube.engine.store import write_by_rename


@dataclass(frozen=True)
class Proposed:
    """Arrays that would be submitted now, and what waits for room or runs already."""

    arrays: Sequence[JobArray]
    waiting: Sequence[int]  # packs
    live: int  # packs in tasks that may run
    seconds: float | None  # of all tasks, one core each; None while nothing is measured
    why: str
    limits: Limits


def standing_queue(study: Study) -> Queue:
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
    study: Study, settings: SlurmSettings, packs: Collection[int], queue: Queue, run: int
) -> Proposed:
    """Return the arrays that would run `packs`, those of living tasks left out."""
    plan = study.plan
    live = queue.live_packs()
    wanted = [p for p in sorted(packs) if p not in live]
    status_RF = study.store.read_status()
    keys = {g: group_id(key) for g, key in group_keys(plan).items()}
    group = {p: keys[int(plan.group[plan.trials_in(p)[0]])] for p in wanted}
    left_P = steps_left(plan, status_RF)
    seconds = seconds_of_packs(
        wanted, {p: int(left_P[p]) for p in wanted}, group, measured_pace(study.path)
    )
    limits = read_limits(settings)
    if limits.max_walltime_s is not None and settings.walltime_s > limits.max_walltime_s:
        raise StudyError(
            f"--time {settings.walltime_s // 60} min is more than {limits.walltime_reason}; "
            "ask for less: a task whose time runs out goes on in a further one"
        )
    found = cut(
        wanted,
        seconds,
        walltime_s=settings.walltime_s,
        processes=settings.processes,
        room=limits.room,
        packs_per_job=settings.packs_per_job,
    )
    requested = EngineChoices(study.path, plan, status_RF).requested
    asked = {keys[g]: engine for g, engine in requested.items() if engine != "auto"}
    first = next_number(study.path)
    arrays = [
        _array(study, settings, first + i, run, found.tasks[start : start + limits.max_array_size])
        for i, start in enumerate(range(0, len(found.tasks), limits.max_array_size))
    ]
    used = {group[p] for task in found.tasks for p in task}
    requested_here = {g: engine for g, engine in asked.items() if g in used}
    arrays = [replace(array, requested=requested_here) for array in arrays]
    total_s = None if found.seconds is None else sum(found.seconds)
    return Proposed(arrays, found.waiting, len(live), total_s, found.why, limits)


def send(study: Study, proposed: Proposed, say: Callable[[str], None]) -> list[JobArray]:
    """Submit the arrays one by one and return those that Slurm took.

    A submit limit that bites all the same ends it without an error: the rest waits. Raises
    SlurmError with a remedy for any other refusal. The caller holds the study's lock.
    """
    (study.path / LOGS).mkdir(parents=True, exist_ok=True)
    code = environment(study.path)
    sent = []
    for planned in proposed.arrays:
        array = replace(planned, environment=code)
        write_by_rename(
            script_path(study.path, array.number), batch_script(study.path, array).encode()
        )
        write_array(study.path, array)
        try:
            said = slurm("sbatch", str(script_path(study.path, array.number)))
        except SlurmSilentError as error:
            raise SlurmSilentError(
                f"{error}. Whether it took the job array is not known; "
                f"`phasecube resume {study.path}` finds out and sends what is missing"
            ) from error
        except SlurmError as error:
            settings = SlurmSettings.from_json(array.settings)
            why = explain_refusal(error.said, settings, proposed.limits)
            write_array(study.path, replace(array, withdrawn=why))
            if is_submit_limit(error.said):
                say(f"{why}; what is left waits for room")
                break
            raise SlurmError(why, error.said) from error
        array = replace(array, slurm_id=_job_id(said))
        write_array(study.path, array)
        say(_sentence(array))
        sent.append(array)
    return sent


def _array(
    study: Study,
    settings: SlurmSettings,
    number: int,
    run: int,
    tasks: Sequence[Sequence[int]],
) -> JobArray:
    token = uuid4().hex[:8]
    return JobArray(
        number=number,
        token=token,
        name=f"{study.sweep.name}.{token}",
        path=str(study.path.resolve()),
        user=getpass.getuser(),
        submitted=time.strftime("%Y-%m-%dT%H:%M:%S"),
        run=run,
        settings=settings.to_json(),
        environment={},
        packs=tasks,
    )


def _job_id(said: str) -> str:
    from submitit import SlurmExecutor

    found: str = SlurmExecutor._get_job_id_from_submission_command(said)
    return found


def _sentence(array: JobArray) -> str:
    n_packs = sum(map(len, array.packs))
    return (
        f"job array {array.slurm_id} ({array.name}): {len(array.packs):,} tasks, {n_packs:,} packs"
    )


def measured_pace(study: Path) -> Pace:
    """Return what all tasks so far measured: by group, the trial-steps and their seconds."""
    steps: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for array in read_arrays(study):
        for marker in read_markers(study, array.number).values():
            for group, (n, s) in marker.pace.items():
                steps[group] += n
                seconds[group] += s  # type: ignore[assignment]
    return {group: (steps[group], float(seconds[group])) for group in steps}


def deadly_packs(study: Path, queue: Queue) -> Mapping[int, Event]:
    """Return the packs whose tasks died too often while they had them, each as a `died` event.

    A failure that the task itself tells of (a full disk, other packages) is no pack's.
    """
    deaths: Counter[int] = Counter()
    last: dict[int, tuple[JobState, str]] = {}
    for array in queue.arrays:
        markers = read_markers(study, array.number)
        for task, (state, said) in array.ended.items():
            marker = markers.get(task)
            if JobState(state) not in DEATHS or marker is None or marker.state != "running":
                continue
            for pack in marker.in_hand:
                deaths[pack] += 1
                last[pack] = (JobState(state), f"{marker.slurm_id} on {marker.host}: {said}")
    found = {}
    for pack in (p for p, n in deaths.items() if n % MAX_DEATHS == 0):
        state, said = last[pack]
        outcome = "OUT_OF_MEMORY" if state is JobState.OUT_OF_MEMORY else "FAILED"
        message = f"the tasks that had it ended {state.value} {MAX_DEATHS} times, last {said}"
        found[pack] = Event("died", pack, 0, {outcome: 0}, message=message)
    return found
