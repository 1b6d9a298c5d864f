"""Ray in an allocation of a real Slurm: one command takes all of its nodes, and leaves none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab import SlurmLab
from lab_processes import started_with

import phasecube
from phasecube.engine.record import Outcome

pytestmark = pytest.mark.slurm

WAITING = """
import time
from pathlib import Path

def train(trial):
    trial.report(0, loss=1.0)
    while not (Path(__file__).parent / "go").exists():
        time.sleep(0.05)
    trial.report(1, loss=0.5 + trial.seed)
"""
SWEEP = """
name = "waiting"
experiment = "waiting.py:train"
fixed = { steps = 1 }
[axes.seed]
integers = { start = 0, stop = 5 }
[record]
measures = ["loss"]
steps = { every = 1 }
[resources]
pack_size = 1
"""


def test_one_command_fills_all_nodes_of_an_allocation_and_outlives_one_of_them(
    slurm_lab: SlurmLab, tmp_path: Path
) -> None:
    (tmp_path / "waiting.py").write_text(WAITING)
    (tmp_path / "waiting.toml").write_text(SWEEP)
    sweep, study = tmp_path / "waiting.toml", tmp_path / "study"
    command = ["salloc", "--nodes", "2", "--cpus-per-task", "1", sys.executable, "-m", "phasecube"]
    command += ["run", str(sweep), "--study", str(study), "--to", "ray"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        while running.poll() is None and not (study / "logs" / "ray-node2.log").exists():
            time.sleep(0.05)
        of_node2 = started_with({**slurm_lab.environment(), "SLURMD_NODENAME": "node2"})
        raylets = [pid for pid in of_node2 if "raylet/raylet" in command_of(pid)]
        for pid in raylets:
            os.kill(pid, signal.SIGKILL)
        (study / "code" / "go").touch()  # a pack of each node was being trained
        said = running.communicate(timeout=300)[0]
    assert running.returncode == 0, said
    assert len(raylets) == 1
    assert {p.name for p in (study / "logs").glob("ray-*")} == {"ray-node1.log", "ray-node2.log"}
    assert slurm_lab.run("squeue", "-h") == ""
    found = phasecube.open(study)
    assert found.outcome.values.tolist() == [Outcome.DONE] * 6
    assert found.loss.sel(step=1).values.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
