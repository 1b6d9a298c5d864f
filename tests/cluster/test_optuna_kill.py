"""The proof: a search whose driver is killed asks the points of an undisturbed one."""

from __future__ import annotations

import os
import pkgutil
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import xarray as xr

import phasecube
from phasecube import api
from phasecube.cluster.optuna_mirror import mirror_name
from phasecube.cluster.points_file import read_points
from phasecube.cluster.run_lock import RunLock
from phasecube.cluster.run_study import run_study
from phasecube.cluster.search import run_batches
from phasecube.cluster.storage import JOURNAL, open_storage
from phasecube.cluster.study import STORE, Study
from phasecube.cluster.tried import read_tried

KILLS = 6
SWEEP = """
name = "searched"
experiment = "scalar_quartic"
fixed = { steps = 3000 }
[axes]
lr = { between = [0.1, 30.0], scale = "log" }
kick = { between = [0.001, 1.0] }
seed = { values = [0, 1] }
[sampler]
kind = "tpe"
points = 24
batch = 4
options = { n_startup_trials = 4 }
[[sampler.objectives]]
measure = "distance"
[record]
steps = { every = 100 }
[resources]
processes = 1
engine = "vmap"
lanes = 8
checkpoint_every_s = 0.02
"""


def start(sweep: Path, study: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "phasecube", "run", str(sweep), "--study", str(study)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes]) -> None:
    output = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, output


def footprint(study: Path, names: tuple[str, ...]) -> tuple[int, ...]:
    """When each was last written."""
    paths = [study / name for name in names]
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


# What is written while points are asked and published, and while a batch is trained.
ASKING = ("points.json", JOURNAL, "plan.parquet", f"{STORE}/zarr.json")
TRAINING = ("checkpoints", f"{STORE}/scalars", f"{STORE}/status")


class DiedError(Exception):
    """Stands for a kill."""


def run_all(sweep: Path, study: Path) -> None:
    with RunLock(study):
        found = api.prepare(api.read(sweep), study)
        run_batches(found, lambda: run_study(found, processes=1))


@pytest.mark.parametrize(
    "line",
    [
        "phasecube.cluster.study.extend_store",
        "phasecube.cluster.study.write_points",
        "phasecube.cluster.study.keep_sweep",
        "phasecube.cluster.study.Study._write_plan",
        "phasecube.cluster.optuna_mirror.Mirror.sync",
    ],
)
def test_a_search_that_dies_while_it_asks_asks_the_same_points(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tmp_path / "searched.toml"
    sweep.write_text(SWEEP.replace("points = 24", "points = 12").replace("3000", "30"))
    run_all(sweep, tmp_path / "undisturbed")
    study = tmp_path / "disturbed"
    module, _, name = line.rpartition(".")
    was, calls = pkgutil.resolve_name(line), 0

    def dies(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first time is the making of the study
            raise DiedError
        return was(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(pkgutil.resolve_name(module), name, dies)
        with pytest.raises(DiedError):
            run_all(sweep, study)
            run_all(sweep, study)
    run_all(sweep, study)
    assert read_points(study) == read_points(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_search_whose_driver_is_killed_asks_the_same_points(tmp_path: Path) -> None:
    sweep = tmp_path / "searched.toml"
    sweep.write_text(SWEEP)
    finish(start(sweep, tmp_path / "undisturbed"))
    study = tmp_path / "disturbed"
    rng = random.Random(0)
    for life in range(KILLS):
        watched = TRAINING if life % 3 == 2 else ASKING
        before = footprint(study, watched)
        process = start(sweep, study)
        while footprint(study, watched) == before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.04))
        assert process.poll() is None, f"over after {life} kills"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        if life == KILLS // 2:
            (study / JOURNAL).unlink(missing_ok=True)
    finish(start(sweep, study))

    points = read_points(study)
    assert points == read_points(tmp_path / "undisturbed")
    assert len(points) == len({repr(point) for point in points}) == 24
    same_bits(phasecube.open(study), phasecube.open(tmp_path / "undisturbed"))
    # The mirror has one trial a point, whatever else the killed ones left in it.
    found = Study(study)
    trials = optuna.load_study(
        study_name=mirror_name(found.sweep, study), storage=open_storage(None, study)
    ).get_trials()
    numbers = Counter(t.user_attrs["point"] for t in trials if t.state.name != "FAIL")
    assert numbers == dict.fromkeys(range(24), 1)
    told = {t.user_attrs["point"]: t.values for t in trials if t.state.name == "COMPLETE"}
    values = {t.number: list(t.values) for t in read_tried(found) if np.isfinite(t.values[0])}
    assert told == values


def same_bits(found: xr.Dataset, expected: xr.Dataset) -> None:
    assert set(found.variables) == set(expected.variables)
    for name in set(expected.variables) - {"run"}:
        assert found[name].values.tobytes() == expected[name].values.tobytes(), name
