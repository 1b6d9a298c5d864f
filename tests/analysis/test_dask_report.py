"""A report reduced by dask says what the plain one says, and workers that fail are spoken of."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import dask.threaded
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic_study import jump, study_dataset

import phasecube
from phasecube.analysis.analyses import Request
from phasecube.analysis.cube import dask_cluster
from phasecube.analysis.cube.dask_cluster import WorkerJobs, workers_on_slurm
from phasecube.analysis.cube.export import trial_table, write_curves
from phasecube.analysis.cube.opened import CUBE, open_study
from phasecube.analysis.grokking import GrokkingRule
from phasecube.analysis.order_parameters import onset
from phasecube.analysis.report.page import Facts, write_pages, write_report
from phasecube.cli import main
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

STEPS = list(range(0, 401, 10))
SHAPE = (2, 3, 4)
REQUESTS = {
    "grokking": Request("grokking"),
    "sustained": Request("grokking", rule=GrokkingRule(sustained=True)),
    "relative": Request(
        "grokking",
        rule=GrokkingRule(train="loss", validation="loss", above=False, relative_to="initial"),
    ),
    "median": Request("phase_diagram", measure="val_accuracy"),
    "mean": Request("phase_diagram", measure="loss", statistic="mean", scale="log"),
    "share": Request("phase_diagram", measure="loss", statistic="share", threshold=0.3),
    "onset": Request("phase_diagram", measure="loss", quantity="onset", threshold=0.5, above=False),
    "curves": Request("curves", measures=("loss", "val_accuracy"), over=("seed", "weight_decay")),
}


def study() -> xr.Dataset:
    """A study with a trial in every outcome, records that end anywhere, and spikes."""
    random = np.random.default_rng(0)
    outcome = np.resize([int(o) for o in Outcome], 24).reshape(SHAPE)
    outcome[0, 1:] = Outcome.DONE
    n_recorded = np.where(outcome == Outcome.DONE, len(STEPS), random.integers(0, 41, SHAPE))
    n_recorded[outcome == Outcome.NOT_PLANNED] = 0
    t_grok = random.uniform(0, 500, SHAPE)
    spikes = (random.random((*SHAPE, len(STEPS))) < 0.1).astype(float)
    return study_dataset(
        {"lr": [0.1, 0.3], "weight_decay": [0.5, 1.0, 5.0], "seed": [0, 1, 2, 3]},
        STEPS,
        {
            "train_accuracy": np.maximum(jump(STEPS, np.full(SHAPE, 20.0)), spikes),
            "val_accuracy": np.maximum(jump(STEPS, t_grok), spikes),
            "loss": random.random((*SHAPE, len(STEPS))),
        },
        outcome,
        n_recorded,
    ).assign_attrs(title="A study", question="When?", sweep="a", experiment="b", fixed="{}")


def chunked(ds: xr.Dataset, steps: int = 7) -> xr.Dataset:
    curves = [n for n, v in ds.data_vars.items() if "step" in v.dims]
    return ds.assign({n: ds[n].chunk(step=steps) for n in curves})


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", REQUESTS)
def test_dask_changes_no_byte_of_a_report(name: str, tmp_path: Path) -> None:
    ds = study()
    write_pages(ds, [REQUESTS[name]], Facts(), tmp_path / "plain")
    write_pages(chunked(ds), [REQUESTS[name]], Facts(), tmp_path / "dask")
    plain = files(tmp_path / "plain")
    assert len(plain) >= 3 and plain == files(tmp_path / "dask")


def test_dask_changes_no_table_of_trials(tmp_path: Path) -> None:
    ds = study().assign(digest=("seed", list("abcd")))
    plain, by_dask = (trial_table(d, GrokkingRule()) for d in (ds, chunked(ds)))
    assert plain.equals(by_dask)
    curves = []
    for d, name in ((ds, "plain"), (chunked(ds), "dask")):
        write_curves(d, tmp_path / name)
        table = pd.read_parquet(tmp_path / name)  # rows come as the chunks lie
        curves.append(table.sort_values([*ds.train_accuracy.dims], ignore_index=True))
    assert curves[0].equals(curves[1])


@pytest.mark.parametrize("sustained", [False, True])
def test_an_onset_leaves_the_curves_where_they_are(sustained: bool) -> None:
    brought: list[int] = []

    def get(graph: Any, keys: Any, **options: Any) -> Any:
        found = dask.threaded.get(graph, keys, **options)
        brought.extend(np.asarray(part).size for part in dask.core.flatten(found, list))
        return found

    with dask.config.set(scheduler=get):
        onset(chunked(study()), "loss", 0.5, above=False, sustained=sustained)
    assert brought == [24, 24]


SWEEP = """
name = "toys"
experiment = "toy_experiment.py:Toy"
fixed = { steps = 20 }
[axes.lr]
values = [0.05, 0.1]
[record]
measures = ["train_loss", "val_loss"]
steps = { every = 5 }
[resources]
processes = 1
engine = "sequential"
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys")
    shutil.copy(Path(__file__).parents[1] / "cluster" / "toy_experiment.py", folder)
    (folder / "toys.toml").write_text(SWEEP)
    phasecube.run(folder / "toys.toml", folder / "study")
    return folder / "study"


