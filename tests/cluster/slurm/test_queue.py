"""What squeue and sacct print, in the words of a real Slurm, and which state it means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phasecube.cluster.job_array import JobArray, read_arrays, with_ended, write_array
from phasecube.cluster.job_state import JobState, TaskState
from phasecube.cluster.slurm.command import AccountingOffError, SlurmMissingError, SlurmSilentError
from phasecube.cluster.slurm.queue import Queue, read_queue
from phasecube.cluster.task_marker import MarkerState, TaskMarker, write_marker

NAME = "walk.0123abcd"
OFF = AccountingOffError("sacct: this cluster keeps no accounts")
DEAF = SlurmSilentError("Slurm's controller does not answer squeue (connect failure)")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return tmp_path / "study"


def array_of(study: Path, n_tasks: int = 4, **more: Any) -> JobArray:
    """Return an array of one pack a task, written into the study."""
    fields: dict[str, Any] = {
        "number": 1, "name": NAME, "path": str(study.resolve()),
        "user": "ada", "submitted": "2026-01-01T00:00:00", "run": 1, "settings": {}, "flags": {},
        "environment": {}, "packs": [[task] for task in range(n_tasks)], "slurm_id": "7",
    }  # fmt: skip
    array = JobArray(**{**fields, **more})
    write_array(study, array)
    return array


def mark(study: Path, task: int, state: MarkerState, message: str = "", number: int = 1) -> None:
    write_marker(
        study, number, task, TaskMarker(state, f"7_{task}", "n1", "10:00", "10:05", message=message)
    )


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, ...]]]:
    """Let squeue and sacct print what a test says, lines or an error; returns what was asked."""

    def let(
        squeue: str | Exception = "", sacct: str | Exception = OFF, named: str = ""
    ) -> list[tuple[str, ...]]:
        asked: list[tuple[str, ...]] = []

        def slurm(command: str, *arguments: str, timeout_s: float = 0) -> str:
            asked.append((command, *arguments))
            said = {"squeue": squeue, "sacct": sacct}[command]
            if "--name" in arguments:
                said = named
            if isinstance(said, Exception):
                raise said
            return said

        monkeypatch.setattr("phasecube.cluster.slurm.queue.slurm", slurm)
        return asked

    return let


def states(queue: Queue) -> list[JobState]:
    (array,) = queue.arrays
    return [queue.state(array, task).state for task in range(len(array.packs))]


def state_of(study: Path, task: int = 0) -> TaskState:
    queue = read_queue(study, read_arrays(study))
    return queue.state(queue.arrays[0], task)


# What squeue says


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("PENDING|Priority", JobState.PENDING),
        ("PENDING|BeginTime", JobState.PENDING),
        ("PENDING|launch failed requeued held", JobState.PENDING),
        ("CONFIGURING|None", JobState.PENDING),
        ("RUNNING|None", JobState.RUNNING),
        ("RUNNING|JobHeldAdmin", JobState.RUNNING),
        ("COMPLETING|TimeLimit", JobState.RUNNING),
        ("SUSPENDED|None", JobState.RUNNING),
        ("COMPLETED|None", JobState.COMPLETED),
        ("FAILED|NonZeroExitCode", JobState.FAILED),
        ("FAILED|JobLaunchFailure", JobState.FAILED),
        ("CANCELLED|None", JobState.CANCELLED),
        ("CANCELLED|launch failed requeued held", JobState.CANCELLED),
        ("TIMEOUT|TimeLimit", JobState.TIMED_OUT),
        ("NODE_FAIL|NodeDown", JobState.NODE_FAILED),
        ("OUT_OF_MEMORY|OutOfMemory", JobState.OUT_OF_MEMORY),
        ("PREEMPTED|None", JobState.PREEMPTED),
        ("DEADLINE|DeadLine", JobState.TIMED_OUT),
        ("BOOT_FAIL|None", JobState.NODE_FAILED),
    ],
)
def test_each_word_of_squeue_is_one_state(
    said: str, state: JobState, study: Path, answers: Any
) -> None:
    array_of(study, 1)
    answers(f"7|0|{said}|{NAME}\n")
    assert state_of(study).state is state


def test_every_state_of_slurm_that_still_holds_a_node_may_live(study: Path, answers: Any) -> None:
    array_of(study)
    answers(f"7|0|COMPLETING|None|{NAME}\n7|1-3|PENDING|Resources|{NAME}\n")
    assert read_queue(study, read_arrays(study)).live_packs() == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("rest", "tasks"),
    [
        ("1-9", range(1, 10)),
        ("0,3-7", [0, 3, 4, 5, 6, 7]),
        ("5-9%2", range(5, 10)),
        ("2-3,9%2", [2, 3, 9]),
        ("0-8:2", [0, 2, 4, 6, 8]),
        ("4", [4]),
    ],
)
def test_the_rest_of_an_array_is_one_line_of_ranges(
    rest: str, tasks: Any, study: Path, answers: Any
) -> None:
    array_of(study, 10)
    answers(f"7|{rest}|PENDING|Priority|{NAME}\n")
    found = states(read_queue(study, read_arrays(study)))
    assert [t for t, s in enumerate(found) if s is JobState.PENDING] == list(tasks)


def test_tasks_that_wait_for_several_reasons_keep_them_all(study: Path, answers: Any) -> None:
    array_of(study, 8)
    answers(f"7|0,4-7|PENDING|JobArrayTaskLimit,JobHeldAdmin|{NAME}\n7|1-3|RUNNING|None|{NAME}\n")
    assert state_of(study, 5).reason == "JobArrayTaskLimit,JobHeldAdmin"


def test_the_name_of_a_sweep_may_hold_any_sign(study: Path, answers: Any) -> None:
    array_of(study, 1, name="a|b c.0123abcd")
    answers("7|0|RUNNING|None|a|b c.0123abcd\n")
    assert state_of(study).state is JobState.RUNNING


def test_a_state_of_another_slurm_is_unknown_and_named(study: Path, answers: Any) -> None:
    array_of(study, 1)
    answers(f"7|0|HIBERNATING|None|{NAME}\n")
    assert state_of(study) == TaskState(JobState.UNKNOWN, said="Slurm calls it HIBERNATING")


def test_one_squeue_asks_for_all_arrays_of_all_who_submitted(study: Path, answers: Any) -> None:
    array_of(study, 1)
    array_of(study, 1, number=2, name="walk.2", user="bob", slurm_id="8")
    asked = answers(f"7|0|RUNNING|None|{NAME}\n8|0|RUNNING|None|walk.2\n")
    read_queue(study, read_arrays(study))
    assert len(asked) == 1 and "ada,bob" in asked[0]


def test_nothing_is_asked_where_every_end_is_known(study: Path, answers: Any) -> None:
    array = array_of(study, 1)
    write_array(study, with_ended(array, {0: ("FAILED", "out of luck")}))
    asked = answers(DEAF)
    assert state_of(study) == TaskState(JobState.FAILED, said="out of luck")
    assert asked == []


# Cancelled before it started: Slurm strikes such tasks from its lists


def test_an_array_cancelled_whole_is_one_line_without_indices(study: Path, answers: Any) -> None:
    array_of(study)
    answers(f"7|N/A|CANCELLED|JobHeldUser|{NAME}\n")
    assert set(states(read_queue(study, read_arrays(study)))) == {JobState.CANCELLED}


def test_what_had_finished_before_its_array_was_cancelled_has_finished(
    study: Path, answers: Any
) -> None:
    array_of(study)
    mark(study, 0, "finished")
    mark(study, 1, "failed", "the disk is full")
    answers(f"7|N/A|CANCELLED|None|{NAME}\n")
    done, failed, *never = states(read_queue(study, read_arrays(study)))
    assert (done, failed) == (JobState.COMPLETED, JobState.FAILED)
    assert set(never) == {JobState.CANCELLED}


def test_a_line_of_the_accounts_without_index_tells_the_end_of_no_task(
    study: Path, answers: Any
) -> None:
    # For some seconds sacct lists a task that has begun under the number of its array.
    array_of(study)
    running = f"7|3|RUNNING|None|{NAME}\n"
    answers(running, sacct=f"7|FAILED|3:0|{NAME}\n")
    first, _, _, last = states(read_queue(study, read_arrays(study)))
    assert (first, last) == (JobState.LOST, JobState.RUNNING)
    answers("", sacct=f"7|CANCELLED by 0|0:0|{NAME}\n")
    assert set(states(read_queue(study, read_arrays(study)))) == {JobState.CANCELLED}


def test_a_task_that_phasecube_cancelled_is_told_by_its_marker(study: Path, answers: Any) -> None:
    array_of(study, 2)
    mark(study, 0, "stopped", "cancelled before it started")
    answers(f"7|1|RUNNING|None|{NAME}\n")
    assert state_of(study) == TaskState(JobState.CANCELLED, said="cancelled before it started")


# What sacct says, where squeue no longer does


@pytest.mark.parametrize(
    ("line", "state", "said"),
    [
        ("7_0|COMPLETED|0:0", JobState.COMPLETED, ""),
        ("7_0|FAILED|3:0", JobState.FAILED, "exit 3:0"),
        ("7_0|FAILED|0:53", JobState.FAILED, "exit 0:53"),
        ("7_0|CANCELLED by 1001|0:0", JobState.CANCELLED, "cancelled by user 1001"),
        ("7_0|TIMEOUT|0:0", JobState.TIMED_OUT, ""),
        ("7_0|OUT_OF_MEMORY|0:125", JobState.OUT_OF_MEMORY, "exit 0:125"),
        ("7_0|NODE_FAIL|0:0", JobState.NODE_FAILED, ""),
        ("7_0|PREEMPTED|0:0", JobState.PREEMPTED, ""),
        ("7_0|REQUEUED|0:0", JobState.PENDING, ""),
    ],
)
def test_each_word_of_sacct_is_one_state(
    line: str, state: JobState, said: str, study: Path, answers: Any
) -> None:
    array_of(study, 1)
    answers("", sacct=f"{line}|{NAME}\n")
    found = state_of(study)
    assert (found.state, found.said or found.reason) == (state, said)


def test_the_pending_rest_stands_in_brackets_in_the_accounts(study: Path, answers: Any) -> None:
    array_of(study, 10)
    answers("", sacct=f"7_1|REQUEUED|0:0|{NAME}\n7_[2-3,9%2]|PENDING|0:0|{NAME}\n")
    found = states(read_queue(study, read_arrays(study)))
    assert [t for t, s in enumerate(found) if s is JobState.PENDING] == [1, 2, 3, 9]


def test_squeue_is_newer_than_the_accounts(study: Path, answers: Any) -> None:
    array_of(study, 2)
    answers(f"7|0|RUNNING|None|{NAME}\n", sacct=f"7_0|FAILED|1:0|{NAME}\n7_1|FAILED|1:0|{NAME}\n")
    assert states(read_queue(study, read_arrays(study))) == [JobState.RUNNING, JobState.FAILED]


def test_the_accounts_are_asked_only_for_what_squeue_does_not_list(
    study: Path, answers: Any
) -> None:
    array_of(study, 2)
    asked = answers(f"7|0-1|PENDING|Priority|{NAME}\n", sacct="")
    read_queue(study, read_arrays(study))
    assert [command for command, *_ in asked] == ["squeue"]


def test_accounts_that_do_not_answer_leave_the_forgotten_unknown(study: Path, answers: Any) -> None:
    array_of(study, 1)
    answers("", sacct=SlurmSilentError("slurmdbd: Connection refused"))
    found = state_of(study)
    assert found.state is JobState.UNKNOWN and "accounts" in found.said


# The end marker


@pytest.mark.parametrize(
    ("marker", "state"),
    [
        ("finished", JobState.COMPLETED),
        ("stopped", JobState.CANCELLED),
        ("failed", JobState.FAILED),
        ("running", JobState.LOST),
        ("requeued", JobState.LOST),
    ],
)
def test_without_accounts_the_task_itself_is_the_witness(
    marker: MarkerState, state: JobState, study: Path, answers: Any
) -> None:
    array_of(study, 1)
    mark(study, 0, marker, "its own words")
    answers("")
    found = state_of(study)
    assert found.state is state
    assert found.said == ("its own words" if state is not JobState.LOST else found.said)


def test_a_lost_task_says_where_it_was_last_seen(study: Path, answers: Any) -> None:
    array_of(study, 2)
    mark(study, 0, "running")
    answers("")
    assert state_of(study).said == "Slurm no longer knows it (on n1 since 10:00)"
    assert state_of(study, 1).said == "Slurm no longer knows it (never started)"


def test_a_failed_task_is_told_in_its_own_words(study: Path, answers: Any) -> None:
    array_of(study, 1)
    mark(study, 0, "failed", "the disk is full")
    answers(f"7|0|FAILED|NonZeroExitCode|{NAME}\n")
    assert state_of(study).said == "the disk is full"


def test_a_task_that_runs_again_is_not_told_by_its_old_marker(study: Path, answers: Any) -> None:
    array_of(study, 1)
    mark(study, 0, "failed", "the disk is full")
    answers(f"7|0|PENDING|BeginTime|{NAME}\n")
    assert state_of(study) == TaskState(JobState.PENDING, "BeginTime")


# Silence, and ids that do not hold


@pytest.mark.parametrize("error", [DEAF, SlurmMissingError("squeue is not on PATH")], ids=type)
def test_silence_proves_nothing_and_is_told(error: Exception, study: Path, answers: Any) -> None:
    array_of(study)
    mark(study, 0, "finished")
    answers(error)
    queue = read_queue(study, read_arrays(study))
    assert set(states(queue)) == {JobState.UNKNOWN}
    assert queue.silent == str(error) and queue.live_packs() == {0, 1, 2, 3}


def test_an_id_given_anew_to_another_job_is_not_taken_for_ours(study: Path, answers: Any) -> None:
    # As after a crash of the controller before it had saved the array.
    array_of(study, 1)
    answers("7|0|RUNNING|None|of_somebody_else\n")
    assert state_of(study).state is JobState.LOST


@pytest.mark.parametrize("where", ["squeue", "marker", "accounts"])
def test_an_array_whose_submission_was_cut_off_is_found_by_its_name(
    where: str, study: Path, answers: Any
) -> None:
    array_of(study, 1, slurm_id=None)
    if where == "marker":
        mark(study, 0, "running")
    answers(
        f"7|0|RUNNING|None|{NAME}\n" if where == "squeue" else "",
        sacct=f"7_0|COMPLETED|0:0|{NAME}\n" if where == "accounts" else OFF,
        named="7_0\n" if where == "accounts" else "",
    )
    assert read_queue(study, read_arrays(study)).arrays[0].slurm_id == "7"


def test_an_array_that_never_reached_slurm_is_lost_and_says_so(study: Path, answers: Any) -> None:
    array_of(study, 1, slurm_id=None)
    answers("")
    expected = TaskState(JobState.LOST, said="its submission was cut off before Slurm had it")
    assert state_of(study) == expected


def test_a_withdrawn_array_has_no_tasks(study: Path, answers: Any) -> None:
    array_of(study, 2, slurm_id=None, withdrawn="there is no partition 'gpu'")
    asked = answers(DEAF)
    assert read_queue(study, read_arrays(study)).live_packs() == set() and asked == []


def test_arrays_submitted_for_another_place_are_left_out(
    study: Path, tmp_path: Path, answers: Any
) -> None:
    (tmp_path / "original").mkdir()
    array_of(study, 1, path=str(tmp_path / "original"))
    answers(f"7|0|RUNNING|None|{NAME}\n")
    assert read_queue(study, read_arrays(study)).arrays == []
    assert read_queue(study, read_arrays(study), moved=True).arrays == []
    (tmp_path / "original").rmdir()
    assert len(read_queue(study, read_arrays(study), moved=True).arrays) == 1
