"""`report` and `export`: what a study says."""

from __future__ import annotations

import argparse
import getpass
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from phasecube.cluster.slurm.command import SlurmError, SlurmSilentError, slurm
from phasecube.cluster.study import Study

if TYPE_CHECKING:
    from phasecube.analysis.cube.dask_cluster import WorkerJobs
    from phasecube.cluster.slurm.settings import SlurmSettings

LOGS = "logs/dask"
GONE_TIMEOUT_S = 45.0  # Slurm kills what ignores its first signal after KillWait, 30 s by default


def report(arguments: argparse.Namespace) -> int:
    """Write the report page of a study."""
    from phasecube.analysis.report.page import write_report

    study = _with_plan(arguments)
    if arguments.dask == "slurm":
        from phasecube.analysis.cube.dask_cluster import workers_on_slurm

        settings = _settings(study)
        jobs = _worker_jobs(study, settings, arguments.dask_workers)
        asked = _OnSlurm(jobs.name, settings)
        timeout_s = arguments.dask_timeout
        with _EndedBySignal() as ended:
            with workers_on_slurm(jobs, asked, _say, timeout_s=timeout_s):
                ended.check()
                page = write_report(study.resolve(), chunks="auto")
            ended.check()
    else:
        page = write_report(study, chunks="auto" if arguments.dask else None)
    print(page)
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write a study as NetCDF or Parquet."""
    from phasecube.analysis.cube.export import export

    study, curves, vectors = _with_plan(arguments), arguments.curves, arguments.vectors
    print(export(study, arguments.target, curves=curves, vectors=vectors))
    return 0


def _with_plan(arguments: argparse.Namespace) -> Path:
    study = Study(arguments.study)
    _ = study.plan  # rebuilt where its file is gone: the cube is read through it
    return study.path


def _say(line: str) -> None:
    print(line, flush=True)


def _settings(study: Path) -> SlurmSettings:
    """Return what a task of the study would ask of Slurm, as when it was submitted last."""
    from phasecube.cluster.slurm.settings import resolve
    from phasecube.commands.slurm import last_flags

    sweep = Study(study).sweep
    return resolve(sweep.cluster.slurm, last_flags(study), threads=sweep.resources.threads)


def _worker_jobs(study: Path, settings: SlurmSettings, n: int) -> WorkerJobs:
    """Return the jobs of dask workers: as a task of the study, without its GPUs."""
    from phasecube.analysis.cube.dask_cluster import WorkerJobs

    return WorkerJobs(
        n=n,
        name=f"dask.{uuid4().hex[:8]}",
        cores=settings.cpus,
        memory_mb=settings.memory_mb,
        walltime_s=settings.walltime_s,
        partition=settings.partition,
        account=settings.account,
        qos=settings.qos,
        constraint=settings.constraint,
        setup=settings.setup,
        sbatch=settings.sbatch,
        python=settings.python,
        logs=study.resolve() / LOGS,
    )


class _OnSlurm:
    """Worker jobs of one name, through Slurm's own commands."""

    def __init__(self, name: str, settings: SlurmSettings) -> None:
        self.name = name
        self.settings = settings

    def submit(self, script: str) -> str:
        """Return what sbatch prints; raise SlurmError with a remedy."""
        from phasecube.cluster.slurm.refusals import explain_refusal

        try:
            return slurm("sbatch", script)
        except SlurmSilentError:
            raise
        except SlurmError as error:
            why = explain_refusal(error.said, self.settings)
            why = why.removeprefix("Slurm refused the job array: ")
            raise SlurmError(f"Slurm refused the dask workers: {why}", error.said) from error

    def waiting(self) -> list[str]:
        """Return for each job in the queue "running", or why it waits."""
        from phasecube.cluster.slurm.reasons import why_pending

        found = [line.split("|") for line in self._queued("%T|%r")]
        return [why_pending(why) if state == "PENDING" else state.lower() for state, why in found]

    def cancel(self) -> None:
        """Cancel the jobs; return when none is in the queue, or say so after a while."""
        end = time.monotonic() + GONE_TIMEOUT_S
        if self._queued("%i"):
            slurm("scancel", *self._mine())
        while left := self._queued("%i"):
            if time.monotonic() > end:
                _say(f"Slurm is still ending the cancelled job {', '.join(left)}")
                return
            time.sleep(0.2)

    def _queued(self, columns: str) -> list[str]:
        return slurm("squeue", "-h", *self._mine(), "-o", columns).splitlines()

    def _mine(self) -> tuple[str, ...]:
        return f"--name={self.name}", f"--user={getpass.getuser()}"


class _EndedBySignal:
    """Within the `with` block SIGINT and SIGTERM end the command, and the worker jobs with it.

    `check` ends it too where the signal fell into code that swallows every exception, as
    the standard library's uuid does while dask connects.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def check(self) -> None:
        """End the command if a signal came."""
        if self.number:
            sys.exit(128 + self.number)

    def _end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.number = number
        self.check()

    def __enter__(self) -> _EndedBySignal:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._end)
        return self

    def __exit__(self, *ended: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
