"""A study's life on Slurm: no pack in two tasks, none lost, whatever befalls them."""

from __future__ import annotations

import os
import re
import threading

import pytest
from slurm_user import IDLE, SWEEP, User

ONE_TASK = ("--packs-per-job", "10")
TWO_TRIALS = SWEEP.replace("stop = 4", "stop = 0")  # two packs


def packs_in_tasks(user: User) -> list[int]:
    """Return the packs of the tasks that Slurm has pending or running."""
    alive = {
        (str(task["array"]), task["index"])
        for task in user.queued()
        if task["state"] in ("PENDING", "RUNNING", "COMPLETING")
    }
    return sorted(
        pack
        for array in user.arrays()
        for task, packs in enumerate(array.packs)
        for pack in packs
        if (array.slurm_id, task) in alive
    )


def patch_sbatch(user: User, script: str) -> None:
    """Put a script before sbatch; $REAL is sbatch itself, $HERE the user's folder."""
    folder = user.folder / "before"
    folder.mkdir()
    assert user.slurm is not None
    path = folder / "sbatch"
    real = user.slurm.folder / "bin" / "sbatch"
    path.write_text(f"#!/bin/sh\nREAL={real}\nHERE={user.folder}\n{script}\n")
    path.chmod(0o755)
    user.environment["PATH"] = f"{folder}{os.pathsep}{user.environment['PATH']}"


def unpatch(user: User) -> None:
    (user.folder / "before" / "sbatch").unlink()


# Extend while running


def test_an_extended_sweep_submits_only_what_is_new(user: User) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    old = {(task["array"], task["index"]) for task in user.queued()}
    user.write(SWEEP.replace("[0.1, 0.2]", "[0.1, 0.15, 0.2]").replace("stop = 4", "stop = 5"))
    said = user.typed("plan", "walk.toml", "--study", "studies/walk")
    assert re.search(r"new +8 trials to run\n +kept +10 trials, not run again", said), said
    said = user.typed("submit", "walk.toml", *IDLE)
    assert "studies/walk: 8 new trials, 10 kept, 0 no longer named" in said
    assert "8 tasks, 8 packs" in said
    assert packs_in_tasks(user) == list(range(18))
    assert old <= {(t["array"], t["index"]) for t in user.queued() if t["state"] != "CANCELLED"}


def test_removed_values_orphan_and_delete_nothing(user: User) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    user.write(SWEEP.replace("[0.1, 0.2]", "[0.1]"))
    said = user.typed("submit", "walk.toml", *IDLE)
    assert "0 new trials, 5 kept, 5 no longer named (kept on disk)" in said
    assert "nothing to submit; its 5 open packs are in living tasks" in said
    assert len(packs_in_tasks(user)) == 10 and "CANCELLED" not in user.states()


def test_a_dry_run_leaves_living_tasks_alone_and_sends_nothing(user: User) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    user.write(SWEEP.replace("[0.1, 0.2]", "[0.1, 0.15, 0.2]"))
    said = user.typed("submit", "walk.toml", *IDLE, "--dry-run")
    assert "array 2: 5 tasks of 1 pack each" in said
    assert "10 packs are in living tasks and left alone" in said
    assert len(user.queued()) == 10 and len(user.arrays()) == 1


# Cancel, hold, release, resume


def test_resume_after_cancel_is_subtraction(user: User) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    assert "4 tasks cancelled" in user.typed(
        "cancel", "studies/walk", "--where", "rate == 0.2 and seed >= 1"
    )
    said = user.typed("status", "studies/walk")
    assert "4 cancelled, 4 pending, 2 running" in said
    assert "4 tasks, 4 packs" in user.typed("resume", "studies/walk")
    assert packs_in_tasks(user) == list(range(10))


def test_cancel_can_be_of_one_state(user: User) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    user.until(lambda: user.states().count("RUNNING") == 2)
    assert "8 tasks would be cancelled" in user.typed(
        "cancel", "studies/walk", "--state", "pending", "--dry-run"
    )
    user.typed("cancel", "studies/walk", "--state", "pending")
    assert user.states().count("RUNNING") == 2
    user.typed("cancel", "studies/walk", "--state", "running")
    user.until(lambda: set(user.states()) == {"CANCELLED"})


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("rate >", "--where: 'rate >' is no expression"),
        ("ratte > 1", "--where names 'ratte'; did you mean 'rate'? known are: rate, seed, steps"),
    ],
)
def test_a_wrong_expression_is_said_and_cancels_nothing(
    where: str, sentence: str, user: User
) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    assert sentence in user.typed("cancel", "studies/walk", "--where", where, code=1)
    assert "CANCELLED" not in user.states()


