"""Dask workers as jobs of a real Slurm: the same report, and nothing left in the queue."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dask
import pytest
from lab import SlurmLab

import phasecube
from phasecube.analysis.report.page import write_report
from phasecube.cli import main
from phasecube.commands import results

pytestmark = pytest.mark.slurm

SWEEP = """
name = "toys"
experiment = "toy_experiment.py:Toy"
fixed = { steps = 60 }
[axes.lr]
values = [0.01, 0.05, 0.1]
[axes.seed]
integers = { start = 0, stop = 2 }
[record]
measures = ["train_loss", "val_loss"]
steps = { every = 1 }
[resources]
processes = 1
engine = "sequential"
[cluster.slurm]
memory = "400M"
walltime = "10min"
[[analyses]]
kind = "phase_diagram"
measure = "train_loss"
quantity = "onset"
threshold = 0.3
above = false
[[analyses]]
kind = "phase_diagram"
measure = "val_loss"
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of 61 steps: three chunks of the cube."""
    folder = tmp_path_factory.mktemp("toys")
    shutil.copy(Path(__file__).parents[1] / "cluster" / "toy_experiment.py", folder)
    (folder / "toys.toml").write_text(SWEEP)
    phasecube.run(folder / "toys.toml", folder / "study")
    return folder / "study"


def test_a_report_by_workers_is_the_plain_one_and_leaves_no_job(
    slurm_lab: SlurmLab, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(study)
    plain = (study / "report").rename(study / "plain")
    assert main(["report", str(study), "--dask", "slurm", "--dask-workers", "2"]) == 0
    assert "of 2 dask workers up" in capsys.readouterr().out
    assert _files(study / "report") == _files(plain)
    assert slurm_lab.run("squeue", "-h") == ""
    assert len(list((study / "logs" / "dask").glob("dask.*.err"))) == 2


def test_reductions_run_in_the_jobs(slurm_lab: SlurmLab, study: Path) -> None:
    from phasecube.analysis.cube.dask_cluster import workers_on_slurm

    settings = results._settings(study)
    jobs = results._worker_jobs(study, settings, 1)
    with workers_on_slurm(jobs, results._OnSlurm(jobs.name, settings), print):
        where = dask.delayed(os.getenv)("SLURM_JOB_NAME").compute()
    assert where == jobs.name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_the_jobs_with_it(
    slurm_lab: SlurmLab, study: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "phasecube", "report", str(study), "--dask", "slurm"],
        stdout=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        for line in command.stdout:
            if "workers up" in line:
                break
        command.send_signal(number)
    assert command.returncode == 128 + number
    assert slurm_lab.run("squeue", "-h") == ""


def test_a_partition_that_is_not_there_is_named(
    slurm_lab: SlurmLab, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(study, tmp_path / "study")
    sweep = path / "sweep.toml"
    sweep.write_text(sweep.read_text().replace("memory =", 'partition = "nope"\nmemory ='))
    assert main(["report", str(path), "--dask", "slurm"]) == 1
    said = capsys.readouterr().err
    assert "Slurm refused the dask workers: there is no partition 'nope'" in said
    assert slurm_lab.run("squeue", "-h") == ""


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
