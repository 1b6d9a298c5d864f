"""The one process behind the commands: hears them, starts tasks, sees them end.

    python -m phasecube.cluster.rehearsal.controller FOLDER SOCKET PARENT

Prints "ready" when commands may come. Leaves, and takes every task with it, on SIGTERM and
when its parent dies.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from phasecube.cluster.rehearsal import lifecycle, task_processes
from phasecube.cluster.rehearsal.commands import answer, step_started
from phasecube.cluster.rehearsal.fake_cluster import FakeCluster
from phasecube.cluster.rehearsal.misfortunes import Misfortunes, UnknownMisfortuneError
from phasecube.cluster.rehearsal.placing import place
from phasecube.cluster.rehearsal.state import State
from phasecube.cluster.worker import die_with_parent

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
LEAVING_S = 0.01  # between looks while a task's processes are leaving
BUSY_S = 0.05  # between looks at clocks and waiting tasks
REPLY_S = 5.0  # a client that takes no answer for so long is left


class Controller:
    """Commands in, tasks out, until `stop` is set."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.misfortunes = Misfortunes(state)
        self.stop = False
        self.selector = selectors.DefaultSelector()
        self.heard: dict[socket.socket, bytearray] = {}

    def run(self, door: socket.socket, woken: socket.socket) -> None:
        """Answer at `door`; `woken` becomes readable when a child has ended."""
        self.selector.register(door, selectors.EVENT_READ)
        self.selector.register(woken, selectors.EVENT_READ)
        while not self.stop:
            for key, _ in self.selector.select(self._patience_s()):
                if key.fileobj is door:
                    self._open(door)
                elif key.fileobj is woken:
                    woken.recv(4096)
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._hear(key.fileobj)
            self._reap()
            self.misfortunes.tick()
            lifecycle.tick(self.state)
            place(self.state, lambda task, node: lifecycle.start(self.state, task, node))

    def _patience_s(self) -> float:
        if any(task.ending is not None for task in self.state.live.values()):
            return LEAVING_S
        return BUSY_S

    def _open(self, door: socket.socket) -> None:
        line, _ = door.accept()
        line.setblocking(False)
        self.heard[line] = bytearray()
        self.selector.register(line, selectors.EVENT_READ)

    def _hear(self, line: socket.socket) -> None:
        try:
            said = line.recv(1 << 20)
        except BlockingIOError:
            return
        except ConnectionError:
            said = b""
        self.heard[line] += said
        whole = self.heard[line].endswith(b"\n")
        if said and not whole:
            return
        message = bytes(self.heard.pop(line))
        self.selector.unregister(line)
        with line:
            if whole and (reply := self._reply(json.loads(message))) is not None:
                line.settimeout(REPLY_S)
                # A client killed while it waits is its own affair.
                with suppress(OSError):
                    line.sendall(json.dumps(reply).encode())

    def _reply(self, message: dict[str, Any]) -> dict[str, Any] | None:
        if message["command"] == "step":
            step_started(self.state, message)
            return {"code": 0}
        if message["command"] == "do":
            try:
                return {"value": self.misfortunes.do(message["action"], **message["options"])}
            except UnknownMisfortuneError as error:
                return {"error": str(error)}
        said = answer(self.state, message)
        return None if said is None else asdict(said)

    def _reap(self) -> None:
        with suppress(ChildProcessError):  # it has none
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                lifecycle.batch_ended(self.state, pid, status)


def main(folder: Path, path: str, parent: int) -> int:
    """Be the controller until told to stop; return the exit code."""
    lives = die_with_parent(parent, signal.SIGTERM)
    # Orphans of tasks come here, so that none stays a zombie where nobody else reaps.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)
    if not lives:
        return 1
    cluster = FakeCluster.from_json(json.loads((folder / "cluster.json").read_text("utf-8")))
    controller = Controller(State(cluster, path, folder))

    def stop(_number: int, _frame: FrameType | None) -> None:
        controller.stop = True

    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen(128)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        try:
            controller.run(door, woken)
        finally:
            signal.set_wakeup_fd(-1)  # children that end from here on wake nobody
            live = {task.pid: 0 for task in controller.state.live.values() if task.pid}
            task_processes.sweep(path, live)
            # Nobody else may be left to do it.
            with suppress(OSError):
                Path(path).unlink()
                Path(path).parent.rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
