"""The proof: a study killed at random moments ends with the numbers of an undisturbed one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import phasecube
from phasecube.engine.record import Status
from phasecube.engine.store import Store

KILLS = 20
NOTHING: tuple[int, tuple[str, ...]] = (0, ())  # a footprint
# Real training of a real experiment; the engine is named, since a probe of a busy machine may
# choose another in another study.
SWEEP = """
name = "killed"
experiment = "modular_arithmetic"
fixed = { modulus = 7, width = 16, steps = 2000, optimizer = "adamw", lr = 0.01 }
[axes.train_fraction]
values = [0.5, 0.7]
[axes.weight_decay]
values = [0.0, 1.0]
[axes.seed]
integers = { start = 0, stop = 7 }
[record]
steps = { every = 100 }
[resources]
processes = 1
pack_size = 8
engine = "vmap"
lanes = 8
checkpoint_every_s = 0.02
"""


def start(sweep: Path, study: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "phasecube", "run", str(sweep), "--study", str(study), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes]) -> str:
    output = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "killed.toml"
    path.write_text(SWEEP)
    return path


@pytest.fixture(scope="module")
def undisturbed(sweep: Path) -> tuple[xr.Dataset, float]:
    """The Dataset, and how many seconds went by before the first checkpoint."""
    study = sweep.parent / "undisturbed"
    began_s = time.monotonic()
    process = start(sweep, study)
    while footprint(study) == NOTHING and process.poll() is None:
        time.sleep(0.02)
    start_s = time.monotonic() - began_s
    finish(process)
    return phasecube.open(study).load(), start_s


def assert_equal(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Bit for bit, but for which run produced a row."""
    assert set(found.variables) == set(expected.variables)
    for name in set(expected.variables) - {"run"}:
        one, two = found[name], expected[name]
        assert one.dims == two.dims and one.dtype == two.dtype
        if one.dtype.kind == "f":
            assert one.values.tobytes() == two.values.tobytes(), name
        else:
            assert np.array_equal(one.values, two.values), name


def footprint(study: Path) -> tuple[int, tuple[str, ...]]:
    """How much is published, and which checkpoints there are."""
    n_recorded = 0
    if (study / "store.zarr" / "zarr.json").exists():
        n_recorded = int(Store(study / "store.zarr").read_status()[:, Status.N_RECORDED].sum())
    return n_recorded, tuple(sorted(str(p) for p in study.glob("checkpoints/*/*.checkpoint")))


def test_a_study_killed_at_random_moments_ends_with_the_same_numbers(
    sweep: Path, undisturbed: tuple[xr.Dataset, float]
) -> None:
    expected, start_s = undisturbed
    study = sweep.parent / "s"
    rng = random.Random(0)
    before = footprint(study)
    for life in range(KILLS):
        # Every sixth life has two workers, which must die with the process that is killed.
        process = start(sweep, study, *(["--processes", "2"] if life % 6 == 5 else []))
        if life % 4 == 0:  # anywhere: while importing, planning, choosing, training
            time.sleep(rng.uniform(0, 1.2) * start_s)
        else:  # soon after it has got further: while training, saving, publishing
            while footprint(study) == before and process.poll() is None:
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.1))
        assert process.poll() is None, f"over after {life} kills: {finish(process)}"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        now = footprint(study)
        assert now[0] >= before[0]  # what was published stays
        before = now
    finish(start(sweep, study))
    assert_equal(phasecube.open(study), expected)
    assert list(study.glob("checkpoints/*")) == []
    assert list(study.rglob("*.partial")) == []


def test_a_second_run_of_a_study_is_refused_and_told_who_runs_it(sweep: Path) -> None:
    study = sweep.parent / "twice"
    first = start(sweep, study)
    while not (study / "store.zarr").exists():
        time.sleep(0.02)
    second = start(sweep, study)
    output = second.communicate()[0].decode()
    assert second.returncode == 1
    assert f"is being run by process {first.pid}" in output
    # And a signal leaves a study that can be resumed.
    while footprint(study) == NOTHING and first.poll() is None:
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    output = first.communicate()[0].decode()
    assert first.returncode == 128 + signal.SIGTERM
    assert f"phasecube resume {study}" in output


def test_ctrl_c_reaches_all_and_leaves_no_worker_behind(sweep: Path) -> None:
    study = sweep.parent / "twice"  # stopped by the test before
    before = footprint(study)
    command = [sys.executable, "-m", "phasecube", "resume", str(study), "--processes", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    while footprint(study) == before and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output = process.communicate()[0].decode()
    assert process.returncode == 128 + signal.SIGINT, output
    assert f"phasecube resume {study}" in output
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_what_is_derived_may_be_deleted_and_a_checkpoint_torn(
    sweep: Path, undisturbed: tuple[xr.Dataset, float]
) -> None:
    study = sweep.parent / "twice"  # stopped by the test before
    for name in ("plan.parquet", "planned.npy", "sweep.resolved.json"):
        (study / name).unlink()
    shutil.rmtree(study / "engines")
    newest = max(study.glob("checkpoints/*/*.checkpoint"))
    newest.write_bytes(newest.read_bytes()[:-100])
    command = [sys.executable, "-m", "phasecube", "resume", str(study)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(study / "cube.zarr")
    (study / "plan.parquet").unlink()
    assert_equal(phasecube.open(study), undisturbed[0])
