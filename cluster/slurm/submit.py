"""Send what a study lacks to Slurm: plan − store − packs of living tasks = job arrays.

An array is written into the study before sbatch is asked, under a name that no other has.
A death in between leaves an array without an id, which the next command finds by that
name or takes for never submitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from phasecube.cluster.cut import Pace
from phasecube.cluster.engine_choices import EngineChoices
from phasecube.cluster.give_up import give_up
from phasecube.cluster.job_array import JobArray, script_path, write_array
from phasecube.cluster.provenance import append_run, environment, read_runs
from phasecube.cluster.slurm.command import (
    SBATCH_TIMEOUT_S,
    SlurmError,
    SlurmSilentError,
    slurm,
)
from phasecube.cluster.slurm.deadly import deadly_packs
from phasecube.cluster.slurm.propose import Asked, Proposed, forecast_lines, propose
from phasecube.cluster.slurm.queue import standing_queue
from phasecube.cluster.slurm.refusals import explain_refusal, is_limit_of_tasks, is_submit_limit
from phasecube.cluster.slurm.script import LOGS, batch_script
from phasecube.cluster.slurm.settings import SlurmSettings
from phasecube.cluster.study import Study
from phasecube.engine.store import write_by_rename
from phasecube.sweeps.summary import count


def send(study: Path, proposed: Proposed, say: Callable[[str], None]) -> list[JobArray]:
    """Submit the arrays one by one and return those that Slurm took.

    A submit limit that bites all the same ends it without an error: the rest waits. Raises
    SlurmError with a remedy for any other refusal. The caller holds the study's lock.
    """
    (study / LOGS).mkdir(parents=True, exist_ok=True)
    code = environment(study)
    sent = []
    waiting = list(proposed.arrays)
    while waiting:
        array = replace(waiting.pop(0), environment=code)
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
            if is_limit_of_tasks(error.said) and len(array.packs) > 1:
                # A limit that Slurm does not tell, or others were quicker: how many does it take?
                waiting = [replace(array, packs=array.packs[: len(array.packs) // 2])]
                continue
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
        known = proposed.limits.room is not None and bool(proposed.waiting)
        why = proposed.limits.room_reason if known else "Slurm takes no more tasks now"
        say(
            f"{count(left, 'pack')} wait: {why}. "
            f"`phasecube resume {study.path}` sends more as room appears; with --follow it waits"
        )
    return sent


def _nothing(study: Study, n_missing: int) -> str:
    if n_missing:
        return f"{study.path}: nothing to submit; its {n_missing:,} open packs are in living tasks"
    return f"{study.path}: nothing to submit; every trial is settled"
