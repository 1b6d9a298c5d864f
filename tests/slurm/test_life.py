"""A study's life on a real Slurm: from the command line to the cube, through what befalls tasks."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from lab import SlurmLab, why_not
from storm import differing, repeated

import phasecube
from phasecube.cli import main
from phasecube.cluster.engine_choices import ENGINES
from phasecube.cluster.in_process import InProcess
from phasecube.cluster.job_array import read_array, read_arrays
from phasecube.cluster.run_study import run_study
from phasecube.cluster.slurm.executor import Slurm
from phasecube.cluster.slurm.limits import user_name
from phasecube.cluster.slurm.overview import JobsOverview, jobs_overview
from phasecube.cluster.slurm.queue import standing_queue
from phasecube.cluster.slurm.settings import resolve
from phasecube.cluster.study import Study
from phasecube.cluster.task_marker import TaskMarker, read_marker
from phasecube.sweeps.sweep import parse_sweep

pytestmark = pytest.mark.slurm
HERE = Path(__file__).parent
GRACE_S = 20
PREEMPTION = (
    "PreemptType=preempt/partition_prio",
    "PreemptMode=REQUEUE",
    f"PartitionName=low Nodes=ALL PriorityTier=1 GraceTime={GRACE_S} MaxTime=INFINITE State=UP",
    "PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP",
)
LONG = """
name = "long"
experiment = "storm_experiment.py:Noted"
fixed = { steps = 300, noise = 0.1 }
[axes.seed]
integers = { start = 1, stop = 1 }
[axes.lr]
values = [0.003, 0.01, 0.03]
[record]
measures = ["train_loss", "val_loss"]
steps = { every = 50 }
[resources]
pack_size = 3
engine = "vmap"
lanes = 3
checkpoint_every_s = 60.0
[cluster.slurm]
drift = "warn"
"""
ENDS = """
name = "ends"
experiment = "ends_experiment.py:Ends"
[axes.end]
values = [1, 2, 3, 4]
[record]
measures = ["size"]
steps = { every = 10 }
[resources]
pack_size = 1
engine = "sequential"
[cluster.slurm]
walltime = "1min"
packs_per_job = 1
notice_s = 10
drift = "warn"
"""
SLOW, STUCK, KILLED, RAISES = range(4)  # tasks of ENDS
Ends = dict[bool, tuple[Path, SlurmLab]]  # by whether there are accounts


def sweep_file(folder: Path, text: str) -> Path:
    """Return a sweep file in `folder` beside the experiments."""
    for name in ("storm_experiment.py", "ends_experiment.py"):
        (folder / name).write_text((HERE / name).read_text())
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def marker(study: Path, array: int = 1, task: int = 0) -> TaskMarker | None:
    return read_marker(study, array, task)


def trains(study: Path) -> bool:
    """Return whether a task has trained some steps."""
    return any(f.stat().st_size > 16 * 20 for f in study.glob("code/steps/*"))


def overview(study: Path) -> JobsOverview:
    found = jobs_overview(Study(study))
    assert found is not None
    return found


def over(study: Path) -> bool:
    return overview(study).live == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LONG, trained in this process."""
    study = Study.create(
        parse_sweep(LONG, HERE, "long"), tmp_path_factory.mktemp("undisturbed") / "study"
    )
    run_study(study, executor=InProcess())
    return study.path


def submitted(folder: Path, undisturbed: Path, *flags: str) -> Path:
    """Return the study of LONG, submitted by the command line; it trains for 15 s at least."""
    study = folder / "study"
    sweep = sweep_file(folder, LONG)
    made = Study.create(parse_sweep(LONG, folder, "long"), study)
    shutil.copytree(undisturbed / ENGINES, made.path / ENGINES)
    (made.path / "code" / "pause_s").write_text("0.05")
    assert main(["submit", str(sweep), "--study", str(study), *flags]) == 0
    return study


