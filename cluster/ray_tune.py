"""Packs on Ray: a driver process hands them to Ray Tune, this process keeps the queue."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from phasecube.cluster.executor import OnEvent, Stop
from phasecube.cluster.job import Event, PackJob
from phasecube.cluster.pack_queue import MAX_DEATHS, PackQueue
from phasecube.cluster.provenance import environment
from phasecube.cluster.ray_lines import Order, Said, driver_log
from phasecube.cluster.ray_start import (
    RayPlace,
    allocated_nodes,
    driver_command,
    driver_environment,
    node_command,
)
from phasecube.engine.errors import StudyError

POLL_S = 0.1  # how late a stop signal is noticed
REFUSED = b"InvalidAuthToken"
LEAVE_S = 30.0  # for Ray to shut down in


class Ray:
    """Runs packs as trials of Ray Tune.

    Ray lives from the first pack until `close`, or the end of the `with` block: runs that
    follow one another share it.
    """

    name = "ray"

    def __init__(self, place: RayPlace | None = None) -> None:
        self.place = place or RayPlace()
        self._driver: _Driver | None = None

    @property
    def address(self) -> str:
        """Return where the Ray that runs now is found, empty before it answers."""
        return "" if self._driver is None else self._driver.address

    @property
    def token(self) -> str:
        """Return what lets another process in at `address`, empty before Ray is started."""
        environment = {} if self._driver is None else self._driver.environment
        return environment.get("RAY_AUTH_TOKEN", "")

    def __enter__(self) -> Ray:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End Ray, if it was started here, and what still runs on it."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def run(self, study: Path, queue: PackQueue, on_event: OnEvent, stop: Stop) -> None:
        """Run the packs of `queue`; returns when all are settled or stopped."""
        if len(queue) == 0:
            return
        try:
            if self._driver is None:
                self._driver = _Driver(self.place, study)
            _Run(self._driver, study.resolve(), queue, on_event).until(stop)
        except BaseException:  # what it had in hand would be told to the next run
            self.close()
            raise


class _Run:
    """One run: which packs are in the driver's hands, and what becomes of them."""

    def __init__(self, driver: _Driver, study: Path, queue: PackQueue, on_event: OnEvent) -> None:
        self.driver = driver
        self.study = study
        self.queue = queue
        self.on_event = on_event
        self.open: dict[int, PackJob] = {}
        # Other machines may have another installation; this one has one.
        self.code = json.dumps(environment(study)) if driver.has_other_machines else ""

    def until(self, stop: Stop) -> None:
        """Feed and listen until no pack is left, or all have stopped."""
        stopping = False
        while True:
            if not stopping and stop():
                stopping = True
                self.driver.order(Order())
            if not stopping:
                self.feed()
            if not self.open and (stopping or len(self.queue) == 0):
                return
            for said in self.driver.listen():
                self.hear(said, stopping)

    def feed(self) -> None:
        """Send as many packs as the driver can use."""
        while len(self.open) < self.driver.slots and (job := self.queue.take()) is not None:
            self.open[job.pack] = job
            self.driver.order(Order(str(self.study), job.to_line(), self.code))

    def hear(self, said: Said, stopping: bool) -> None:
        """Pass on what happened to a pack."""
        if said.kind == "event":
            event = Event.from_line(said.event)
            if event.kind == "broken":
                raise StudyError(event.message)
            if event.kind == "chosen" and event.choice is not None:
                self.queue.chosen(event.group, event.choice)
            if event.kind in ("settled", "stopped"):
                self.queue.done(event.pack)
                del self.open[event.pack]
            self.on_event(event)
        elif said.kind == "died":
            self.bury(said, self.open.pop(said.pack), stopping)

    def bury(self, said: Said, job: PackJob, stopping: bool) -> None:
        """Put a pack whose worker died back into the queue, unless that happened too often."""
        if stopping:
            self.queue.done(job.pack)
            self.on_event(Event("stopped", job.pack, job.group, message=said.message))
        elif said.node_died:
            self.queue.put_back(job.pack)
        elif not self.queue.died(job.pack):
            logs = self.study / "logs"
            message = f"{said.message}, {MAX_DEATHS} times; what it printed stands in {logs}/ray-*"
            outcomes = {"OUT_OF_MEMORY" if said.out_of_memory else "FAILED": 0}
            self.on_event(Event("died", job.pack, job.group, outcomes, message=message))


