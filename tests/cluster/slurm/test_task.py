"""One task on a node: its signals, its clock, its deaths, and what is left of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from slurm_user import User, assert_same_records, emptied

from phasecube.cluster.rehearsal import FakeSlurm
from phasecube.cluster.stop_signal import StopSignal
from phasecube.cluster.study import Study
from phasecube.cluster.task import Task
from phasecube.engine.record import Outcome

# Each step takes CRAWL_PAUSE_S and leaves a byte in `steps`.
CRAWL = '''
"""Least squares at a crawl."""

import os
import signal
import time
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from phasecube import Experiment, Measure, Params

STEPS = Path(__file__).parent / "steps"


class CrawlParams(Params):
    width: int = 4
    fatal: float = 0.0


class Crawl(Experiment[CrawlParams]):
    name = "crawl"
    params_type = CrawlParams
    measures: ClassVar = {"size": Measure("of the weights")}
    defaults: ClassVar = {"optimizer": "sgd", "lr": 0.1, "steps": 40}

    def model(self, params):
        return nn.Linear(params.width, 1)

    def data(self, params, stream):
        if params.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        x = torch.as_tensor(stream.normal("x", (8, params.width)))
        return {"x": x, "y": x.sum(1, keepdim=True)}

    def loss(self, trial):
        time.sleep(float(os.environ.get("CRAWL_PAUSE_S", "0")))
        with STEPS.open("ab") as file:
            file.write(b".")
        return ((trial.model(trial.data["x"]) - trial.data["y"]) ** 2).mean()

    def measure(self, trial, wanted):
        return {"size": trial.weights["weight"].abs().sum()}
'''
CRAWL_SWEEP = """
name = "walk"
experiment = "crawl.py:Crawl"
fixed = { steps = 40 }
[axes.lr]
values = [0.05, 0.1]
[record]
measures = ["size"]
steps = { every = 5 }
[resources]
pack_size = 2
processes = 1
engine = "sequential"
checkpoint_every_s = 1e9
[cluster.slurm]
walltime = "10min"
drift = "warn"
"""
PAUSE_S = 0.04


@pytest.fixture
def crawler(cluster: FakeSlurm, tmp_path: Path) -> User:
    """One pack of two trials, whose steps take a while on the cluster."""
    with emptied(cluster):
        yield crawling(tmp_path, cluster)


def crawling(folder: Path, slurm: FakeSlurm) -> User:
    (folder / "crawl.py").write_text(CRAWL)
    user = User(folder, slurm, CRAWL_SWEEP)
    user.environment["CRAWL_PAUSE_S"] = str(PAUSE_S)
    return user


def steps(user: User) -> int:
    """Return how many steps the pack has taken, tests of the engine included."""
    path = user.path / "code" / "steps"
    return path.stat().st_size if path.exists() else 0


def name_of(user: User, task: int = 0) -> str:
    """Return a task of the last array as Slurm calls it."""
    return f"{user.arrays()[-1].slurm_id}_{task}"


def logs(user: User) -> str:
    return "".join(p.read_text() for p in sorted((user.path / "logs" / "slurm").iterdir()))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The crawl, run here in one go; its code folder counts its steps."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "crawl.py").write_text(CRAWL)
    user = User(folder, None, CRAWL_SWEEP)
    user.typed("run", "walk.toml")
    return user.study


def undisturbed_steps(undisturbed: Study) -> int:
    return (undisturbed.path / "code" / "steps").stat().st_size


INTERRUPTED = {
    "notice": "it was given notice, 1 packs left",
    "preemption with grace": "it is preempted",
    "preemption": "",
    "scancel": "SIGTERM: checkpoint written",
}


@pytest.mark.parametrize("how", INTERRUPTED)
def test_an_interrupted_task_goes_on_from_its_checkpoint(
    how: str, crawler: User, undisturbed: Study
) -> None:
    crawler.typed("submit", "walk.toml")
    crawler.until(lambda: steps(crawler) > 15)
    name = name_of(crawler)
    if how == "notice":
        scancel(crawler, "--signal=USR1", name)
    elif how == "scancel":
        crawler.typed("cancel", "studies/walk")
        crawler.until(lambda: crawler.states() == ["CANCELLED"])
        assert "1 tasks, 1 packs" in crawler.typed("resume", "studies/walk")
    else:
        crawler.do("preempt", task=name, grace_s=5.0 if "grace" in how else 0.0)
    crawler.until_settled(2)
    assert INTERRUPTED[how] in logs(crawler)
    if how == "notice":
        crawler.until(lambda: crawler.states() == ["COMPLETED"])
        marker = crawler.marker(1, 0)
        assert marker is not None
        assert (marker.state, marker.attempts, marker.requeues) == ("finished", 2, 1)
    assert_same_records(crawler.study, undisturbed)
    # At most the step that the signal came in is taken twice.
    assert steps(crawler) <= undisturbed_steps(undisturbed) + 1


def scancel(user: User, *arguments: str) -> None:
    subprocess.run(["scancel", *arguments], env=user.environment, check=True)


def test_a_task_that_may_not_requeue_says_how_to_go_on(crawler: User) -> None:
    crawler.typed("submit", "walk.toml", "--requeues", "0")
    crawler.until(lambda: steps(crawler) > 15)
    scancel(crawler, "--signal=USR1", name_of(crawler))
    crawler.until(lambda: crawler.states() == ["COMPLETED"])
    assert "1 packs left after 0 requeues, as many as allowed; `phasecube resume` goes on" in logs(
        crawler
    )
    crawler.environment["CRAWL_PAUSE_S"] = "0"
    assert "1 tasks, 1 packs" in crawler.typed("resume", "studies/walk")


def test_a_task_sees_by_its_own_clock_that_its_time_is_short(
    crawler: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    crawler.typed("submit", "walk.toml", "--sbatch=--hold")
    asked: list[tuple[str, ...]] = []

    def slurm(*words: str, timeout_s: float = 0) -> str:
        asked.append(words)
        return ""

    monkeypatch.setattr("phasecube.cluster.slurm.command.slurm", slurm)
    monkeypatch.setattr(Task, "seconds_left", lambda _: 0.0 if steps(crawler) > 15 else 100.0)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert Task(crawler.path, 1, StopSignal()).run() == 0
    marker = crawler.marker(1, 0)
    assert marker is not None and marker.state == "requeued"
    assert marker.message == "its walltime was short, 1 packs left"
    assert asked == [("scontrol", "requeue", "7_0")] and steps(crawler) <= 17


def test_a_task_without_progress_in_its_walltime_says_so_and_stops(crawler: User) -> None:
    crawler.typed(
        "submit", "walk.toml", "--time", "1min", "--notice", "10",
        "--setup", "export PHASECUBE_STARTED=$(($(date +%s) - 49))",
    )  # fmt: skip
    crawler.until(lambda: crawler.states() == ["FAILED"])
    said = crawler.typed("status", "studies/walk")
    assert "no step was trained within 60 s of walltime; ask for more with --time, or for a" in said
    assert crawler.queued()[0]["restarts"] == 0


def test_a_task_whose_study_is_gone_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "phasecube.cluster.task", str(tmp_path / "gone"), "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        f"phasecube: {tmp_path}/gone is gone: the study was moved or deleted after this job was "
        "submitted; from its new place, `phasecube resume` submits what is left" in done.stderr
    )


def test_a_task_whose_array_is_torn_says_what_to_do(crawler: User) -> None:
    crawler.typed("submit", "walk.toml", "--sbatch=--hold")
    (crawler.path / "jobs" / "0001.json").write_text("{")
    command = [sys.executable, "-m", "phasecube.cluster.task", str(crawler.path), "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=crawler.environment)
    assert done.returncode == 1 and "is missing or not whole" in done.stderr
    assert f"`phasecube resume {crawler.path}` submits what is left" in done.stderr


# Deaths


def test_a_pack_that_kills_its_task_three_times_is_given_up_and_others_are_done(
    crawler: User, quick_polls: None
) -> None:
    sweep = CRAWL_SWEEP.replace("[axes.lr]", "[axes.fatal]").replace("[0.05, 0.1]", "[0.0, 1.0]")
    crawler.write(sweep.replace("pack_size = 2", "pack_size = 1"))
    crawler.environment["CRAWL_PAUSE_S"] = "0"
    said = crawler.typed("submit", "walk.toml", "--follow", "--packs-per-job", "1")
    assert "2 of 2 trials settled" in said
    assert crawler.outcomes() == [Outcome.DONE, Outcome.FAILED]
    status = crawler.typed("status", "studies/walk")
    assert "the tasks that had it ended FAILED 3 times" in status


def test_out_of_memory_at_one_place_settles_and_is_retried_with_more_memory(
    crawler: User, quick_polls: None
) -> None:
    crawler.environment["CRAWL_PAUSE_S"] = "5"  # so that no step is ever taken

    def kill() -> None:
        for attempt in (1, 2, 3):
            crawler.until(lambda n=attempt: (m := crawler.marker(n, 0)) is not None and m.in_hand)
            crawler.do("out_of_memory", task=f"{crawler.arrays()[attempt - 1].slurm_id}_0")

    killing = threading.Thread(target=kill)
    killing.start()
    said = crawler.typed("submit", "walk.toml", "--follow", "--memory", "200M")
    killing.join()
    assert "2 of 2 trials settled" in said
    assert crawler.outcomes() == [Outcome.OUT_OF_MEMORY] * 2
    assert "3 out of memory" in crawler.typed("status", "studies/walk")
    crawler.environment["CRAWL_PAUSE_S"] = "0"
    said = crawler.typed("retry", "studies/walk", "--out-of-memory", "--memory", "x1.5")
    assert "2 out of memory to run again" in said and "300 MB" in said
    crawler.until_settled(2)
    assert crawler.outcomes() == [Outcome.DONE] * 2
    assert "#SBATCH --mem=300M" in (crawler.path / "jobs" / "0004.sh").read_text()
