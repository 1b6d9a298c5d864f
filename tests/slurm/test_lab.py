"""The lab is a Slurm that behaves, and that leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lab_host
import pytest
from lab import SlurmLab
from lab_host import NoSlurmHereError, SlurmLabError
from lab_processes import processes

pytestmark = pytest.mark.slurm

HERE = Path(__file__).parent


def submit(lab: SlurmLab, folder: Path, script: str, *options: str) -> str:
    """Return the id of a job of one shell script whose output goes to `folder`."""
    out = f"--output={folder}/%A_%a.out"
    return lab.run("sbatch", "--parsable", out, *options, "--wrap", script).strip()


def states(lab: SlurmLab, job: str) -> list[str]:
    return lab.run("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%T").split()


def all_are(lab: SlurmLab, job: str, state: str) -> Callable[[], bool]:
    return lambda: set(states(lab, job)) == {state}


def test_a_job_runs(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    job = submit(slurm_lab, tmp_path, "hostname >/dev/null; echo $SLURM_ARRAY_TASK_ID", "--array=7")
    slurm_lab.wait_for(all_are(slurm_lab, job, "COMPLETED"), "the job's end")
    assert (tmp_path / f"{job}_7.out").read_text() == "7\n"


def test_slurms_commands_in_a_test_talk_to_the_lab(slurm_lab: SlurmLab) -> None:
    sinfo = subprocess.run(["sinfo", "-h", "-o", "%D"], capture_output=True, text=True, check=True)
    assert sinfo.stdout.strip() == "4"


def test_a_step_sees_the_gpus_it_asked_for(slurm_lab: SlurmLab) -> None:
    seen = slurm_lab.run("srun", "--gres=gpu:2", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert seen.strip() == "0,1"


def test_a_requeued_task_starts_again_and_knows_it(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    script = 'echo "start ${SLURM_RESTART_COUNT-none}"; [ -n "$SLURM_RESTART_COUNT" ] || sleep 99'
    options = ("--array=0-1", "--requeue", "--open-mode=append")
    job = submit(slurm_lab, tmp_path, script, *options)
    log = tmp_path / f"{job}_0.out"
    slurm_lab.wait_for(lambda: log.exists() and log.read_text(), "the first start")
    slurm_lab.run("scontrol", "requeue", f"{job}_0")
    slurm_lab.wait_for(all_are(slurm_lab, f"{job}_0", "COMPLETED"), "the second end")
    starts = [line for line in log.read_text().splitlines() if line.startswith("start")]
    assert starts == ["start none", "start 1"]


def test_a_controller_killed_and_restarted_keeps_its_jobs(
    slurm_lab: SlurmLab, tmp_path: Path
) -> None:
    job = submit(slurm_lab, tmp_path, "sleep 10", "--array=0-1", "--cpus-per-task=4")
    held = submit(slurm_lab, tmp_path, "true", "--hold")
    slurm_lab.wait_for(all_are(slurm_lab, job, "RUNNING"), "both tasks running")
    slurm_lab.wait_until_saved()
    slurm_lab.kill_controller()
    with pytest.raises(SlurmLabError):
        slurm_lab.run("squeue", "-h")
    slurm_lab.start_controller()
    assert states(slurm_lab, held) == ["PENDING"]
    slurm_lab.wait_for(all_are(slurm_lab, job, "COMPLETED"), "both tasks' end")


def test_jobs_of_a_node_set_down_go_back_to_the_queue(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    job = submit(slurm_lab, tmp_path, "sleep 99", "--nodelist=node2", "--requeue")
    slurm_lab.wait_for(all_are(slurm_lab, job, "RUNNING"), "the job running")
    slurm_lab.set_node(2, "down")
    slurm_lab.wait_for(all_are(slurm_lab, job, "PENDING"), "the job back in the queue")


def test_a_killed_node_takes_its_jobs_processes_along(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"echo $$ >>{pids}; srun sh -c 'echo $$ >>{pids}; sleep 99'"
    submit(slurm_lab, tmp_path, script, "--nodelist=node3")
    slurm_lab.wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2, "the step")
    slurm_lab.kill_node(3)
    alive = processes(slurm_lab.folder)
    assert not alive & {int(pid) for pid in pids.read_text().split()}


def test_clear_leaves_an_empty_queue_on_idle_nodes(slurm_lab: SlurmLab, tmp_path: Path) -> None:
    stubborn = submit(slurm_lab, tmp_path, "trap '' TERM; sleep 99", "--array=0-3")
    slurm_lab.wait_for(all_are(slurm_lab, stubborn, "RUNNING"), "all tasks running")
    slurm_lab.set_node(1, "drain")
    slurm_lab.kill_node(2)
    slurm_lab.kill_controller()
    slurm_lab.clear()
    assert slurm_lab.run("squeue", "-h") == ""
    assert slurm_lab.run("sinfo", "-h", "-o", "%T").split() == ["idle"]


def test_accounts_remember_a_finished_task(slurm_accounts: SlurmLab, tmp_path: Path) -> None:
    job = submit(slurm_accounts, tmp_path, "exit 3", "--array=4")

    def remembered() -> str:
        columns = ("-o", "JobID,State,ExitCode")
        return slurm_accounts.run("sacct", "-n", "-P", "-X", "-j", job, *columns).strip()

    # For some seconds Slurm lists the task without its index.
    slurm_accounts.wait_for(lambda: remembered() == f"{job}_4|FAILED|3:0", "the task's account")


def test_a_limit_set_in_the_accounts_is_enforced(slurm_accounts: SlurmLab, tmp_path: Path) -> None:
    slurm_accounts.sacctmgr("add", "qos", "few", "maxsubmitjobsperuser=2")
    slurm_accounts.sacctmgr("modify", "user", "set", "qos+=few")
    try:
        with pytest.raises(SlurmLabError, match="QOSMaxSubmitJobPerUserLimit"):
            submit(slurm_accounts, tmp_path, "true", "--array=0-2", "--qos=few")
    finally:
        slurm_accounts.sacctmgr("delete", "qos", "few")


def test_extra_settings_win_and_nothing_is_said_about_it() -> None:
    _skip_without_slurm()
    with SlurmLab(nodes=1, extra_conf=["MaxArraySize=64"]) as lab:
        answer = subprocess.run(
            ["scontrol", "show", "config"],
            env={**os.environ, **lab.environment()},
            capture_output=True,
            text=True,
            check=True,
        )
    assert "MaxArraySize            = 64" in answer.stdout
    assert answer.stderr == ""


def test_nothing_is_left_after_stop(tmp_path: Path) -> None:
    _skip_without_slurm()
    lab = SlurmLab(nodes=2)
    lab.start()
    folder = lab.folder
    started = tmp_path / "started"
    submit(lab, tmp_path, f"setsid sleep 98 & trap '' TERM; echo $! >>{started}; sleep 99")
    lab.wait_for(lambda: started.exists() and started.read_text(), "the job's processes")
    assert int(started.read_text()) in processes(folder)
    lab.stop()
    assert processes(folder) == set()
    assert not folder.exists()


def test_nothing_is_left_when_the_test_process_is_killed() -> None:
    _skip_without_slurm()
    script = (
        "from lab import SlurmLab; lab = SlurmLab(nodes=2); lab.start(); "
        "print(lab.folder, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as tests:
        assert tests.stdout is not None
        folder = Path(tests.stdout.readline().strip())
        assert len(processes(folder)) >= 4
        tests.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not folder.exists()
    assert processes(folder) == set()


def test_two_labs_run_side_by_side() -> None:
    _skip_without_slurm()
    with SlurmLab(nodes=1) as one, SlurmLab(nodes=2) as two:
        assert one.run("sinfo", "-h", "-o", "%D").strip() == "1"
        assert two.run("sinfo", "-h", "-o", "%D").strip() == "2"


def test_a_host_without_slurm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    assert "apt-get install slurm-wlm munge" in (lab_host.why_not() or "")
    with pytest.raises(NoSlurmHereError, match="slurmctld"):
        SlurmLab().start()


def _skip_without_slurm() -> None:
    reason = lab_host.why_not()
    if reason is not None:
        pytest.skip(reason)
