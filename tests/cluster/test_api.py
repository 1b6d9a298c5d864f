"""`phasecube.run` and `phasecube.open` from Python."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import phasecube
from phasecube.engine.errors import StudyError

HERE = Path(__file__).parent
SWEEP = """
name = "toys"
experiment = "toy_experiment.py:Toy"
fixed = { steps = 20 }
[axes.lr]
values = [0.05, 0.1]
[record]
measures = ["train_loss", "val_loss"]
steps = { every = 5 }
[resources]
processes = 1
engine = "sequential"
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    shutil.copy(HERE / "toy_experiment.py", tmp_path)
    path = tmp_path / "toys.toml"
    path.write_text(SWEEP)
    return path


def test_run_returns_the_dataset_and_runs_only_what_is_missing(sweep: Path) -> None:
    study = sweep.parent / "study"
    ds = phasecube.run(sweep, study).load()  # what comes later writes the cube anew
    assert dict(ds.sizes) == {"lr": 2, "step": 5} and (ds.outcome == 1).all()
    assert float(ds.train_loss.isel(step=-1).max()) < float(ds.train_loss.isel(step=0).min())
    more = phasecube.run(sweep, study, settings=["axes.lr.values=[0.05, 0.2]"])
    assert more.lr.values.tolist() == [0.05, 0.2] and more.run.values.tolist() == [1, 2]
    np.testing.assert_array_equal(more.train_loss.sel(lr=0.05), ds.train_loss.sel(lr=0.05))


def test_a_sweep_in_hand_runs_as_its_file_does(sweep: Path, tmp_path: Path) -> None:
    ds = phasecube.run(phasecube.read_sweep(sweep), tmp_path / "one")
    assert ds.equals(phasecube.run(sweep, tmp_path / "two"))


def test_settings_want_a_file(sweep: Path) -> None:
    with pytest.raises(StudyError, match="pass its path"):
        phasecube.run(phasecube.read_sweep(sweep), settings=["fixed.steps=3"])


def test_open_rebuilds_a_plan_that_was_deleted(sweep: Path, tmp_path: Path) -> None:
    ds = phasecube.run(sweep, tmp_path / "s").load()
    for name in ("plan.parquet", "planned.npy"):
        (tmp_path / "s" / name).unlink()
    shutil.rmtree(tmp_path / "s" / "cube.zarr")
    assert phasecube.open(tmp_path / "s").equals(ds)


def test_a_folder_that_is_no_study_is_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="is no study"):
        phasecube.open(tmp_path)