def test_a_sweep_goes_from_submit_over_status_to_a_cube(
    slurm_lab: SlurmLab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = LONG.replace("stop = 1 ", "stop = 4 ")
    sweep, study = sweep_file(tmp_path, text), tmp_path / "study"
    assert main(["submit", str(sweep), "--study", str(study), "--packs-per-job", "2"]) == 0
    assert "2 tasks, 4 packs" in capsys.readouterr().out
    slurm_lab.wait_for(lambda: over(study), "the tasks' end")
    assert main(["status", str(study)]) == 0
    said = capsys.readouterr().out
    assert "12 of 12 trials settled, 4 of 4 packs" in said
    assert "Slurm tasks: 2 completed" in said
    assert phasecube.open(study)["val_loss"].notnull().all()


def test_a_task_whose_walltime_is_short_goes_back_to_the_queue_and_on_from_there(
    slurm_lab: SlurmLab, undisturbed: Path, tmp_path: Path
) -> None:
    study = submitted(tmp_path, undisturbed, "--time", "1min", "--notice", "45")
    slurm_lab.wait_for(lambda: over(study), "the task's end", timeout_s=120)
    found = marker(study)
    assert found is not None and found.state == "finished"
    assert found.requeues >= 1 and found.attempts == found.requeues + 1
    assert differing(undisturbed, study) == []
    again = repeated(undisturbed, study)
    assert again.cuts and all(cut.steps == 0 for cut in again.cuts)


@pytest.fixture
def preempting(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmLab]:
    """One node, which jobs of the partition `high` take from those of `low` with grace."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    with SlurmLab(nodes=1, cpus=1, extra_conf=PREEMPTION) as lab:
        for name, value in lab.environment().items():
            monkeypatch.setenv(name, value)
        yield lab


def test_a_task_that_is_preempted_with_grace_requeues_itself_and_repeats_no_step(
    preempting: SlurmLab, undisturbed: Path, tmp_path: Path
) -> None:
    study = submitted(tmp_path, undisturbed, "--partition", "low")
    preempting.wait_for(lambda: trains(study), "some steps")
    preempting.run("sbatch", "-p", "high", "--output=/dev/null", "--wrap=sleep 2")
    preempting.wait_for(lambda: over(study), "the task's end", timeout_s=90)
    found = marker(study)
    assert found is not None and found.state == "finished"
    assert (found.requeues, found.attempts) == (1, 2)
    assert differing(undisturbed, study) == []
    assert [cut.steps for cut in repeated(undisturbed, study).cuts] == [0]


def test_a_task_that_is_cancelled_does_not_come_back_to_life(
    slurm_lab: SlurmLab, undisturbed: Path, tmp_path: Path
) -> None:
    study = submitted(tmp_path, undisturbed)
    slurm_lab.wait_for(lambda: trains(study), "some steps")
    slurm_lab.run("scancel", f"{read_array(study, 1).slurm_id}_0")
    slurm_lab.wait_for(lambda: over(study), "the task's end")
    time.sleep(slurm_lab.cred_expire_s + 2)  # what is requeued starts after this
    found = marker(study)
    assert found is not None and (found.state, found.attempts) == ("stopped", 1)
    assert overview(study).tasks == {"CANCELLED": 1}
    assert list(study.glob("checkpoints/*/*.checkpoint"))


def test_what_a_submit_limit_does_not_take_follows_in_waves(
    slurm_accounts: SlurmLab, tmp_path: Path
) -> None:
    lab, user = slurm_accounts, user_name()
    if not lab.sacctmgr("-n", "show", "qos", "ten"):
        lab.sacctmgr("add", "qos", "ten")
        lab.sacctmgr("modify", "qos", "ten", "set", "MaxSubmitJobsPerUser=10")
        lab.sacctmgr("modify", "user", user, "where", "account=lab", "set", "qos+=ten")
    text = LONG.replace("stop = 1 ", "stop = 11 ")
    study = Study.create(parse_sweep(text, HERE, "waves"), tmp_path / "study")
    asked = {"qos": "ten", "account": "lab", "packs_per_job": 1, "throttle": 4}
    settings = resolve(study.sweep.cluster.slurm, asked, Path("/nonexistent"))
    said: list[str] = []
    assert run_study(study, executor=Slurm(settings, say=said.append, poll_s=0.5)).finished
    tasks = [len(array.packs) for array in read_arrays(study.path) if array.slurm_id]
    assert tasks[0] == 10 and len(tasks) > 1 and sum(tasks) == 11
    assert any("1 packs wait for room" in line and "10" in line for line in said), said


# -- ends that are told apart -------------------------------------------------------------------


@contextmanager
def at(lab: SlurmLab) -> Iterator[SlurmLab]:
    """Let Slurm's commands talk to this lab."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.environment().items():
            patch.setenv(name, value)
        yield lab


@pytest.fixture(scope="module", autouse=True)
def begun_ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """ENDS on a Slurm without and on one with accounts; its time-outs come by other tests' time."""
    if why_not(accounting=True) is not None:
        yield {}
        return
    folder = tmp_path_factory.mktemp("ends")
    with SlurmLab(nodes=1) as bare, SlurmLab(nodes=1, accounting=True) as kept:
        found = {False: (folder / "bare", bare), True: (folder / "kept", kept)}
        for study, lab in found.values():
            with at(lab):
                Study.create(parse_sweep(ENDS, HERE, "ends"), study)
                assert main(["resume", str(study), "--to", "slurm"]) == 0
        for study, lab in found.values():
            lab.wait_for(partial(in_hand, study, SLOW), "the slow task")
            lab.run("scancel", f"{read_array(study, 1).slurm_id}_{SLOW}")
        yield found


@pytest.fixture
def ends(begun_ends: Ends) -> Ends:
    """ENDS once every task has ended, which takes a minute and a half."""
    if (why := why_not(accounting=True)) is not None:
        pytest.skip(why)
    for study, lab in begun_ends.values():
        with at(lab):
            lab.wait_for(partial(over, study), "all tasks' end", timeout_s=150)
    return begun_ends


def in_hand(study: Path, task: int) -> bool:
    found = marker(study, task=task)
    return found is not None and bool(found.in_hand)


@pytest.mark.parametrize("accounts", [False, True], ids=["without accounts", "with accounts"])
def test_status_tells_apart_how_tasks_ended(
    ends: Ends,
    accounts: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, lab = ends[accounts]
    with at(lab):
        found = overview(study)
        assert main(["status", str(study)]) == 0
    said = capsys.readouterr().out
    assert found.tasks == {"CANCELLED": 1, "TIMED_OUT": 1, "FAILED": 1, "COMPLETED": 1}
    by_state = {end.state: end for end in found.ends}
    name = read_array(study, 1).slurm_id
    assert by_state["TIMED_OUT"].name == f"{name}_{STUCK}"
    assert by_state["FAILED"].name == f"{name}_{KILLED}"
    assert "1 cancelled, 1 completed, 1 failed, 1 timed out" in said
    assert f"task {name}_{STUCK} timed out: " in said
    assert "RuntimeError: told to raise" in said  # of a trial, whose task went on


def test_where_accounts_are_kept_it_is_known_who_cancelled_a_task(
    ends: Ends,
) -> None:
    said = {}
    for accounts, (study, lab) in ends.items():
        with at(lab):
            queue = standing_queue(Study(study))
        said[accounts] = queue.state(queue.arrays[0], SLOW).said
    assert said == {False: "SIGTERM: checkpoint written", True: f"cancelled by user {os.getuid()}"}
