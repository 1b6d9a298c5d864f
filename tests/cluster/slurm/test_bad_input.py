"""What is wrong with a submission is said in a sentence that tells what to do."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_user import IDLE, SWEEP, User, emptied, fake_slurm, mounted

from phasecube.cluster.job_array import array_path
from phasecube.cluster.rehearsal import FakePartition, FakeSlurm

PARTITIONS = (FakePartition("main"), FakePartition("short", max_time_s=3600))
NOT_HERE = (
    "is not on PATH, so this machine can submit nothing to Slurm; log in to the cluster's login "
    "node, or load its Slurm module"
)


def in_tasks(user: User) -> list[int]:
    """Return the packs of all tasks that Slurm may run, one as often as it is there."""
    arrays = [a for a in user.arrays() if a.withdrawn is None]
    return sorted(pack for array in arrays for task in array.packs for pack in task)


# No Slurm on PATH


@pytest.fixture
def stranger(tmp_path: Path) -> User:
    """On a machine without Slurm."""
    return User(tmp_path, None)


def test_without_slurm_a_submission_says_so(stranger: User) -> None:
    assert f"phasecube: scontrol {NOT_HERE}" in stranger.said("submit", "walk.toml", code=1)


def test_without_slurm_a_dry_run_prints_the_script_and_that_limits_are_unknown(
    stranger: User,
) -> None:
    said = stranger.typed("submit", "walk.toml", "--dry-run", "--time", "2h")
    assert "#SBATCH --time=120" in said and "array 1: 10 tasks of 1 pack each" in said
    assert f"warning: scontrol {NOT_HERE}; its limits are not known" in said
    assert not (stranger.path / "jobs").exists()


def test_without_slurm_the_state_of_submitted_tasks_is_unknown(user: User, tmp_path: Path) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    (tmp_path / "elsewhere").mkdir()
    stranger = User(tmp_path / "elsewhere", None)
    said = stranger.said("status", user.path)
    assert f"unknown: squeue {NOT_HERE}" in said and "Slurm tasks: 10 unknown" in said
    said = stranger.typed("cancel", user.path, code=1)
    assert f"phasecube: squeue {NOT_HERE}; nothing was done" in said
    for command in (["resume"], ["resume", "--to", "here"], ["retry", "--failed"]):
        said = stranger.typed(command[0], user.path, *command[1:], code=1)
        assert "may be running, so nothing was submitted" in said
    assert user.states().count("RUNNING") == 2


# Wrong partition, account, device, time


@pytest.fixture(scope="module")
def picky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSlurm]:
    """With accounts, two partitions, no GPU, and arrays of 64 tasks at most."""
    options = {"accounts": ("physics",), "qos": ("normal",), "accounting": True}
    folder = tmp_path_factory.mktemp("picky")
    with fake_slurm(folder, partitions=PARTITIONS, max_array_size=64, **options) as slurm:
        yield slurm


@pytest.fixture(scope="module")
def asker(picky: FakeSlurm, tmp_path_factory: pytest.TempPathFactory) -> User:
    """Asks for one thing after another, all in one study."""
    return User(tmp_path_factory.mktemp("asker"), picky)


REFUSED = {
    "partition": (
        ["--partition", "gpu"],
        1,
        "phasecube: there is no partition 'gpu'; give one by partition in [cluster.slurm] or by "
        "--partition; this cluster has: main, short",
    ),
    "account": (
        ["--account", "bio"],
        1,
        "account 'bio' does not exist, or is not yours; give `account` in [cluster.slurm], or "
        "--account; yours are: physics",
    ),
    "qos": (
        ["--qos", "gold"],
        1,
        "QOS 'gold' does not exist, or is not yours; give `qos` in [cluster.slurm], or --qos; "
        "yours are: normal",
    ),
    "device": (
        ["--gres", "tpu:1"],
        1,
        "the cluster knows no such device as 'tpu:1'; give `gres` in [cluster.slurm], or --gres",
    ),
    "devices": (["--gres", "gpu:9"], 1, "no node has what a task asks for (1 core, gpu:9); ask"),
    "gpus": (["--gpus", "2"], 1, "no node has what a task asks for (1 core, 2 GPUs); ask for less"),
    "feature": (["--constraint", "fast"], 1, "no node has the feature 'fast'; give `constraint`"),
    "memory": (
        ["--memory", "900G"],
        1,
        "no node has 921,600 MB of memory for a task; give `memory` in [cluster.slurm], or "
        "--memory",
    ),
    "unit": (["--memory", "lots"], 2, '--memory: takes a memory like "800M", "8G" or "1.5T"; got '),
    "time": (
        ["--time", "bogus"],
        2,
        """--time: takes a time like "4h", "90min" or "1-12:00:00"; got 'bogus'""",
    ),
    "walltime": (
        ["--partition", "short", "--time", "20d"],
        1,
        "a walltime of 28800 min is more than the 01:00:00 that partition short allows (MaxTime); "
        "ask for less with --time: a task whose time runs out goes back to the queue",
    ),
    "drift": (
        ["--drift", "ignore"],
        2,
        "--drift: input should be 'refuse' or 'warn'; got 'ignore'",
    ),
    "ours": (
        ["--sbatch=--array=1-3"],
        2,
        "--sbatch: phasecube sets --array itself; give `throttle` instead",
    ),
    "option": (
        ["--sbatch=--bogus=1"],
        1,
        "an option is wrong (sbatch: unrecognized option '--bogus=1'",
    ),
    "profile": (["--profile", "jupiter"], 2, "--profile: there is no profile 'jupiter'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_cluster_has_not_is_said_with_what_it_has(case: str, asker: User) -> None:
    flags, code, sentence = REFUSED[case]
    said = asker.typed("submit", "walk.toml", *flags, code=code)
    assert sentence in said
    assert asker.queued() == [] and in_tasks(asker) == []


def test_a_refusal_on_the_command_line_has_no_traceback(asker: User) -> None:
    assert "account 'bio' does not exist" in asker.said(
        "submit", "walk.toml", "--account", "bio", code=1
    )


def test_what_was_refused_is_not_asked_for_again(picky: FakeSlurm, tmp_path: Path) -> None:
    user = User(tmp_path, picky)
    with emptied(picky):
        user.typed("submit", "walk.toml", "--account", "bio", code=1)
        user.typed("submit", "walk.toml", "--memory", "900G", code=1)
        assert "10 tasks, 10 packs" in user.typed("submit", "walk.toml", *IDLE)
        assert user.arrays()[-1].flags == {"python": IDLE[1]}


def test_a_wrong_account_in_the_sweep_file_is_told_alike(picky: FakeSlurm, tmp_path: Path) -> None:
    user = User(tmp_path, picky, SWEEP + 'account = "bio"\n')
    assert "account 'bio' does not exist" in user.typed("submit", "walk.toml", code=1)


def test_a_wrong_time_in_the_sweep_file_is_one_of_its_faults(stranger: User) -> None:
    stranger.write(SWEEP.replace('walltime = "10min"', 'walltime = "soon"'))
    said = stranger.typed("submit", "walk.toml", code=2)
    assert "cluster.slurm.walltime: takes a time like" in said


# Limits


def test_arrays_are_cut_at_the_clusters_size_and_hold_every_pack_once(
    picky: FakeSlurm, tmp_path: Path
) -> None:
    user = User(tmp_path, picky, SWEEP.replace("stop = 4", "stop = 499"))
    with emptied(picky):
        said = user.typed("submit", "walk.toml", *IDLE, "--packs-per-job", "1")
        assert "1,000 tasks in 16 job arrays" in said
        assert in_tasks(user) == list(range(1000))
        assert [len(array.packs) for array in user.arrays()] == [64] * 15 + [40]
        assert len(user.queued()) == 1000


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[User]:
    """Of a cluster that takes ten tasks of a user."""
    with fake_slurm(tmp_path, max_submit=10, accounting=True) as slurm:
        yield User(tmp_path, slurm, SWEEP.replace("stop = 4", "stop = 11"))


def test_a_submit_limit_makes_waves_and_says_so(narrow: User) -> None:
    said = narrow.typed("submit", "walk.toml", *IDLE, "--packs-per-job", "1")
    assert "job array 1 (walk." in said and "10 tasks, 10 packs" in said
    assert "14 packs wait: " in said and "10 tasks in the queue" in said
    assert "`phasecube resume studies/walk` sends more as room appears; with --follow it" in said
    assert in_tasks(narrow) == list(range(10))


def test_resume_sends_the_next_wave_once_there_is_room(narrow: User) -> None:
    narrow.typed("submit", "walk.toml", *IDLE, "--packs-per-job", "1")
    said = narrow.typed("resume", "studies/walk")
    assert "14 packs wait" in said and len(narrow.queued()) == 10
    narrow.typed("cancel", "studies/walk", "--where", "rate < 0.15 and seed < 4")
    narrow.until(lambda: sum(s in ("PENDING", "RUNNING") for s in narrow.states()) == 6)
    said = narrow.typed("resume", "studies/walk")
    # Cancelled packs are open again, and come first.
    assert "4 tasks, 4 packs" in said and "14 packs wait" in said
    assert in_tasks(narrow) == sorted([*range(10), *range(4)])


def test_one_who_follows_gets_it_all_done_within_the_limit(
    quick_polls: None, tmp_path: Path
) -> None:
    with fake_slurm(tmp_path, max_submit=2, accounting=True) as slurm:
        user = User(tmp_path, slurm, SWEEP.replace("stop = 4", "stop = 2"))
        said = user.typed("submit", "walk.toml", "--packs-per-job", "2", "--follow")
    assert "2 packs wait for room: " in said
    assert "6 of 6 trials settled" in said and "the cube: phasecube.open" in said


def test_a_limit_that_slurm_does_not_tell_is_found_out(tmp_path: Path) -> None:
    with fake_slurm(tmp_path, max_submit=3) as slurm:
        user = User(tmp_path, slurm)
        said = user.typed("submit", "walk.toml", *IDLE)
        assert "2 tasks, 2 packs" in said and "8 packs wait" in said
        assert "1 tasks, 1 packs" in user.typed("resume", "studies/walk")
        said = user.typed("resume", "studies/walk")
    assert "too many tasks are in the queue already (QOSMaxSubmitJobPerUserLimit" in said
    assert in_tasks(user) == [0, 1, 2]


# A folder that cannot be written


def test_a_study_where_a_file_stands_is_refused(user: User) -> None:
    (user.folder / "taken").write_text("")
    said = user.said("submit", "walk.toml", "--study", "taken/walk", code=1)
    assert "taken/walk cannot be written: Not a directory; choose another folder with" in said
    assert "--study" in said and user.queued() == []


def test_a_read_only_folder_is_refused_before_anything_is_submitted(user: User) -> None:
    with mounted(user.folder / "shelf", "ro"):
        said = user.said("submit", "walk.toml", "--study", "shelf/walk", code=1)
    assert "shelf/walk cannot be written: Read-only file system; choose another folder" in said
    assert user.queued() == []


def test_a_study_that_became_read_only_can_be_looked_at_but_not_resumed(user: User) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    user.typed("cancel", "studies/walk")
    with mounted(user.path, "ro"):
        assert "0 of 10 trials settled" in user.typed("status", "studies/walk")
        said = user.typed("resume", "studies/walk", code=1)
    assert "studies/walk cannot be written: Read-only file system" in said
    assert len(user.arrays()) == 1


# A study moved or copied


def test_a_moved_study_says_where_its_tasks_look_for_it(user: User) -> None:
    user.all_wait()
    user.typed("submit", "walk.toml", *IDLE)
    shutil.move(user.path, user.folder / "moved")
    said = user.typed("status", "moved")
    assert f"note: this study stood in {user.path} when job array" in said
    assert "`phasecube cancel` ends them, `phasecube resume` submits what is left from" in said


def test_a_moved_study_is_cancelled_and_resumed_from_its_new_place(user: User) -> None:
    user.all_wait()
    user.typed("submit", "walk.toml", *IDLE)
    shutil.move(user.path, user.folder / "moved")
    assert "10 tasks cancelled" in user.typed("cancel", "moved")
    user.until(lambda: set(user.states()) == {"CANCELLED"})
    assert "note:" not in user.typed("status", "moved")
    said = user.typed("resume", "moved")
    assert "10 tasks, 10 packs" in said
    assert sum(state in ("PENDING", "RUNNING") for state in user.states()) == 10


def test_a_copy_neither_cancels_nor_claims_the_originals_tasks(user: User) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    shutil.copytree(user.path, user.folder / "copy")
    said = user.typed("status", "copy")
    assert f"note: this is a copy of {user.path}, which has the tasks" in said
    assert "no living task is chosen" in user.typed("cancel", "copy")
    assert user.states().count("CANCELLED") == 0
    # Its packs are its own: they are submitted beside those of the original.
    assert "10 tasks, 10 packs" in user.typed("resume", "copy")
    assert len(user.queued()) == 20
    assert "nothing to submit; its 10 open packs are in living tasks" in user.typed(
        "resume", "studies/walk"
    )


# Two people, one study


def test_of_two_who_submit_at_once_one_is_told_who_has_it(user: User) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    user.typed("cancel", "studies/walk")
    user.until(lambda: set(user.states()) == {"CANCELLED"})
    # The first is held up between taking the study and sending: sbatch does not answer.
    slow_sbatch(user)
    first = user.started("submit", "walk.toml", *IDLE)
    user.until(lambda: (user.folder / "sbatch_was_asked").exists())
    said = user.typed("submit", "walk.toml", *IDLE, code=1)
    (user.folder / "go").touch()
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 0, output
    assert f"studies/walk is being run by process {first.pid} on " in said
    assert "see `phasecube watch studies/walk`, or stop that run first" in said
    assert len(user.queued()) == 20


def slow_sbatch(user: User) -> None:
    """Have sbatch wait for a file before it does its work."""
    folder = user.folder / "slow"
    folder.mkdir()
    assert user.slurm is not None
    real, go = user.slurm.folder / "bin" / "sbatch", user.folder / "go"
    script = folder / "sbatch"
    script.write_text(
        f"#!/bin/sh\ntouch {user.folder}/sbatch_was_asked\n"
        f'while [ ! -e {go} ]; do sleep 0.02; done\nexec {real} "$@"\n'
    )
    script.chmod(0o755)
    user.environment["PATH"] = f"{folder}{os.pathsep}{user.environment['PATH']}"


def test_who_submits_after_another_has_nothing_to_submit(user: User) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    said = user.typed("submit", "walk.toml", *IDLE)
    assert "studies/walk: nothing to submit; its 10 open packs are in living tasks" in said
    assert in_tasks(user) == list(range(10))


def test_many_who_submit_at_once_put_no_pack_into_two_tasks(user: User) -> None:
    user.write(SWEEP.replace("stop = 4", "stop = 1"))
    all_of_them = [user.started("submit", "walk.toml", *IDLE) for _ in range(3)]
    outputs = [one.communicate(timeout=60)[0] for one in all_of_them]
    assert not any("Traceback" in output for output in outputs), outputs
    assert in_tasks(user) == list(range(4)), outputs


# A worker whose packages are others


def test_a_worker_with_other_packages_refuses_and_resume_runs_its_packs(user: User) -> None:
    held_with_another_version(user, "refuse")
    user.typed("release", "studies/walk")
    user.until(lambda: user.states() == ["FAILED"])
    said = user.typed("status", "studies/walk")
    sentence = "this node's code is not that of the submission: "
    assert f"task {user.arrays()[0].slurm_id}_0 failed: {sentence}" in said
    assert "torch was 1.0, is " in said
    assert "Submit again to run with what is installed now, or allow it with" in said
    assert user.n_settled() == 0
    # What is installed now is that of the new submission.
    user.typed("resume", "studies/walk", "--drift", "warn")
    user.typed("release", "studies/walk")
    user.until_settled(2)


def test_a_worker_with_other_packages_warns_where_that_is_asked(user: User) -> None:
    held_with_another_version(user, "warn")
    user.typed("release", "studies/walk")
    user.until_settled(2)
    (log,) = (user.path / "logs" / "slurm").iterdir()
    assert "phasecube: warning: this node's code is not that" in log.read_text()


def held_with_another_version(user: User, drift: str) -> None:
    """Submit a task that waits, as if with another torch."""
    user.write(SWEEP.replace("stop = 4", "stop = 0"))
    user.typed("submit", "walk.toml", "--drift", drift, "--sbatch=--hold", "--packs-per-job", "2")
    path = array_path(user.path, 1)
    fields = json.loads(path.read_text())
    fields["environment"]["torch"] = "1.0"
    path.write_text(json.dumps(fields))