@pytest.mark.parametrize("consolidated", [True, False])
def test_a_study_on_disk_reports_the_same_on_threads(
    toys: Path, tmp_path: Path, consolidated: bool
) -> None:
    path = shutil.copytree(toys, tmp_path / "study")
    if not consolidated:
        shutil.rmtree(path / CUBE)
    write_report(path)
    plain = files(path / "report")
    assert main(["report", str(path), "--dask", "threads"]) == 0
    assert files(path / "report") == plain


@pytest.mark.parametrize("consolidated", [True, False])
def test_a_worker_elsewhere_can_read_what_it_is_sent(
    toys: Path, tmp_path: Path, consolidated: bool
) -> None:
    path = shutil.copytree(toys, tmp_path / "study")
    if not consolidated:
        shutil.rmtree(path / CUBE)
    ds = open_study(path, chunks="auto")
    sent = cloudpickle.loads(cloudpickle.dumps(ds.train_loss.data))
    np.testing.assert_array_equal(sent.compute(), ds.train_loss.values)


class Stub:
    """A Slurm that takes each job and starts none; `refusal` is what it answers instead."""

    def __init__(self, waiting: str = "", refusal: str = "") -> None:
        self.why = [waiting] if waiting else []
        self.refusal = refusal
        self.scripts: list[str] = []
        self.cancelled = 0

    def submit(self, script: str) -> str:
        if self.refusal:
            raise StudyError(self.refusal)
        self.scripts.append(Path(script).read_text())
        return f"Submitted batch job {len(self.scripts)}"

    def waiting(self) -> list[str]:
        return self.why

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(dask_cluster, "LOOK_EVERY_S", 0.2)
    yield


def jobs(logs: Path, **settings: Any) -> WorkerJobs:
    plain = {
        "n": 2,
        "name": "dask.0123abcd",
        "cores": 3,
        "memory_mb": 900,
        "walltime_s": 90,
        "partition": "short",
        "account": None,
        "qos": None,
        "constraint": "fast&odd",
        "setup": ("module load python",),
        "sbatch": ("#SBATCH --exclusive",),
        "python": "python3",
        "logs": logs,
    }
    return WorkerJobs(**{**plain, **settings})


def failure(asked: WorkerJobs, slurm: Stub, timeout_s: float = 30.0) -> str:
    said: list[str] = []
    with (
        pytest.raises(StudyError) as error,
        workers_on_slurm(asked, slurm, said.append, timeout_s=timeout_s),
    ):
        pass
    return "\n".join([*said, str(error.value)])


def test_worker_jobs_ask_for_what_the_study_asks_for(tmp_path: Path) -> None:
    slurm = Stub("Priority")
    failure(jobs(tmp_path / "logs"), slurm, timeout_s=1.0)
    lines = slurm.scripts[0].splitlines()
    assert len(slurm.scripts) == 2 and "module load python" in lines
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert asked >= {
        "-p short",
        "--cpus-per-task=3",
        "--mem=900M",
        "-t 2",
        "--constraint='fast&odd'",
        "--exclusive",
    }
    assert "python3 -m distributed.cli.dask_worker tls://" in lines[-1]


def test_where_no_memory_is_asked_for_the_cluster_gives_its_default(tmp_path: Path) -> None:
    slurm = Stub("Priority")
    failure(jobs(tmp_path, memory_mb=None), slurm, timeout_s=1.0)
    assert "--mem" not in slurm.scripts[0].split("dask_worker")[0]
    assert slurm.scripts[0].split("--memory-limit ")[-1].split()[0] == "auto"


def test_workers_that_wait_too_long_are_given_up_and_cancelled(tmp_path: Path) -> None:
    slurm = Stub("Priority: other jobs are ahead of it")
    said = failure(jobs(tmp_path), slurm, timeout_s=1.0)
    assert "waiting for dask workers: Priority: other jobs are ahead of it\n" in said
    assert "no dask worker came up within 1 s (Priority: other jobs are ahead of it)" in said
    assert slurm.cancelled == 1


def test_what_slurm_refuses_is_said_at_once(tmp_path: Path) -> None:
    slurm = Stub("Priority", refusal="there is no partition 'short'")
    assert "there is no partition 'short'" in failure(jobs(tmp_path), slurm)
    assert slurm.cancelled == 1


def test_workers_that_end_at_once_show_their_log(tmp_path: Path) -> None:
    (tmp_path / "dask.other-1.err").write_text("of another command")
    (tmp_path / "dask.0123abcd-1.err").write_text("No module named distributed")
    said = failure(jobs(tmp_path), Stub())
    assert "ended before they reached the scheduler at tls://" in said
    assert said.endswith("dask.0123abcd-1.err:\n  No module named distributed")


def test_without_dask_jobqueue_the_command_says_what_to_install(
    toys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    monkeypatch.setitem(sys.modules, "dask_jobqueue.slurm", None)
    assert main(["report", str(toys), "--dask", "slurm"]) == 1
    assert "pip install 'phasecube[dask-slurm]'" in capsys.readouterr().err


def test_without_slurm_the_command_says_so(
    toys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["report", str(toys), "--dask", "slurm"]) == 1
    assert "squeue is not on PATH" in capsys.readouterr().err
    assert not (toys / "logs" / "dask").exists()
