"""Start and stop an imitated Slurm, and let things go wrong in it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from phasecube.cluster.rehearsal import client, task_processes
from phasecube.cluster.rehearsal.fake_cluster import FakeCluster
from phasecube.engine.errors import PhasecubeError

COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr", "srun")
OF_A_TASK = ("SLURM_", "SLURMD_", "SBATCH_", task_processes.MARK)
STOP_S = 10.0  # the controller kills what runs and leaves; longer is a fault


class RehearsalError(PhasecubeError):
    """The imitated Slurm cannot start, or cannot do what it was asked."""


class FakeSlurm:
    """A cluster in a folder: `with FakeSlurm(folder) as slurm: ...`.

    Use it from the thread that lives longest: the controller dies with the thread that
    started it, and every task with the controller.
    """

    def __init__(self, folder: Path, cluster: FakeCluster | None = None) -> None:
        self.folder = folder.absolute()
        self.cluster = cluster or FakeCluster()
        self.process: subprocess.Popen[str] | None = None
        # The path of a socket may have a hundred characters, and folders of studies are long.
        self.socket_folder = ""

    @property
    def socket(self) -> str:
        """Return the path the commands speak to."""
        return f"{self.socket_folder}/socket"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the controller and wait until it answers.

        Raises RehearsalError, with what the controller said, where it does not start.
        """
        if not task_processes.PROC.is_dir():
            raise RehearsalError("a rehearsal finds its processes in /proc, so it needs Linux")
        for name in ("bin", "scripts"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in COMMANDS:
            self._write_command(name)
        (self.folder / "cluster.json").write_text(json.dumps(self.cluster.to_json()), "utf-8")
        self.socket_folder = tempfile.mkdtemp(prefix="slurm-")
        module = "phasecube.cluster.rehearsal.controller"
        place = [str(self.folder), self.socket, str(os.getpid())]
        with (self.folder / "controller.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *place],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            self.stop()
            said = (self.folder / "controller.log").read_text("utf-8").strip()
            raise RehearsalError(f"the rehearsal's controller did not start: {said[-500:]}")

    def stop(self) -> None:
        """Stop the controller and kill every process of every task; once is enough."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()
        task_processes.sweep(self.socket)  # in case the controller was killed before
        shutil.rmtree(self.socket_folder, ignore_errors=True)

    def crash(self) -> None:
        """Kill the controller without warning; what runs goes on until `stop`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def environment(self) -> dict[str, str]:
        """Return an environment in which sbatch and the others are this cluster's."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        # A study started inside a real task must not take that one's numbers for its own.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OF_A_TASK)}
        return {**kept, "PATH": path, client.SOCKET: self.socket}

    def do(self, action: str, **options: Any) -> Any:
        """Let something happen and return what there is to tell of it.

        requeue, kill, out_of_memory, launch_failure, unsaved_start, forget (task);
        preempt (task, mode, grace_s); fail_node (node, linger_s), restore_node (node);
        silence (seconds); lose_arrays (since, the id of an array);
        storm (rate_per_s, seed, kinds), calm; tasks, interruptions. A task is "12_3".
        Raises RehearsalError where it cannot happen.
        """
        request: dict[str, object] = {"command": "do", "action": action, "options": options}
        answer = client.ask(self.socket, request)
        if answer is None:
            raise RehearsalError(f"{action}: the rehearsal's controller does not answer")
        if "error" in answer:
            raise RehearsalError(str(answer["error"]))
        return answer["value"]

    def tasks(self) -> list[dict[str, Any]]:
        """Return every task with its state, reason, node, restarts and pid."""
        tasks: list[dict[str, Any]] = self.do("tasks")
        return tasks

    def _write_command(self, name: str) -> None:
        words = shlex.join([sys.executable, "-S", "-I", client.__file__, name])
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n', "utf-8")
        path.chmod(0o755)