def test_many_tasks_are_cancelled_only_when_that_is_meant(user: User) -> None:
    user.write(SWEEP.replace("stop = 4", "stop = 59"))
    user.typed("submit", "walk.toml", *IDLE)
    said = user.said("cancel", "studies/walk", code=1)
    assert "cancel 120 tasks?" in said and "say --yes" in said
    assert "CANCELLED" not in user.states()


def test_held_tasks_wait_until_they_are_released(user: User) -> None:
    user.all_wait()
    user.typed("submit", "walk.toml", *IDLE)
    assert "5 pending tasks held" in user.typed("hold", "studies/walk", "--where", "rate < 0.15")
    user.all_go()
    user.until(lambda: user.states().count("RUNNING") == 2)
    said = user.typed("status", "studies/walk")
    assert "5 wait: JobHeld" in said  # JobHeldAdmin, where it is root that holds them
    user.typed("cancel", "studies/walk", "--where", "rate > 0.15")
    user.until(lambda: user.states().count("RUNNING") == 0)
    assert "5 pending tasks released" in user.typed("release", "studies/walk")
    user.until(lambda: user.states().count("RUNNING") == 2)


# A submission that is cut off


def test_a_death_before_sbatch_loses_nothing_and_sends_nothing_twice(user: User) -> None:
    patch_sbatch(user, "kill -9 $PPID; exit 1")
    killed = user.started("submit", "walk.toml", *IDLE)
    assert killed.wait(60) == -9 and user.queued() == []
    assert user.arrays()[0].slurm_id is None
    unpatch(user)
    assert "10 tasks, 10 packs" in user.typed("resume", "studies/walk")
    assert packs_in_tasks(user) == list(range(10))


def test_a_death_after_sbatch_is_found_by_the_arrays_name(user: User) -> None:
    patch_sbatch(user, '"$REAL" "$@"; kill -9 $PPID')
    killed = user.started("submit", "walk.toml", *IDLE)
    assert killed.wait(60) == -9 and len(user.queued()) == 10
    assert user.arrays()[0].slurm_id is None
    unpatch(user)
    assert "8 pending, 2 running" in user.typed("status", "studies/walk")
    said = user.typed("resume", "studies/walk")
    assert "nothing to submit; its 10 open packs are in living tasks" in said
    assert len(user.queued()) == 10
    assert "10 tasks cancelled" in user.typed("cancel", "studies/walk")
    user.until(lambda: set(user.states()) == {"CANCELLED"})


def test_an_array_refused_after_another_was_taken_leaves_the_first_in_place(user: User) -> None:
    patch_sbatch(
        user,
        'if mkdir "$HERE/first"; then exec "$REAL" "$@"; fi\n'
        'echo "sbatch: error: Batch job submission failed: Invalid qos specification" >&2; exit 1',
    )
    user.write(SWEEP.replace("stop = 4", "stop = 599"))
    said = user.typed("submit", "walk.toml", *IDLE, "--packs-per-job", "1", code=1)
    assert "1,001 tasks, 1,001 packs" in said
    assert "phasecube: Slurm refused the job array: " in said and "QOS" in said
    unpatch(user)
    assert "199 tasks, 199 packs" in user.typed("resume", "studies/walk", "--packs-per-job", "1")
    assert packs_in_tasks(user) == list(range(1200))


# A silent controller


def test_of_a_silent_controller_nothing_is_inferred(user: User) -> None:
    user.typed("submit", "walk.toml", *IDLE)
    user.do("silence", seconds=60)
    said = user.typed("status", "studies/walk")
    assert "unknown: Slurm's controller does not answer squeue" in said
    assert "Slurm tasks: 10 unknown" in said
    said = user.typed("resume", "studies/walk", code=1)
    assert "may be running, so nothing was submitted; try again when Slurm answers" in said
    assert "nothing was done" in user.typed("cancel", "studies/walk", code=1)
    user.do("silence", seconds=0)
    assert "8 pending, 2 running" in user.typed("status", "studies/walk")
    assert "nothing to submit" in user.typed("resume", "studies/walk")
    assert len(user.queued()) == 10


