"""A user at the login node of an imitated cluster: types commands, looks, waits."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phasecube.cli import main
from phasecube.cluster.job_array import JobArray, read_arrays
from phasecube.cluster.rehearsal import FakeCluster, FakeSlurm
from phasecube.cluster.study import Study
from phasecube.cluster.task_marker import TaskMarker, read_markers
from phasecube.engine.record import Outcome, Status

PATIENCE_S = 60.0  # of a busy machine
FAST: dict[str, Any] = {"nodes": 2, "requeue_delay_s": 0.1, "kill_wait_s": 0.5}
# Instead of phasecube on a node: a task that runs and does nothing.
IDLE = ("--python", "sleep 600 #")
WALK = '''
"""A walk downhill, without tensors: each step takes WALK_PAUSE_S."""

import os
import time

from phasecube import experiment_function


@experiment_function(params={"rate": 0.1}, measures={"loss": "1"})
def train(trial):
    value = 1.0 + trial.seed
    for step in range(trial.steps + 1):
        trial.report(step, loss=value)
        value *= 1 - trial.params.rate
        time.sleep(float(os.environ.get("WALK_PAUSE_S", "0")))
'''
# Two rates, five seeds: ten packs of one trial.
SWEEP = """
name = "walk"
experiment = "walk.py:train"
fixed = { steps = 10 }
[axes.rate]
values = [0.1, 0.2]
[axes.seed]
integers = { start = 0, stop = 4 }
[record]
steps = { every = 5 }
[resources]
pack_size = 1
processes = 1
[cluster.slurm]
walltime = "10min"
drift = "warn"
"""


class User:
    """Runs phasecube in a folder that holds walk.toml; its study is studies/walk."""

    def __init__(self, folder: Path, slurm: FakeSlurm | None, sweep: str = SWEEP) -> None:
        self.folder = folder
        self.slurm = slurm
        if slurm is None:
            empty = folder / "no_slurm_here"
            empty.mkdir()
            self.environment = {**os.environ, "PATH": str(empty)}
        else:
            self.environment = slurm.environment()
        # Slurm strikes tasks that were cancelled before they started: no one can forget them.
        self.before = {task["array"] for task in slurm.tasks()} if slurm else set()
        self.environment["PHASECUBE_CLUSTERS"] = str(folder / "no_profiles.toml")
        (folder / "walk.py").write_text(WALK)
        self.write(sweep)

    def write(self, sweep: str) -> None:
        """Write the sweep file."""
        (self.folder / "walk.toml").write_text(sweep)

    def said(self, *arguments: object, code: int = 0) -> str:
        """Return what a command prints, run as a user does; a traceback is part of no answer."""
        done = self.started(*arguments)
        output, _ = done.communicate(timeout=120)
        assert done.returncode == code, output
        assert "Traceback" not in output
        return output

    def started(self, *arguments: object) -> subprocess.Popen[str]:
        """Return a command that goes on by itself."""
        return subprocess.Popen(
            [sys.executable, "-m", "phasecube", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def typed(self, *arguments: object, code: int = 0) -> str:
        """Return what a command prints, run in this process: the same, a second sooner."""
        output = io.StringIO()
        with self.inside(), redirect_stdout(output), redirect_stderr(output):
            returned = main([*map(str, arguments)])
        assert returned == code, output.getvalue()
        return output.getvalue()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this process stand in the user's folder and environment."""
        with pytest.MonkeyPatch.context() as patch, chdir(self.folder):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield

    @property
    def path(self) -> Path:
        """Return the study's folder."""
        return self.folder / "studies" / "walk"

    @property
    def study(self) -> Study:
        """Return the study as it stands."""
        return Study(self.path)

    def arrays(self) -> list[JobArray]:
        """Return the arrays that the study keeps."""
        return read_arrays(self.path)

    def marker(self, array: int, task: int) -> TaskMarker | None:
        """Return what a task says of itself."""
        return read_markers(self.path, array).get(task)

    def queued(self) -> list[dict[str, Any]]:
        """Return the tasks that Slurm has of this user, in the order of submission."""
        assert self.slurm is not None
        return [task for task in self.slurm.tasks() if task["array"] not in self.before]

    def states(self) -> list[str]:
        """Return the states that Slurm has the tasks in."""
        return [task["state"] for task in self.queued()]

    def do(self, action: str, **options: Any) -> Any:
        """Let something happen in the cluster."""
        assert self.slurm is not None
        return self.slurm.do(action, **options)

    def all_wait(self) -> None:
        """Set all nodes down."""
        assert self.slurm is not None
        for node in self.slurm.cluster.node_names():
            self.do("fail_node", node=node)

    def all_go(self) -> None:
        """Have all nodes back."""
        assert self.slurm is not None
        for node in self.slurm.cluster.node_names():
            self.do("restore_node", node=node)

    def until_running(self, *arrays: int) -> None:
        """Wait until some task of each array has said that it runs."""
        for number in arrays:
            self.until(lambda n=number: read_markers(self.path, n))

    def until_settled(self, n_trials: int) -> None:
        """Wait until so many trials are settled."""
        self.until(lambda: self.n_settled() >= n_trials)

    def n_settled(self) -> int:
        """Return how many trials are settled."""
        return sum(outcome is not Outcome.NOT_RUN for outcome in self.outcomes())

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes of the sweep's trials, in the order of the plan."""
        study = self.study
        outcome_R = study.store.read_status()[:, Status.OUTCOME]
        return [Outcome(outcome) for outcome in outcome_R[study.plan.row].tolist()]

    def until(self, question: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
        """Return the first true answer."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            if answer := question():
                return answer
            time.sleep(0.03)
        logs = [f"== {p}\n{p.read_text()}" for p in sorted((self.path / "logs").rglob("*.log"))]
        raise AssertionError("\n".join(["it did not happen", *logs, *map(str, self.queued())]))


def records(study: Study) -> dict[bytes, tuple[np.ndarray, list[int]]]:
    """Return scalars and status but RUN, by digest."""
    store, digests = study.store, study.plan.row_digests
    scalars, status = store.read_scalars(study.plan.rule.scalars), store.read_status()
    kept = [f for f in Status if f is not Status.RUN]
    rows = np.unique(study.plan.row)
    return {bytes(digests[row]): (scalars[row], status[row, kept].tolist()) for row in rows}


def assert_same_records(one: Study, two: Study) -> None:
    """Compare two studies bit for bit."""
    first, second = records(one), records(two)
    assert first.keys() == second.keys()
    for digest, (scalars, status) in first.items():
        assert status == second[digest][1]
        np.testing.assert_array_equal(scalars, second[digest][0])


@contextmanager
def emptied(slurm: FakeSlurm) -> Iterator[FakeSlurm]:
    """Give a cluster to one test and clear it for the next."""
    yield slurm
    slurm.do("calm")
    for array in {task["array"] for task in slurm.tasks()}:
        slurm.do("forget", task=str(array))
    for node in slurm.cluster.node_names():
        slurm.do("restore_node", node=node)


@contextmanager
def fake_slurm(folder: Path, **cluster: Any) -> Iterator[FakeSlurm]:
    """Start a cluster; its controller has nothing to complain of in the end."""
    with FakeSlurm(folder / "slurm", FakeCluster(**{**FAST, **cluster})) as slurm:
        yield slurm
    assert (folder / "slurm" / "controller.log").read_text() == ""


@contextmanager
def mounted(folder: Path, how: str) -> Iterator[None]:
    """Have a folder read-only ("ro"), or on a disk of its own ("size=300k"), where root may."""
    if os.getuid() != 0:
        pytest.skip("only root may mount")
    folder.mkdir(parents=True, exist_ok=True)
    place = str(folder)
    commands = [["-t", "tmpfs", "-o", how, "tmpfs", place]]
    if how == "ro":
        commands = [["--bind", place, place], ["-o", "remount,ro,bind", place]]
    done = 0
    try:
        for command in commands:
            answer = subprocess.run(["mount", *command], capture_output=True, text=True)
            if answer.returncode:
                pytest.skip(f"this host lets nobody mount: {answer.stderr.strip()}")
            done += 1
        yield
    finally:
        if done:
            subprocess.run(["umount", "-l", place], check=True)
