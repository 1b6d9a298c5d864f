"""The batch script of a job array: submitit writes it, phasecube fills it in."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from phasecube.cluster.job_array import JobArray
from phasecube.cluster.slurm.settings import SlurmSettings

LOGS = "logs/slurm"


def batch_script(study: Path, array: JobArray) -> str:
    """Return the text for sbatch. A task learns from it the study's path and the array's number.

    submitit's own worker is not used: it takes a pickle a task, and its notion of a time-out
    counts preemption as one (docs/decisions/0008).
    """
    from submitit.slurm.slurm import _make_sbatch_string

    settings = SlurmSettings.from_json(array.settings)
    python = settings.python if " " in settings.python else shlex.quote(settings.python)
    logs = study.resolve() / LOGS
    log = shlex.quote(str(logs / "%A_%a.%t.log"))
    # %t: the step writes its log itself, so that what it says while srun dies is not lost.
    step = f"srun --unbuffered --cpus-per-task={settings.cpus} --open-mode=append --output={log}"
    # A notice that comes while Python starts finds no handler and would kill the task; ignored, it
    # is only late: the task has a clock of its own.
    step += """ sh -c 'trap "" USR1 USR2; exec "$@"' task"""
    worker = f"{python} -m phasecube.cluster.task {shlex.quote(str(study.resolve()))}"
    text: str = _make_sbatch_string(
        command=f"{step} {worker} {array.number}",
        folder=study / LOGS,
        job_name=array.name,
        partition=settings.partition,
        account=settings.account,
        qos=settings.qos,
        constraint=settings.constraint,
        gres=settings.gres,
        gpus_per_node=settings.gpus,
        cpus_per_task=settings.cpus,
        mem=None if settings.memory_mb is None else f"{settings.memory_mb}M",
        time=-(-settings.walltime_s // 60),
        nodes=1,
        ntasks_per_node=1,
        setup=[
            "export PHASECUBE_STARTED=$(date +%s)",
            f"export PHASECUBE_LOG={shlex.quote(str(logs))}/"
            "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}.0.log",
            *settings.setup,
        ],
        map_count=len(array.packs),
        array_parallelism=settings.throttle or len(array.packs),
        wckey=None,  # type: ignore[arg-type]  # else every job is of the key "submitit"
        stderr_to_stdout=True,
        use_srun=False,  # the command has its own: batch and step share the task's one log
        additional_parameters=_more(study, settings),
    )
    return text


def _more(study: Path, settings: SlurmSettings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "output": str(study.resolve() / LOGS / "%A_%a.0.log"),
        "requeue": True,
        "signal": f"USR1@{settings.notice_s}",
    }
    for line in settings.sbatch:
        option, equals, value = line.strip().removeprefix("#SBATCH").strip().partition("=")
        if not equals:
            option, _, value = option.partition(" ")
        found[option.lstrip("-")] = value.strip() or True
    return found


def log_path(study: Path, slurm_id: str) -> Path:
    """Return the log of a task, "123_4"; all its attempts append to it."""
    return study / LOGS / f"{slurm_id}.0.log"