def test_a_controller_that_falls_silent_at_sbatch_leaves_a_study_that_resumes(user: User) -> None:
    patch_sbatch(
        user,
        "echo 'sbatch: error: Batch job submission failed: Unable to contact slurm controller "
        "(connect failure)' >&2; exit 1",
    )
    said = user.typed("submit", "walk.toml", *IDLE, code=1)
    assert "Whether it took the job array is not known; `phasecube resume studies/walk`" in said
    unpatch(user)
    assert "10 tasks, 10 packs" in user.typed("resume", "studies/walk")
    assert packs_in_tasks(user) == list(range(10))


def test_one_who_follows_waits_out_a_silence(user: User, quick_polls: None) -> None:
    user.write(TWO_TRIALS)
    user.environment["WALK_PAUSE_S"] = "0.1"
    silence = threading.Timer(2.0, lambda: user.do("silence", seconds=1.5))
    silence.start()
    said = user.typed("submit", "walk.toml", "--follow", *ONE_TASK)
    silence.join()
    assert "asking again" in said and "2 of 2 trials settled" in said
    assert len(user.queued()) == 1


# How tasks end


ENDS = {
    "out_of_memory": "1 out of memory",
    "cancel_preempted": "1 preempted",
    "launch_failure": "1 wait: launch failed requeued held: held because its start failed",
    "forget": "1 lost",
    "requeue_preempted": "1 pending",
    "fail_node": "1 pending",
}


@pytest.mark.parametrize("end", ENDS)
def test_status_names_how_a_task_ended(end: str, user: User) -> None:
    user.write(TWO_TRIALS)
    user.typed("submit", "walk.toml", *IDLE, *ONE_TASK)
    user.until(lambda: user.states() == ["RUNNING"])
    name = f"{user.arrays()[0].slurm_id}_0"
    if end == "fail_node":
        user.all_wait()
    elif end.endswith("preempted"):
        user.do("preempt", task=name, mode=end.partition("_")[0])
    else:
        user.do(end, task=name)
    user.until(lambda: user.states() != ["RUNNING"] and user.states() != ["COMPLETING"])
    if end == "requeue_preempted":  # it is back at once
        user.until(lambda: user.states() == ["RUNNING"])
        assert user.queued()[0]["restarts"] == 1
        return
    said = user.typed("status", "studies/walk")
    assert ENDS[end] in said
    living = end in ("launch_failure", "fail_node")
    said = user.typed("resume", "studies/walk")
    assert ("nothing to submit" in said) is living and ("1 tasks, 2 packs" in said) is not living


def test_the_last_lines_of_a_failed_tasks_log_are_in_status(user: User) -> None:
    user.write(TWO_TRIALS)
    loud = ("--python", "sh -c 'echo first; echo the module cuda/99 is not there; exit 3' #")
    user.typed("submit", "walk.toml", *loud, *ONE_TASK)
    user.until(lambda: user.states() == ["FAILED"])
    said = user.typed("status", "studies/walk")
    assert "_0 failed: NonZeroExitCode" in said
    assert "    | the module cuda/99 is not there" in said
    assert "the module cuda/99 is not there" in user.typed("logs", "studies/walk")


def test_one_who_follows_submits_again_what_was_lost(user: User, quick_polls: None) -> None:
    user.write(TWO_TRIALS)
    user.environment["WALK_PAUSE_S"] = "0.1"

    def forget() -> None:
        user.until_running(1)
        user.do("forget", task=f"{user.arrays()[0].slurm_id}_0")

    losing = threading.Thread(target=forget)
    losing.start()
    said = user.typed("submit", "walk.toml", "--follow", *ONE_TASK)
    losing.join()
    assert "2 of 2 trials settled" in said and len(user.arrays()) == 2


def test_one_who_follows_leaves_what_was_cancelled(user: User, quick_polls: None) -> None:
    user.write(TWO_TRIALS)
    threading.Timer(1.0, lambda: cancelled(user)).start()
    said = user.typed("submit", "walk.toml", "--follow", *IDLE, *ONE_TASK, code=1)
    assert "2 packs are left; why: phasecube status studies/walk" in said
    assert len(user.arrays()) == 1


def cancelled(user: User) -> None:
    """Have somebody scancel all tasks, as soon as there are some."""
    user.until(lambda: user.states() == ["RUNNING"])
    assert user.slurm is not None
    os.system(f"PATH={user.environment['PATH']} FAKE_SLURM_SOCKET={user.slurm.socket} scancel "
              f"{user.queued()[0]['array']}")  # fmt: skip
