"""A disk that fills up: no trial is to blame, and what was written stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_user import SWEEP, User, assert_same_records, mounted

from phasecube.engine.record import Outcome

# Two packs of more than a hundred kB each, which a disk with 40 kB left does not take.
BULKY = '''
"""A walk that leaves noise, which does not compress."""

import random

from phasecube import experiment_function


@experiment_function(params={"rate": 0.1}, measures={"loss": "1", "noise": "1"})
def train(trial):
    noise = random.Random(trial.seed + trial.params.rate)
    for step in range(trial.steps + 1):
        trial.report(step, loss=1.0, noise=noise.random())
'''
BULKY_SWEEP = (
    SWEEP.replace("walk.py:train", "bulky.py:train")
    .replace("steps = 10 }", "steps = 4000 }")
    .replace("every = 5", "every = 1")
    .replace("stop = 4", "stop = 1")
    .replace("pack_size = 1", "pack_size = 2")
)
DISK = "size=4m"


@pytest.fixture
def writer(user: User) -> User:
    """Has a sweep of two packs that leave more than a hundred kB each."""
    (user.folder / "bulky.py").write_text(BULKY)
    user.write(BULKY_SWEEP)
    return user


@pytest.fixture
def small_disk(writer: User) -> Iterator[Path]:
    """The study's folder on a disk of its own."""
    with mounted(writer.path, DISK):
        yield writer.path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> User:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "bulky.py").write_text(BULKY)
    user = User(folder, None, BULKY_SWEEP)
    user.typed("run", "walk.toml")
    return user


def fill(path: Path, leave_bytes: int) -> Path:
    """Fill the disk that `path` is on, but for so much; returns the file that does."""
    ballast = path / "ballast"
    free = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize
    ballast.write_bytes(b"\0" * max(0, free - leave_bytes))
    return ballast


def test_rows_that_find_no_room_stop_a_run_with_file_and_remedy(
    writer: User, small_disk: Path, undisturbed: User
) -> None:
    writer.typed("submit", "walk.toml", "--sbatch=--hold")  # makes the study, runs nothing
    writer.typed("cancel", "studies/walk")
    ballast = fill(small_disk, 40_000)
    said = writer.said("resume", "studies/walk", "--to", "here", code=1)
    assert "No space left on device" in said and "store.zarr" in said
    assert set(writer.outcomes()) <= {Outcome.NOT_RUN, Outcome.DONE}
    assert Outcome.NOT_RUN in writer.outcomes()
    ballast.unlink()
    said = writer.typed("resume", "studies/walk", "--to", "here")
    assert "4 of 4 trials settled" in said
    assert_same_records(writer.study, undisturbed.study)


def test_rows_that_find_no_room_fail_the_task_and_no_trial(
    writer: User, small_disk: Path, undisturbed: User
) -> None:
    writer.typed("submit", "walk.toml", "--sbatch=--hold", "--packs-per-job", "2")
    ballast = fill(small_disk, 40_000)
    writer.typed("release", "studies/walk")
    writer.until(lambda: writer.states() == ["FAILED"])
    said = writer.typed("status", "studies/walk")
    assert "No space left on device" in said
    assert set(writer.outcomes()) <= {Outcome.NOT_RUN, Outcome.DONE}
    ballast.unlink()
    writer.typed("resume", "studies/walk")
    writer.typed("release", "studies/walk")
    writer.until_settled(4)
    assert_same_records(writer.study, undisturbed.study)


def test_a_submission_on_a_full_disk_says_so_and_sends_nothing(writer: User) -> None:
    with mounted(writer.path, "size=16k"):
        said = writer.said("submit", "walk.toml", code=1)
    assert "No space left on device" in said and writer.queued() == []
