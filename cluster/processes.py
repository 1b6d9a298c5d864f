"""A pool of worker processes on this machine: one torch thread and one device each."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from phasecube.cluster.executor import OnEvent, Stop, devices_of
from phasecube.cluster.job import Event, PackJob
from phasecube.cluster.pack_queue import MAX_DEATHS, PackQueue
from phasecube.engine.errors import StudyError

LOG_VARIABLE = "PHASECUBE_LOG"
POLL_S = 0.1  # how late a stop signal is noticed


@dataclass
class WorkerProcess:
    """One child, the job it has and what it has said so far of its next event."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    oom_kills_before: int
    job: PackJob | None = None
    heard: bytearray = field(default_factory=bytearray)
    stopping: bool = False


class Processes:
    """Runs packs in `processes` children that die with this process."""

    name = "processes"

    def __init__(self, processes: int, threads: int = 1, device: str = "cpu") -> None:
        self.processes = processes
        self.threads = threads
        self.device = device

    def run(self, study: Path, queue: PackQueue, on_event: OnEvent, stop: Stop) -> None:
        """Run the packs of `queue`; returns when all are settled or stopped."""
        devices = devices_of(self.device)
        with selectors.DefaultSelector() as selector:
            workers: dict[int, WorkerProcess] = {}
            idle_deaths = 0
            try:
                while True:
                    if stop():
                        _ask_to_stop(workers)
                    else:
                        self._start_and_feed(study, devices, workers, selector, queue)
                    if not workers:
                        return
                    for key, _ in selector.select(POLL_S):
                        slot = int(key.data)
                        worker = workers[slot]
                        if self._listen(worker, queue, on_event):
                            continue
                        selector.unregister(key.fileobj)
                        del workers[slot]
                        if _bury(worker, queue, on_event, stop):
                            continue
                        idle_deaths += 1
                        if idle_deaths >= MAX_DEATHS:
                            raise StudyError(_why_no_worker_starts(Path(worker.log.name)))
            finally:
                for worker in workers.values():
                    worker.process.kill()
                    worker.process.wait()
                    worker.log.close()

    def _start_and_feed(
        self,
        study: Path,
        devices: list[str],
        workers: dict[int, WorkerProcess],
        selector: selectors.BaseSelector,
        queue: PackQueue,
    ) -> None:
        for slot in range(self.processes):
            worker = workers.get(slot)
            if worker is None:
                if len(workers) >= len(queue):
                    continue
                # Started without a job: it imports torch while another chooses an engine.
                worker = self._start(study, slot, devices[slot % len(devices)])
                workers[slot] = worker
                selector.register(_pipe(worker.process.stdout), selectors.EVENT_READ, slot)
            if worker.job is not None or worker.stopping:
                continue
            if len(queue) == 0:
                _close_stdin(worker)
            elif (job := queue.take()) is not None:
                worker.job = job
                with suppress(BrokenPipeError):  # it died: its stdout says so at the next select
                    stdin = _pipe(worker.process.stdin)
                    stdin.write(job.to_line().encode())
                    stdin.flush()

    def _start(self, study: Path, slot: int, device: str) -> WorkerProcess:
        # Within a task of Slurm its log takes what all of its workers print.
        path = Path(os.environ.get(LOG_VARIABLE, study / "logs" / f"worker-{slot}.log"))
        path.parent.mkdir(exist_ok=True)
        log = path.open("ab")
        command = [sys.executable, "-m", "phasecube.cluster.worker", str(study)]
        command += ["--device", device, "--threads", str(self.threads)]
        command += ["--parent", str(os.getpid())]
        threads = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **threads},
        )
        os.set_blocking(_pipe(process.stdout).fileno(), False)
        return WorkerProcess(process, log, oom_kills())

    def _listen(self, worker: WorkerProcess, queue: PackQueue, on_event: OnEvent) -> bool:
        """Take in what the worker said; False once it has gone."""
        said = os.read(_pipe(worker.process.stdout).fileno(), 65536)
        if not said:
            return False
        worker.heard += said
        *lines, rest = worker.heard.split(b"\n")
        worker.heard = bytearray(rest)
        for line in lines:
            event = Event.from_line(line.decode())
            if event.kind == "broken":
                raise StudyError(event.message)
            if event.kind == "chosen" and event.choice is not None:
                queue.chosen(event.group, event.choice)
            if event.kind in ("settled", "stopped"):
                queue.done(event.pack)
                worker.job = None
            on_event(event)
        return True


def _bury(worker: WorkerProcess, queue: PackQueue, on_event: OnEvent, stop: Stop) -> bool:
    """Take leave of a worker that has gone, and put back the pack it still had.

    False if it died without having been given one.
    """
    code = worker.process.wait()
    worker.log.close()
    for pipe in (worker.process.stdin, worker.process.stdout):
        _close(_pipe(pipe))
    job = worker.job
    if job is None:
        return worker.stopping or code == 0
    if stop():
        queue.done(job.pack)
        on_event(Event("stopped", job.pack, job.group, message=_cause(code)))
    elif not queue.died(job.pack):
        out_of_memory = code == -signal.SIGKILL and oom_kills() > worker.oom_kills_before
        cause = "the kernel killed its worker: out of memory" if out_of_memory else _cause(code)
        message = f"{cause}, {MAX_DEATHS} times; what it printed stands in {worker.log.name}"
        outcomes = {"OUT_OF_MEMORY" if out_of_memory else "FAILED": 0}
        on_event(Event("died", job.pack, job.group, outcomes, message=message))
    return True


def _why_no_worker_starts(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it printed nothing"
    return f"workers die as they start: {last} (whole in {log})"


def _cause(code: int) -> str:
    if code < 0:
        return f"its worker was killed by {signal.Signals(-code).name}"
    return f"its worker exited with code {code}"


def oom_kills() -> int:
    """Return how many processes the kernel has killed for memory since boot; 0 if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0  # not Linux
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _ask_to_stop(workers: dict[int, WorkerProcess]) -> None:
    for worker in workers.values():
        if not worker.stopping:
            worker.stopping = True
            worker.process.send_signal(signal.SIGTERM)
            _close_stdin(worker)


def _close_stdin(worker: WorkerProcess) -> None:
    worker.stopping = True
    if worker.process.stdin is not None:
        _close(worker.process.stdin)


def _close(pipe: IO[bytes]) -> None:
    with suppress(BrokenPipeError):  # nobody reads what was still to be flushed
        pipe.close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
