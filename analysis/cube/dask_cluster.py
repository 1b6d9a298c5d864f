"""Dask workers on Slurm for reductions too large for one machine. The only dask_jobqueue.

The scheduler lives in this process; each worker is a job. Who asks for them says how Slurm
is spoken to: nothing here runs a Slurm command but through `Slurm`.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from phasecube.engine.errors import StudyError

START_TIMEOUT_S = 600.0
LOOK_EVERY_S = 5.0
LOST_S = 60.0  # without any worker before the reduction is given up, and a worker without us
LOG_LINES = 6


@dataclass(frozen=True)
class WorkerJobs:
    """What the worker jobs ask of Slurm, and where they run. A megabyte is 2**20 bytes.

    None leaves a choice to the cluster. `name` is the jobs' own: by it they are found again.
    """

    n: int
    name: str
    cores: int
    memory_mb: int | None
    walltime_s: int
    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    setup: tuple[str, ...]
    sbatch: tuple[str, ...]
    python: str
    logs: Path


class Slurm(Protocol):
    """How Slurm is asked. Each may raise StudyError with what Slurm said."""

    def submit(self, script: str) -> str:
        """Submit the script at a path and return what sbatch prints."""

    def waiting(self) -> list[str]:
        """Return for each worker job still in the queue "running", or why it waits."""

    def cancel(self) -> None:
        """Cancel every worker job; return when none is in the queue."""


@contextmanager
def workers_on_slurm(
    jobs: WorkerJobs,
    slurm: Slurm,
    say: Callable[[str], None],
    *,
    timeout_s: float = START_TIMEOUT_S,
) -> Iterator[None]:
    """Within the `with` block dask computes on worker jobs; after it none of them is left.

    It begins when the first worker is up; the others join as they start. Raises StudyError
    where dask-jobqueue is not installed, Slurm refuses the jobs, none comes up within
    `timeout_s` or all are lost.
    """
    make_cluster, client_of, lost = _dask()
    slurm.waiting()  # first: says at once where there is no Slurm
    jobs.logs.mkdir(parents=True, exist_ok=True)
    refused: list[StudyError] = []
    try:
        cluster = make_cluster(jobs, slurm, refused)
        try:
            cluster.scale(jobs=jobs.n)
            _wait(cluster, jobs, slurm, refused, say, timeout_s)
            with client_of(cluster):
                yield
        except lost as error:
            raise StudyError(
                f"the dask workers were lost ({type(error).__name__}): out of memory, out of "
                f"walltime or cancelled; their logs are in {jobs.logs}{_last_words(jobs)}"
            ) from error
        finally:
            cluster.close(timeout=LOST_S)
    finally:
        slurm.cancel()  # also a job whose submission was cut off: dask does not know its id


def _dask() -> tuple[Callable[..., Any], Callable[[Any], Any], tuple[type[BaseException], ...]]:
    """Return what starts a cluster, what connects to it, and the errors of workers lost."""
    # Importing dask_jobqueue takes Ctrl-C over: it would end us with exit code 0.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        import cryptography  # noqa: F401 dask asks for it late, in the middle of a start
        import dask
        from dask_jobqueue.slurm import SLURMCluster, SLURMJob
        from distributed import Client
        from distributed.core import Status
        from distributed.gc import disable_gc_diagnosis
        from distributed.scheduler import KilledWorker, NoWorkerError
    except ModuleNotFoundError as error:
        raise StudyError(
            f"--dask slurm needs {error.name}, which is not installed; "
            "pip install 'phasecube[dask-slurm]'"
        ) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def make(jobs: WorkerJobs, slurm: Slurm, refused: list[StudyError]) -> Any:
        class Job(SLURMJob):
            """A worker job whose refusal by Slurm is noted: dask would wait for it in silence."""

            async def start(self) -> None:
                try:
                    await super().start()  # type: ignore[no-untyped-call]
                except StudyError as error:
                    refused.append(error)
                    self.status = Status.running  # dask has no word for a refused job

            async def _submit_job(self, script_filename: str) -> str:
                return await asyncio.to_thread(slurm.submit, script_filename)

            async def close(self) -> None:
                self.status = Status.closed  # `slurm.cancel` ends all jobs at once

        # The scheduler keeps it from its start on. Without it lost workers are waited for for ever.
        with dask.config.set({"distributed.scheduler.no-workers-timeout": f"{LOST_S:g}s"}):
            cluster = SLURMCluster(job_cls=Job, **_options(jobs, dask.config))  # type: ignore[arg-type]
        # A Ctrl-C that falls into its callback on garbage collection would be swallowed.
        disable_gc_diagnosis(force=True)  # type: ignore[no-untyped-call]
        return cluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # we say ourselves what fails
    return make, Client, (KilledWorker, NoWorkerError)


def _options(jobs: WorkerJobs, config: Any) -> dict[str, Any]:
    """Return the arguments of a SLURMCluster. What they leave open, dask's configuration says."""
    extra = ["--no-dashboard"]
    if jobs.memory_mb is None:  # the last of two counts
        extra += ["--memory-limit", "auto"]
    own = config.get("jobqueue.slurm.scheduler-options", {})
    return {
        "queue": jobs.partition,
        "account": jobs.account,
        "cores": jobs.cores,
        "processes": 1,
        "memory": f"{jobs.memory_mb or 1024}MiB",
        "job_mem": f"{jobs.memory_mb or 1024}M",
        "job_directives_skip": ["--mem="] if jobs.memory_mb is None else [],
        "walltime": str(-(-jobs.walltime_s // 60)),
        "job_name": jobs.name,
        "job_script_prologue": list(jobs.setup),
        "job_extra_directives": _directives(jobs),
        "worker_extra_args": extra,
        "python": jobs.python if " " in jobs.python else shlex.quote(jobs.python),
        "log_directory": str(jobs.logs),
        "death_timeout": LOST_S,
        # Whoever reaches a scheduler without TLS runs code as its user.
        "security": True,
        "shared_temp_directory": str(jobs.logs),
        "scheduler_options": {**own, "dashboard_address": "127.0.0.1:0"},
        "silence_logs": "critical",
    }


def _directives(jobs: WorkerJobs) -> list[str]:
    asked = {"qos": jobs.qos, "constraint": jobs.constraint}
    lines = [f"--{key}={shlex.quote(value)}" for key, value in asked.items() if value is not None]
    return lines + [line.strip().removeprefix("#SBATCH").strip() for line in jobs.sbatch]


def _wait(
    cluster: Any,
    jobs: WorkerJobs,
    slurm: Slurm,
    refused: list[StudyError],
    say: Callable[[str], None],
    timeout_s: float,
) -> None:
    """Return when a worker is up; raise StudyError with the reason if none comes."""
    start, looked, said = time.monotonic(), 0.0, ""
    say(f"{jobs.n} dask worker{'s' * (jobs.n > 1)} asked of Slurm; logs in {jobs.logs}")
    while not cluster.scheduler.workers:
        if refused:
            raise refused[0]
        now = time.monotonic()
        if now - start > LOOK_EVERY_S and now - looked > LOOK_EVERY_S:
            looked = now
            waiting = slurm.waiting()
            if not waiting and not cluster.scheduler.workers:
                raise StudyError(
                    "the dask workers ended before they reached the scheduler at "
                    f"{cluster.scheduler.address}; their logs are in {jobs.logs}"
                    f"{_last_words(jobs)}"
                )
            reason = "; ".join(dict.fromkeys(waiting))
            if reason != said:
                say(f"waiting for dask workers: {reason}")
                said = reason
        if now - start > timeout_s:
            raise StudyError(
                f"no dask worker came up within {timeout_s:g} s ({said}); their jobs are "
                "cancelled. Try again later, or ask for less in [cluster.slurm]"
            )
        time.sleep(0.1)
    n = len(cluster.scheduler.workers)
    say(f"{n} of {jobs.n} dask workers up after {time.monotonic() - start:.0f} s")


def _last_words(jobs: WorkerJobs) -> str:
    """Return the end of the newest of the jobs' logs, on lines of its own."""
    written = [p for p in jobs.logs.glob(f"{jobs.name}-*") if p.stat().st_size]
    if not written:
        return ""
    newest = max(written, key=lambda p: p.stat().st_mtime)
    lines = newest.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n" + "\n".join([f"{newest.name}:", *(f"  {line}" for line in lines)])
