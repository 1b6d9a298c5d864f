from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic_study import jump, study_dataset
from test_cube import SWEEP, fill, planned

from phasecube.analysis.cube import open_study
from phasecube.analysis.export import export, trial_table, write_curves, write_netcdf
from phasecube.analysis.grokking import GrokkingRule
from phasecube.analysis.report import write_report
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

STEPS = [0, 10, 20, 40]


@pytest.fixture
def ds() -> xr.Dataset:
    found = study_dataset(
        {"optimizer": ["sgd", "adam"], "seed": [0, 1]},
        STEPS,
        {
            "train_accuracy": jump(STEPS, np.full((2, 2), 10.0)),
            "val_accuracy": jump(STEPS, np.array([[10, 40], [np.inf, 20]])),
        },
        np.array([[Outcome.DONE, Outcome.DONE], [Outcome.DIVERGED, Outcome.NOT_PLANNED]]),
        np.array([[4, 4], [2, 0]]),
    )
    digests = np.array([["a", "b"], ["c", ""]], np.dtypes.StringDType())
    found["digest"] = (("optimizer", "seed"), digests)
    found.outcome.attrs["flag_values"] = np.array([1, 3], np.uint8)
    return found


def test_netcdf_keeps_strings_flags_and_values(ds: xr.Dataset, tmp_path: Path) -> None:
    write_netcdf(ds, tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as back:
        assert back.optimizer.values.tolist() == ["sgd", "adam"]
        assert back.digest.values.tolist() == [["a", "b"], ["c", ""]]
        assert back.outcome.dtype == np.uint8 and back.outcome.values[1, 1] == 255
        assert back.outcome.attrs["flag_values"].dtype == np.uint8
        np.testing.assert_array_equal(back.val_accuracy.values, ds.val_accuracy.values)


def test_the_table_of_trials_has_a_row_per_planned_trial(ds: xr.Dataset) -> None:
    table = trial_table(ds, GrokkingRule())
    assert table[["optimizer", "seed"]].values.tolist() == [["sgd", 0], ["sgd", 1], ["adam", 0]]
    assert table["outcome"].tolist() == ["done", "done", "diverged"]
    assert table["t_grok"].fillna(-1).tolist() == [10, 40, -1]
    assert table["phase"].tolist() == ["comprehension", "grokking", "diverged"]
    assert table["final_val_accuracy"].fillna(-1).tolist() == [1, 1, -1]


def test_without_a_rule_the_table_holds_no_phases(ds: xr.Dataset) -> None:
    assert "phase" not in trial_table(ds, None)


def test_the_table_of_curves_has_a_row_per_recorded_step(ds: xr.Dataset, tmp_path: Path) -> None:
    write_curves(ds, tmp_path / "curves.parquet")
    table = pd.read_parquet(tmp_path / "curves.parquet")
    assert len(table) == 4 + 4 + 2
    adam = table[table.optimizer == "adam"]
    assert adam["step"].tolist() == [0, 10] and adam["train_accuracy"].tolist() == [0, 1]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    fill(planned(SWEEP, folder), folder)
    return folder


@pytest.mark.parametrize("name", ["a.nc", "a.parquet"])
def test_a_study_is_exported_by_suffix(study: Path, tmp_path: Path, name: str) -> None:
    target = export(study, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name] and target.stat().st_size > 0


def test_an_exported_study_opens_as_the_same_dataset(study: Path, tmp_path: Path) -> None:
    cube = open_study(study).load()
    with xr.open_dataset(export(study, tmp_path / "a.nc"), engine="h5netcdf") as back:
        for name in cube.variables:
            assert cube[name].values.tolist() == back[name].values.tolist(), name
        assert back.attrs["title"] == "A small study"


def test_curves_of_a_study_are_exported_in_rows(study: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(export(study, tmp_path / "a.parquet", curves=True))
    ds = open_study(study)
    assert len(table) == int(ds.n_recorded.sum())
    row = table.iloc[777]
    at = {n: row[n] for n in ("lr", "optimizer", "seed", "step")}
    size = int(np.flatnonzero(ds.width.values == row["width"])[0])
    assert row["train_loss"] == ds.train_loss.isel(size=size).sel(at).item()


def test_another_suffix_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"writes \.nc"):
        export(study, tmp_path / "a.xlsx")


def test_a_report_is_written_into_the_study_and_replaces_the_last(study: Path) -> None:
    first = write_report(study)
    (first.parent / "stale.txt").write_text("old")
    page = write_report(study)
    assert page == study / "report" / "index.html" and not (page.parent / "stale.txt").exists()
    text = page.read_text(encoding="utf-8")
    assert "A small study" in text and "learning rate / 1/step" in text
    assert "width" in text and "No run has been written down" in text
