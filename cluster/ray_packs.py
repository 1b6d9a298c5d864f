"""A pack as a trainable of Ray Tune: text in, events out, numbers into the store.

Imported by the driver and the workers of Ray alone: it is Ray at its top.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from phasecube.cluster.job import Event, PackJob
from phasecube.cluster.provenance import drift, environment
from phasecube.cluster.ray_lines import worker_log
from phasecube.cluster.study import exists
from phasecube.engine.errors import PhasecubeError, StudyError

LISTEN_S = 0.5  # how late a stop is heard, where the pack has nothing to tell
EVENTS, DONE = "events", "done"
LAST = ("settled", "stopped", "broken")


class PackTrainable(Trainable):
    """Runs the packs it is given, one after another, in one thread of this process.

    `config` holds `study`, `job` (a PackJob's line), `device` and `threads`. A result's
    `events` are lines, as they happened since the result before.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Begin with the first pack; torch is not imported before the thread needs it."""
        self._jobs: queue.SimpleQueue[_Pack | None] = queue.SimpleQueue()
        # One thread for all packs: torch keeps its number of threads by the calling thread.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next pack in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Return the events since the last call, or none after LISTEN_S."""
        said = [*self._pack.wait(LISTEN_S)]
        if self._pack.error is not None:
            raise self._pack.error
        done = bool(said) and said[-1].kind in LAST
        return {EVENTS: [event.to_line() for event in said], DONE: done}

    def ask_to_stop(self, pack: int) -> None:
        """Have `pack`, if it is the one that runs, write a checkpoint and end."""
        if self._pack.job.pack == pack:
            self._pack.stop.set()

    def cleanup(self) -> None:
        """End the thread; a pack that still runs writes its checkpoint first."""
        self._pack.stop.set()
        self._jobs.put(None)
        self._thread.join()

    def _begin(self, config: dict[str, Any]) -> None:
        self._pack = _Pack(config)
        self._jobs.put(self._pack)

    def _run(self) -> None:
        runner, runs = None, None
        while (pack := self._jobs.get()) is not None:
            try:
                log_into(pack.study)
                if runs != (pack.study, pack.job.run):  # else the plan may be another by now
                    from phasecube.cluster.pack_runner import PackRunner

                    check_code(pack.study, pack.environment)
                    runner = PackRunner(pack.study, pack.device, pack.threads)
                    runs = (pack.study, pack.job.run)
                assert runner is not None
                runner.run(pack.job, pack.stop.is_set, pack.tell)
            except (PhasecubeError, OSError) as error:
                pack.tell(Event("broken", pack.job.pack, pack.job.group, message=str(error)))
            except Exception as error:  # noqa: BLE001 raised again by the step that waits for it
                pack.error = error
                pack.told.put(None)


class _Pack:
    """One pack, and what it has told so far."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.study = Path(config["study"])
        self.job = PackJob.from_line(config["job"])
        self.environment = str(config["environment"])
        self.threads = int(config["threads"])
        # Of the GPUs Ray shows this process the one it gave it, whichever that is.
        self.device = "cuda:0" if config["device"].startswith("cuda") else str(config["device"])
        self.stop = threading.Event()
        self.told: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.tell = self.told.put
        self.error: Exception | None = None

    def wait(self, seconds: float) -> list[Event]:
        """Return what was told and not yet heard; wait for the first, not for the others."""
        said: list[Event] = []
        try:
            while (event := self.told.get(timeout=seconds if not said else 0.0)) is not None:
                said.append(event)
        except queue.Empty:
            pass
        return said


def machine() -> str:
    """Return the name of this machine; several nodes of a Slurm may stand on one."""
    return os.environ.get("SLURMD_NODENAME", socket.gethostname())


def check_code(study: Path, environment_then: str) -> None:
    """Raise StudyError where this machine's packages or code are not those of the driver's."""
    changed = drift(json.loads(environment_then), environment(study)) if environment_then else []
    if changed:
        raise StudyError(
            f"{machine()} has other code than the driver's machine: {'; '.join(changed)}; "
            "install the same there, or run on machines that share one installation"
        )


def log_into(study: Path) -> None:
    """Let what this process prints stand in the study's logs, a file a machine.

    Raises StudyError where this machine does not see the study.
    """
    if not exists(study):
        raise StudyError(
            f"{machine()} does not see {study}: a study that Ray runs on several "
            "machines must stand on a file system that all of them share"
        )
    path = worker_log(study, machine())
    path.parent.mkdir(exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
