"""The imitated Slurm behaves as a real one was seen to behave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from phasecube.cluster.rehearsal import FakeCluster, FakePartition, FakeSlurm, RehearsalError

SQUEUE = ("squeue", "-h", "-a", "-t", "all", "-o", "%F|%K|%T|%r")
FAST: dict[str, Any] = {"requeue_delay_s": 0.1, "kill_wait_s": 0.3}
FOR_EVER = "sleep 60"
# Says what it is sent, and leaves on the second TERM only.
STUBBORN = "trap 'echo term' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.02; done"
IN_STEP = f'srun bash -c "{STUBBORN}"'
BATCH_FAILED = "sbatch: error: Batch job submission failed: "
UNAVAILABLE = BATCH_FAILED + "Requested node configuration is not available"


@dataclass
class Lab:
    """A fake Slurm, its commands, and waiting for what they show."""

    slurm: FakeSlurm
    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = self.slurm.environment()
        return subprocess.run(
            words, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=20
        )

    def said(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def script(self, body: str, **options: Any) -> str:
        options = {"job-name": "test", "output": "%A_%a.log", "open-mode": "append"} | options
        lines = [
            f"#SBATCH --{name.replace('_', '-')}" + ("" if value is True else f"={value}")
            for name, value in options.items()
        ]
        path = self.folder / "job.sh"
        path.write_text("\n".join(["#!/bin/bash", *lines, body, ""]))
        return str(path)

    def submit(self, body: str, **options: Any) -> str:
        return self.said("sbatch", self.script(body, **options)).split()[-1]

    def refused(self, **options: Any) -> tuple[str, int]:
        done = self.run("sbatch", self.script("true", **options))
        return done.stderr.strip(), done.returncode

    def queue(self) -> list[str]:
        return self.said(*SQUEUE).split("\n")[:-1]

    def task(self, name: str) -> dict[str, Any]:
        job, _, index = name.partition("_")
        wanted = (int(job), int(index) if index else None)
        return next(t for t in self.slurm.tasks() if (t["array"], t["index"]) == wanted)

    def until(self, name: str, *states: str, restarts: int = 0) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            task = self.task(name)
            return task if task["state"] in states and task["restarts"] >= restarts else None

        found: dict[str, Any] = waited_for(there)
        return found

    def log(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def until_log(self, name: str, text: str) -> None:
        waited_for(lambda: text in self.log(name))


def waited_for(question: Callable[[], Any], seconds: float = 8.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := question():
            return answer
        time.sleep(0.01)
    raise AssertionError("it did not happen")


@contextmanager
def lab(folder: Path, **cluster: Any) -> Iterator[Lab]:
    with FakeSlurm(folder / "slurm", FakeCluster(**{**FAST, **cluster})) as slurm:
        yield Lab(slurm, folder)
    assert (folder / "slurm" / "controller.log").read_text() == ""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("two"), nodes=2) as it:
        yield it


@pytest.fixture
def two(shared: Lab) -> Iterator[Lab]:
    """Two nodes of one core, nothing queued: one cluster for all, emptied after each test."""
    yield shared
    for array in {task["array"] for task in shared.slurm.tasks()}:
        shared.slurm.do("forget", task=str(array))
    for node in ("node1", "node2"):
        shared.slurm.do("restore_node", node=node)


def alive(pid: int) -> bool:
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# Running


def test_task_runs_with_the_environment_slurm_gives(two: Lab) -> None:
    job = two.submit("env", array="0-2", cpus_per_task=1, mem="100M")
    two.until(f"{job}_1", "COMPLETED")
    said = two.log(f"{job}_1.log").splitlines()
    assert {f"SLURM_ARRAY_JOB_ID={job}", "SLURM_ARRAY_TASK_ID=1", "SLURM_CPUS_PER_TASK=1"} <= set(
        said
    )
    assert not any(line.startswith("SLURM_RESTART_COUNT") for line in said)


def test_last_task_of_an_array_has_the_arrays_own_job_id(two: Lab) -> None:
    job = two.submit("true", array="0-2")
    two.until(f"{job}_2", "COMPLETED")
    assert two.task(f"{job}_2")["job_id"] == int(job)
    assert two.task(f"{job}_0")["job_id"] != int(job)


def test_srun_appends_to_its_output_and_passes_on_the_exit_code(two: Lab) -> None:
    body = "srun --unbuffered --output=step_%A_%a_%t.log bash -c 'echo out; echo err >&2; exit 7'"
    job = two.submit(body, array="0-0")
    assert two.until(f"{job}_0", "FAILED")["exit_code"] == "7:0"
    two.run("scontrol", "requeue", f"{job}_0")
    two.until(f"{job}_0", "FAILED", restarts=1)
    assert two.log(f"step_{job}_0_0.log") == "out\nerr\n" * 2


def test_gpus_are_shared_out(tmp_path: Path) -> None:
    with lab(tmp_path, nodes=1, cpus_per_node=4, gpus_per_node=2) as it:
        job = it.submit(f"echo gpu $CUDA_VISIBLE_DEVICES; {FOR_EVER}", array="0-2", gres="gpu:1")
        it.until_log(f"{job}_0.log", "gpu 0\n")
        it.until_log(f"{job}_1.log", "gpu 1\n")
        assert it.task(f"{job}_2")["reason"] == "Resources"


@pytest.mark.parametrize(("option", "value"), [("cpus_per_task", 2), ("mem", "3G")])
def test_what_does_not_fit_on_a_node_waits(tmp_path: Path, option: str, value: Any) -> None:
    with lab(tmp_path, nodes=1, cpus_per_node=3) as it:
        job = it.submit(FOR_EVER, array="0-1", **{option: value})
        it.until(f"{job}_0", "RUNNING")
        assert it.task(f"{job}_1")["reason"] == "Resources"
        other = it.submit("true", cpus_per_task=2)
        waited_for(lambda: it.task(other)["reason"] in ("Priority", "None"))


def test_throttle_holds_and_can_be_raised(tmp_path: Path) -> None:
    with lab(tmp_path, nodes=4) as it:
        job = it.submit(FOR_EVER, array="0-9%2")
        it.until(f"{job}_1", "RUNNING")
        assert it.queue()[0] == f"{job}|2-9%2|PENDING|JobArrayTaskLimit"
        it.said("scontrol", "update", f"JobId={job}", "ArrayTaskThrottle=3")
        it.until(f"{job}_2", "RUNNING")
        assert it.task(f"{job}_3")["state"] == "PENDING"


def test_exit_codes_and_signals_are_told_apart(two: Lab) -> None:
    job = two.submit("case $SLURM_ARRAY_TASK_ID in 0) exit 7;; 1) kill -9 $$;; esac", array="0-2")
    for index, state in enumerate(("FAILED", "FAILED", "COMPLETED")):
        two.until(f"{job}_{index}", state)
    assert two.queue() == [
        f"{job}|0|FAILED|NonZeroExitCode",
        f"{job}|1|FAILED|JobLaunchFailure",
        f"{job}|2|COMPLETED|None",
    ]


def test_task_whose_log_cannot_be_written_fails_at_once(two: Lab) -> None:
    job = two.submit("true", array="0-0", output="/nowhere/%a.log")
    assert two.until(f"{job}_0", "FAILED")["reason"] == "JobLaunchFailure"


# Ending and coming back


def test_requeue_asks_then_kills_then_waits_then_starts_again(two: Lab) -> None:
    job = two.submit(f"echo start $SLURM_RESTART_COUNT; {IN_STEP}", array="0-0")
    two.until_log(f"{job}_0.log", "ready")
    old = two.until(f"{job}_0", "RUNNING")["pid"]
    two.said("scontrol", "requeue", f"{job}_0")
    assert two.queue() == [f"{job}|0|COMPLETING|None"]
    assert "Restarts=1" in two.said("scontrol", "show", "job", "-o", f"{job}_0")
    two.until_log(f"{job}_0.log", "start 1\n")
    waited_for(lambda: not alive(old))
    log = two.log(f"{job}_0.log")
    assert "DUE TO JOB REQUEUE" in log and log.index("term") < log.index("start 1")


def test_task_requeues_itself(two: Lab) -> None:
    itself = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    body = f"echo start; [ $SLURM_RESTART_COUNT ] || {{ scontrol requeue {itself}; sleep 5; }}"
    job = two.submit(body, array="0-0")
    two.until(f"{job}_0", "COMPLETED", restarts=1)
    assert two.log(f"{job}_0.log").count("start") == 2


def test_requeue_of_a_waiting_task_is_refused(two: Lab) -> None:
    job = two.submit("true", array="0-3", hold=True)
    done = two.run("scontrol", "requeue", f"{job}_2")
    assert (done.stderr, done.returncode) == (f"{job}_0-3: Job is pending execution\n", 1)


def test_requeue_without_leave_is_refused(two: Lab) -> None:
    job = two.submit(FOR_EVER, array="0-0", no_requeue=True)
    two.until(f"{job}_0", "RUNNING")
    done = two.run("scontrol", "requeue", f"{job}_0")
    assert done.stderr == f"{job}_0: Requested operation is presently disabled\n"
    assert done.returncode == 1


def test_requeue_of_what_is_unknown_is_refused(two: Lab) -> None:
    done = two.run("scontrol", "requeue", "99_3")
    assert (done.stderr, done.returncode) == ("99_3: Invalid job id specified\n", 1)


def test_time_limit_warns_the_step_then_ends_the_task(tmp_path: Path) -> None:
    with lab(tmp_path, minute_s=1.2) as it:
        body = f"trap 'echo batch usr1' USR1; {IN_STEP}"
        job = it.submit(body, array="0-0", time=1, signal="USR1@20")
        task = it.until(f"{job}_0", "TIMEOUT")
        log = it.log(f"{job}_0.log")
        assert task["reason"] == "TimeLimit"
        assert log.index("usr1") < log.index("DUE TO TIME LIMIT") < log.rindex("term")
        assert "batch usr1" not in log


def test_task_finished_by_its_warning_completes(tmp_path: Path) -> None:
    with lab(tmp_path, minute_s=1.2) as it:
        body = "srun bash -c \"trap 'exit 0' USR1; while :; do sleep 0.02; done\""
        job = it.submit(body, array="0-0", time=1, signal="USR1@20")
        it.until(f"{job}_0", "COMPLETED")


# Cancelling


def test_scancel_of_a_running_task(two: Lab) -> None:
    job = two.submit(IN_STEP, array="0-1")
    two.until(f"{job}_1", "RUNNING")
    two.until_log(f"{job}_0.log", "ready")
    two.said("scancel", f"{job}_0")
    two.until(f"{job}_0", "CANCELLED")
    assert "CANCELLED AT" in two.log(f"{job}_0.log")
    assert two.task(f"{job}_1")["state"] == "RUNNING"


def test_waiting_tasks_that_are_cancelled_leave_no_trace(tmp_path: Path) -> None:
    with lab(tmp_path, nodes=1, accounting=True) as it:
        job = it.submit(FOR_EVER, array="0-9")
        it.until(f"{job}_0", "RUNNING")
        it.said("scancel", f"{job}_[4-5]", f"{job}_8")
        shown = it.said("sacct", "-n", "-P", "-X", "-j", job, "-o", "JobID,State")
        assert it.queue()[0] == f"{job}|1-3,6-7,9|PENDING|Resources"
        assert shown == f"{job}_[1-3,6-7,9]|PENDING\n{job}_0|RUNNING\n"


def test_scancel_of_a_whole_array(tmp_path: Path) -> None:
    with lab(tmp_path, nodes=1) as it:
        job = it.submit("trap '' TERM; sleep 60", array="0-9%4")
        it.until(f"{job}_0", "RUNNING")
        it.said("scancel", job)
        it.until(f"{job}_0", "CANCELLED")
        assert it.queue() == [f"{job}|1-9%4|CANCELLED|Resources", f"{job}|0|CANCELLED|None"]


def test_scancel_of_what_is_unknown_says_nothing(two: Lab) -> None:
    assert two.said("scancel", "99", "99_[3-4]") == ""
    assert two.run("scancel", "x").stderr == "scancel: error: Invalid job id x\n"


def test_task_that_requeues_itself_while_cancelled_comes_back(two: Lab) -> None:
    itself = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    again = f"trap 'scontrol requeue {itself}; exit' TERM"
    job = two.submit(f"echo start; {again}; echo ready; sleep 60 & wait", array="0-0")
    two.until_log(f"{job}_0.log", "ready")
    two.said("scancel", f"{job}_0")
    two.until(f"{job}_0", "RUNNING", restarts=1)


def test_signal_reaches_the_step_alone(two: Lab) -> None:
    job = two.submit(f"trap 'echo batch' USR1; {IN_STEP}", array="0-0")
    two.until_log(f"{job}_0.log", "ready")
    two.said("scancel", "-s", "USR1", f"{job}_0")
    two.until_log(f"{job}_0.log", "usr1")
    assert two.task(f"{job}_0")["state"] == "RUNNING"


# Holding


def test_hold_and_release(two: Lab) -> None:
    job = two.submit("true", array="0-3", hold=True)
    assert two.queue() == [f"{job}|0-3|PENDING|JobHeldUser"]
    two.said("scontrol", "release", f"{job}_[1-2]")
    two.until(f"{job}_1", "COMPLETED")
    two.until(f"{job}_2", "COMPLETED")
    assert two.queue()[0] == f"{job}|0,3|PENDING|JobHeldUser"
    done = two.run("scontrol", "hold", f"{job}_1")
    assert (done.stderr, done.returncode) == (f"{job}_1: Job has already finished\n", 1)


def test_waiting_tasks_held_one_by_one_are_shown_with_the_rest(tmp_path: Path) -> None:
    with lab(tmp_path, nodes=1) as it:
        job = it.submit(FOR_EVER, array="0-5%1")
        it.until(f"{job}_0", "RUNNING")
        it.said("scontrol", "hold", f"{job}_3")
        held = "JobHeldAdmin" if os.getuid() == 0 else "JobHeldUser"
        assert it.queue()[0] == f"{job}|1-5|PENDING|JobArrayTaskLimit,{held}"


# Refusals


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        ({"array": "0-64"}, BATCH_FAILED + "Invalid job array specification", 1),
        ({"array": "3-1"}, BATCH_FAILED + "Invalid job array specification", 1),
        (
            {"partition": "nope"},
            "sbatch: error: invalid partition specified: nope\n"
            + BATCH_FAILED
            + "Invalid partition name specified",
            1,
        ),
        (
            {"account": "x"},
            BATCH_FAILED + "Invalid account or account/partition combination specified",
            1,
        ),
        ({"qos": "x"}, BATCH_FAILED + "Invalid qos specification", 1),
        (
            {"mem": "8GB"},
            f"sbatch: error: Memory specification can not be satisfied\n{UNAVAILABLE}",
            1,
        ),
        ({"mem": "x"}, "sbatch: error: Invalid --mem specification", 255),
        (
            {"cpus_per_task": 2},
            f"sbatch: error: CPU count per node can not be satisfied\n{UNAVAILABLE}",
            1,
        ),
        ({"cpus_per_task": 9}, BATCH_FAILED + "More processors requested than permitted", 1),
        ({"gres": "gpu:2"}, UNAVAILABLE, 1),
        ({"gres": "gpu:a100:1"}, UNAVAILABLE, 1),
        ({"gres": "tpu:1"}, "sbatch: error: Invalid generic resource (gres) specification", 1),
        ({"constraint": "fast"}, BATCH_FAILED + "Invalid feature specification", 1),
        ({"time": "soon"}, "sbatch: error: Invalid --time specification", 255),
        (
            {"time": "2:00:00"},
            BATCH_FAILED + "Requested time limit is invalid (missing or exceeds some limit)",
            1,
        ),
        ({"signal": "bogus@3"}, "sbatch: error: Invalid --signal specification", 255),
        (
            {"bogus": 1},
            "sbatch: unrecognized option '--bogus=1'\nTry \"sbatch --help\" for more information",
            255,
        ),
        (
            {"array": "0-10"},
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + BATCH_FAILED + "Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)",
            1,
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_refused_in_slurms_words(
    strict: Lab, options: dict[str, Any], said: str, code: int
) -> None:
    assert strict.refused(**options) == (said, code)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(
        tmp_path_factory.mktemp("strict"),
        partitions=(FakePartition("main", max_time_s=3600),),
        gpus_per_node=1,
        accounts=("ci",),
        qos=("normal",),
        accounting=True,
        max_array_size=64,
        max_submit=10,
    ) as it:
        yield it


def test_a_file_that_is_no_script_is_refused(two: Lab) -> None:
    (two.folder / "plain.sh").write_text("echo hi\n")
    done = two.run("sbatch", "plain.sh")
    assert done.returncode == 1
    assert done.stderr.startswith("sbatch: error: This does not look like a batch script.")
    assert two.run("sbatch", "no.sh").stderr == "sbatch: error: Unable to open file no.sh\n"


def test_the_queue_empties_and_the_submit_limit_lets_go(tmp_path: Path) -> None:
    with lab(tmp_path, max_submit=3) as it:
        job = it.submit(FOR_EVER, array="0-2")
        assert "QOSMaxSubmitJobPerUserLimit" in it.refused()[0]
        it.said("scancel", job)
        waited_for(lambda: it.refused() == ("", 0))


def test_an_accounts_own_limit_counts_its_tasks_alone(tmp_path: Path) -> None:
    with lab(tmp_path, accounting=True, max_submit_account=3) as it:
        it.submit(FOR_EVER, array="0-2", account="one")
        assert it.refused(account="one")[0].startswith("sbatch: error: AssocMaxSubmitJobLimit\n")
        it.submit(FOR_EVER, array="0-2", account="two")


def test_too_many_jobs_in_all_are_refused(tmp_path: Path) -> None:
    with lab(tmp_path, max_job_count=5) as it:
        assert "Resource temporarily unavailable" in it.refused(array="0-9")[0]


def test_without_accounting_any_account_goes_and_accounts_are_refused(two: Lab) -> None:
    assert two.refused(account="x", qos="y") == ("", 0)
    done = two.run("sacct", "-n", "-P", "-X", "-j", "1", "-o", "JobID,State,ExitCode")
    assert (done.stderr, done.returncode) == ("Slurm accounting storage is disabled\n", 1)
    assert "You are not running a supported" in two.run("sacctmgr", "show", "qos").stderr


def test_indices_a_step_apart_are_written_as_slurm_does(two: Lab) -> None:
    job = two.submit("true", array="0-399:3%7", hold=True)
    assert two.queue() == [f"{job}|0-399:3%7|PENDING|JobHeldUser"]


# What the cluster says of itself


def test_limits_can_be_read(strict: Lab) -> None:
    assert "MaxArraySize            = 64\n" in strict.said("scontrol", "show", "config")
    assert " MaxTime=01:00:00 " in strict.said("scontrol", "show", "partition", "-o", "main")
    asked = ("sacctmgr", "-n", "-P", "show", "qos", "format=Name,MaxSubmitJobsPerUser,MaxWall")
    assert strict.said(*asked) == "normal|10|\n"
    asked = ("sacctmgr", "-n", "-P", "show", "assoc", "format=Account,User,MaxSubmit,QOS")
    assert strict.said(*asked).startswith("ci|")
    assert strict.said("sinfo", "-h", "-o", "%P|%l|%D|%c|%m|%G") == "main*|1:00:00|4|1|4000|gpu:1\n"
    assert strict.run("scontrol", "show", "partition", "x").stderr == "Partition x not found\n"


def test_what_counts_against_submit_limits_is_listed_one_by_one(two: Lab) -> None:
    two.submit(FOR_EVER, array="0-4")
    states = "pending,running,completing,suspended"
    shown = two.said("squeue", "-h", "-a", "-r", "-t", states, "-o", "%P|%q|%a")
    assert shown == "main|(null)|(null)\n" * 5


def test_squeue_complains_of_an_unknown_user_and_goes_on(two: Lab) -> None:
    done = two.run("squeue", "-h", "-u", "nosuchuser")
    assert (done.stdout, done.returncode) == ("", 0)
    assert "Invalid user: nosuchuser" in done.stderr


def test_finished_tasks_are_forgotten_by_squeue_and_known_to_sacct(tmp_path: Path) -> None:
    with lab(tmp_path, min_job_age_s=0.2, accounting=True) as it:
        job = it.submit("exit 3", array="0-0")
        it.until(f"{job}_0", "FAILED")
        waited_for(lambda: it.queue() == [])
        shown = it.said("sacct", "-n", "-P", "-X", "-j", job, "-o", "JobID,State,ExitCode")
        assert shown == f"{job}_0|FAILED|3:0\n"


def test_sacct_names_who_cancelled_and_what_was_requeued(tmp_path: Path) -> None:
    with lab(tmp_path, nodes=2, accounting=True, requeue_delay_s=60) as it:
        job = it.submit(FOR_EVER, array="0-1")
        it.until(f"{job}_1", "RUNNING")
        it.said("scancel", f"{job}_0")
        it.said("scontrol", "requeue", f"{job}_1")
        it.until(f"{job}_0", "CANCELLED")
        it.until(f"{job}_1", "PENDING")
        shown = it.said("sacct", "-n", "-P", "-X", "--name", "test", "-o", "JobID,State")
        assert shown == f"{job}_0|CANCELLED by {os.getuid()}\n{job}_1|REQUEUED\n"


# Misfortunes


def test_preempted_task_is_requeued(two: Lab) -> None:
    job = two.submit(FOR_EVER, array="0-0")
    two.until(f"{job}_0", "RUNNING")
    two.slurm.do("preempt", task=f"{job}_0")
    two.until(f"{job}_0", "RUNNING", restarts=1)
    assert "DUE TO PREEMPTION" in two.log(f"{job}_0.log")


def test_preempted_task_is_cancelled_where_the_partition_cancels(two: Lab) -> None:
    job = two.submit(FOR_EVER, array="0-0")
    two.until(f"{job}_0", "RUNNING")
    two.slurm.do("preempt", task=f"{job}_0", mode="cancel")
    two.until(f"{job}_0", "PREEMPTED")


def test_task_that_leaves_within_the_grace_counts_as_completed(two: Lab) -> None:
    body = "srun bash -c \"trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done\""
    job = two.submit(body, array="0-0")
    two.until_log(f"{job}_0.log", "ready")
    two.slurm.do("preempt", task=f"{job}_0", grace_s=5)
    two.until(f"{job}_0", "COMPLETED")


def test_grace_of_a_preemption_shows_and_ends(two: Lab) -> None:
    job = two.submit(IN_STEP, array="0-0")
    two.until_log(f"{job}_0.log", "ready")
    two.slurm.do("preempt", task=f"{job}_0", grace_s=0.3)
    shown = two.said("scontrol", "show", "job", "-o", f"{job}_0")
    assert "JobState=RUNNING" in shown and "PreemptTime=20" in shown
    two.until(f"{job}_0", "RUNNING", restarts=1)


def test_failed_node_requeues_its_tasks_elsewhere(two: Lab) -> None:
    job = two.submit(FOR_EVER, array="0-0")
    task = two.until(f"{job}_0", "RUNNING")
    two.slurm.do("fail_node", node=task["node"])
    waited_for(lambda: not alive(task["pid"]))
    again = two.until(f"{job}_0", "RUNNING", restarts=1)
    assert again["node"] != task["node"]
    assert "down" in two.said("sinfo", "-h", "-o", "%T")


def test_failed_node_ends_what_may_not_be_requeued(two: Lab) -> None:
    job = two.submit(FOR_EVER, array="0-0", no_requeue=True)
    task = two.until(f"{job}_0", "RUNNING")
    two.slurm.do("fail_node", node=task["node"])
    assert two.queue() == [f"{job}|0|NODE_FAIL|NodeDown"]
    two.slurm.do("restore_node", node=task["node"])
    assert two.said("sinfo", "-h", "-o", "%T|%D") == "idle|2\n"


def test_processes_may_outlive_their_node(two: Lab) -> None:
    job = two.submit(FOR_EVER, array="0-0")
    task = two.until(f"{job}_0", "RUNNING")
    two.slurm.do("fail_node", node=task["node"], linger_s=0.3)
    two.until(f"{job}_0", "RUNNING", restarts=1)
    assert alive(task["pid"])
    waited_for(lambda: not alive(task["pid"]))
    assert two.task(f"{job}_0")["state"] == "RUNNING"


def test_out_of_memory(two: Lab) -> None:
    job = two.submit(FOR_EVER, array="0-0")
    two.until(f"{job}_0", "RUNNING")
    two.slurm.do("out_of_memory", task=f"{job}_0")
    assert two.queue() == [f"{job}|0|OUT_OF_MEMORY|OutOfMemory"]
    assert "oom_kill" in two.log(f"{job}_0.log")


def test_killed_step_fails_its_task(two: Lab) -> None:
    job = two.submit(IN_STEP, array="0-0")
    two.until_log(f"{job}_0.log", "ready")
    two.slurm.do("kill", task=f"{job}_0")
    assert two.until(f"{job}_0", "FAILED")["exit_code"] == "137:0"


def test_silent_controller_is_not_reached_and_tasks_go_on(tmp_path: Path) -> None:
    with lab(tmp_path, accounting=True) as it:
        job = it.submit("sleep 0.2; echo done", array="0-0")
        it.slurm.do("silence", seconds=60)
        assert it.run("squeue").stderr == (
            "slurm_load_jobs error: Transport endpoint is not connected\n"
        )
        said, code = it.refused()
        assert said.endswith("Unable to contact slurm controller (connect failure)") and code == 1
        assert it.run("sacct").returncode == 0
        it.until(f"{job}_0", "COMPLETED")
        it.slurm.do("silence", seconds=0)
        assert it.run("squeue").returncode == 0


def test_dead_controller_is_not_reached_and_leaves_nothing(tmp_path: Path) -> None:
    slurm = FakeSlurm(tmp_path / "slurm", FakeCluster(**FAST))
    slurm.start()
    it = Lab(slurm, tmp_path)
    job = it.submit("srun sleep 61 & setsid sleep 61 & wait", array="0-0")
    pid = it.until(f"{job}_0", "RUNNING")["pid"]
    slurm.crash()
    assert it.run("squeue").returncode == 1
    slurm.stop()
    waited_for(lambda: not alive(pid))


def test_forgotten_task_is_unknown_everywhere(tmp_path: Path) -> None:
    with lab(tmp_path, accounting=True) as it:
        job = it.submit(FOR_EVER, array="0-1")
        pid = it.until(f"{job}_0", "RUNNING")["pid"]
        it.slurm.do("forget", task=f"{job}_0")
        waited_for(lambda: not alive(pid))
        assert it.queue() == [f"{job}|1|RUNNING|None"]
        assert it.said("sacct", "-n", "-P", "-X", "-o", "JobID") == f"{job}_1\n"
        assert it.run("scontrol", "requeue", f"{job}_0").returncode == 1


def test_task_that_cannot_launch_is_requeued_and_held(two: Lab) -> None:
    job = two.submit(FOR_EVER, array="0-0")
    two.until(f"{job}_0", "RUNNING")
    two.slurm.do("launch_failure", task=f"{job}_0")
    assert two.queue() == [f"{job}|0|PENDING|launch failed requeued held"]
    two.said("scontrol", "release", f"{job}_0")
    two.until(f"{job}_0", "RUNNING", restarts=1)


def test_task_whose_start_was_not_saved_starts_anew_and_counts_no_restart(two: Lab) -> None:
    job = two.submit(f'echo "restart $SLURM_RESTART_COUNT"; {FOR_EVER}', array="0-1")
    two.until(f"{job}_1", "RUNNING")
    before = two.task(f"{job}_0")
    two.slurm.do("unsaved_start", task=f"{job}_0")
    waited_for(lambda: two.log(f"{job}_0.log") == "restart \n" * 2)
    assert two.task(f"{job}_0")["job_id"] != before["job_id"]
    waited_for(lambda: not alive(before["pid"]))


def test_array_lost_by_a_crash_gives_its_id_to_the_next(two: Lab) -> None:
    lost = two.submit(FOR_EVER, array="0-3")
    two.until(f"{lost}_0", "RUNNING")
    two.slurm.do("lose_arrays", since=int(lost))
    assert two.queue() == []
    assert two.submit("true") == lost


def test_accounts_may_know_less_than_the_queue(tmp_path: Path) -> None:
    with lab(tmp_path, nodes=1, accounting=True, accounts_lag_s=60) as it:
        job = it.submit("exit 3", array="0-0")
        it.until(f"{job}_0", "FAILED")
        asked = ("sacct", "-n", "-P", "-X", "-j", job, "-o", "JobID,State")
        assert it.said(*asked) == f"{job}|FAILED\n"


def test_what_cannot_happen_is_said(two: Lab) -> None:
    job = two.submit("true", array="0-0", hold=True)
    with pytest.raises(RehearsalError, match="PENDING, not running"):
        two.slurm.do("kill", task=f"{job}_0")
    with pytest.raises(RehearsalError, match="no such node"):
        two.slurm.do("fail_node", node="node9")
    with pytest.raises(RehearsalError, match="no such action"):
        two.slurm.do("flood")


def test_everything_ends_well_after_a_storm(tmp_path: Path) -> None:
    with lab(tmp_path, nodes=3, requeue_delay_s=0.02, kill_wait_s=0.1) as it:
        job = it.submit("trap 'exit 1' TERM; srun sleep 0.1", array="0-5")
        it.slurm.do("storm", rate_per_s=30, seed=1, kinds=("preempt", "requeue", "fail_node"))
        time.sleep(0.5)
        it.slurm.do("calm")
        for index in range(6):
            it.until(f"{job}_{index}", "COMPLETED")
        assert it.slurm.do("interruptions")


# Leaving nothing


def test_stop_kills_processes_that_left_their_session(tmp_path: Path) -> None:
    with lab(tmp_path) as it:
        body = f"setsid bash -c 'echo $$ > {tmp_path}/pid; exec sleep 61' & wait"
        job = it.submit(body, array="0-0")
        pid = int(waited_for(lambda: it.log("pid").strip()))
        it.until(f"{job}_0", "RUNNING")
    waited_for(lambda: not alive(pid))


def test_controller_and_tasks_die_with_their_parent(tmp_path: Path) -> None:
    code = (
        "import sys, subprocess, time\nfrom pathlib import Path\n"
        "from phasecube.cluster.rehearsal import FakeSlurm\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "slurm = FakeSlurm(folder / 'slurm'); slurm.start()\n"
        "(folder / 'job.sh').write_text('#!/bin/bash\\nsrun sleep 61\\n')\n"
        "subprocess.run(['sbatch', 'job.sh'], env=slurm.environment(), cwd=folder, check=True,\n"
        "    stdout=subprocess.DEVNULL)\n"
        "while not (pid := slurm.tasks()[0]['pid']): time.sleep(0.01)\n"
        "print(pid, slurm.process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for pid in pids:
        waited_for(lambda pid=pid: not alive(pid))


def test_two_clusters_do_not_meet(tmp_path: Path) -> None:
    with lab(tmp_path / "a") as one, lab(tmp_path / "b") as other:
        job = one.submit(FOR_EVER)
        one.until(job, "RUNNING")
        assert other.queue() == []
    assert one.slurm.socket != other.slurm.socket