class _Driver:
    """The process that talks to Ray, and its pipes."""

    def __init__(self, place: RayPlace, study: Path) -> None:
        self.place = place
        self.slots = 0
        self.address = ""
        self._folder: Path | None = None
        self._heard = bytearray()
        self._log_path = driver_log(study)
        self._log_path.parent.mkdir(exist_ok=True)
        self.environment = driver_environment(place)
        self._nodes: subprocess.Popen[bytes] | None = None
        with self._log_path.open("ab") as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(
                driver_command(place),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment,
                start_new_session=True,  # Ctrl-C in a terminal is told to all but these
            )
        os.set_blocking(_pipe(self._process.stdout).fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(_pipe(self._process.stdout), selectors.EVENT_READ)
        self._answer_by_s = time.monotonic() + place.answer_s
        self._ready = False

    @property
    def has_other_machines(self) -> bool:
        """Return whether packs may run elsewhere than here."""
        return self.place.address is not None or allocated_nodes() is not None

    def order(self, order: Order) -> None:
        """Send one order."""
        with suppress(BrokenPipeError):  # it has ended: listening says so
            stdin = _pipe(self._process.stdin)
            stdin.write(order.to_line().encode())
            stdin.flush()

    def listen(self) -> Iterator[Said]:
        """Yield what was said, within POLL_S; raises StudyError once Ray has gone."""
        if not self._ready:
            self._check_answer()
        if not self._selector.select(POLL_S):
            return
        heard = os.read(_pipe(self._process.stdout).fileno(), 65536)
        if not heard:
            raise StudyError(f"the driver of Ray has ended; {self._why()}")
        self._heard += heard
        *lines, rest = self._heard.split(b"\n")
        self._heard = bytearray(rest)
        for line in lines:
            said = Said.from_line(line.decode())
            if said.kind == "begun":
                self._folder = Path(said.folder)
            elif said.kind == "ready":
                self._ready, self.address = True, said.address
                self._have_others_join(said.address)
            elif said.kind == "slots":
                self.slots = said.slots
            elif said.kind == "gone":
                raise StudyError(f"{said.message}; {self._why()}")
            else:
                yield said

    def close(self) -> None:
        """Let it end Ray, and end it if it does not."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                _pipe(pipe).close()
        self._selector.close()
        try:
            self._process.wait(LEAVE_S if self._ready else 0.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._nodes is not None:
            self._nodes.send_signal(signal.SIGTERM)
            self._nodes.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _have_others_join(self, address: str) -> None:
        command = node_command(address, str(self._folder)) if self.place.address is None else None
        if command is not None:
            with self._log_path.open("ab") as log:
                self._nodes = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.environment,
                    start_new_session=True,
                )

    def _check_answer(self) -> None:
        with self._log_path.open("rb") as log:
            log.seek(self._log_begins)
            if REFUSED in log.read():  # Ray itself would try again and again
                raise StudyError(
                    f"the Ray at {self.place.address} refuses our token: set RAY_AUTH_MODE=token "
                    "and RAY_AUTH_TOKEN to those it was started with"
                )
        if time.monotonic() > self._answer_by_s:
            raise StudyError(self._silent())

    def _silent(self) -> str:
        place = self.place
        what = (
            "Ray did not start" if place.address is None else f"no Ray answers at {place.address}"
        )
        return f"{what} within {place.answer_s:g} s; {self._why()}"

    def _why(self) -> str:
        return f"what Ray printed stands in {self._log_path}; `phasecube resume` goes on"


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
