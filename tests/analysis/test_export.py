from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from synthetic_study import jump, study_dataset
from test_cube import SWEEP, fill, planned

from phasecube.analysis.cube import chunking, long_tables
from phasecube.analysis.cube import export as export_module
from phasecube.analysis.cube.export import export, trial_table, write_curves, write_netcdf
from phasecube.analysis.cube.long_tables import write_vectors
from phasecube.analysis.cube.opened import open_study
from phasecube.analysis.cube.tree import as_dataset, open_tree
from phasecube.analysis.grokking import GrokkingRule
from phasecube.analysis.report.page import write_report
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


def test_an_exported_study_opens_as_the_same_tree(study: Path, tmp_path: Path) -> None:
    tree = open_tree(study)
    with xr.open_datatree(export(study, tmp_path / "a.nc"), engine="h5netcdf") as back:
        assert list(back.children) == ["layer"] == list(tree.children)
        for path in ("/", "/layer"):
            here, there = tree[path].to_dataset(), back[path].to_dataset()
            assert set(here.variables) == set(there.variables)
            for name in here.variables:
                assert here[name].values.tolist() == there[name].values.tolist(), name
                assert here[name].dims == there[name].dims
        assert back.attrs["title"] == "A small study"


def test_an_exported_study_is_the_flat_dataset_again(study: Path, tmp_path: Path) -> None:
    cube = open_study(study).load()
    with xr.open_datatree(export(study, tmp_path / "a.nc"), engine="h5netcdf") as tree:
        back = as_dataset(tree).load()
    assert list(back.variables) == list(cube.variables)
    for name in cube.variables:
        assert back[name].values.tolist() == cube[name].values.tolist(), name
        kinds = back[name].dtype.kind, cube[name].dtype.kind
        assert kinds[0] == kinds[1] or kinds == ("O", "U")
        for attr, value in cube[name].attrs.items():
            assert np.array_equal(back[name].attrs[attr], value), (name, attr)


def test_who_opens_an_exported_study_as_one_dataset_has_all_but_the_vectors(
    study: Path, tmp_path: Path
) -> None:
    with xr.open_dataset(export(study, tmp_path / "a.nc"), engine="h5netcdf") as root:
        assert set(root.data_vars) == set(open_study(study).data_vars) - {"weight_norm_per_layer"}


def test_a_study_larger_than_memory_is_exported_to_the_same_files(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, dict[str, Any]] = {
        "a.nc": {},
        "t.parquet": {},
        "c.parquet": {"curves": True},
        "v.parquet": {"vectors": "layer"},
    }
    (tmp_path / "at_once").mkdir()
    for name, options in asked.items():
        export(study, tmp_path / "at_once" / name, **options)
    monkeypatch.setattr(chunking, "AT_ONCE_BYTES", 0)
    monkeypatch.setattr(long_tables, "ROWS_PER_GROUP", 7)
    in_chunks = chunking.in_chunks

    def in_small_chunks(ds: xr.Dataset, sizes: object) -> xr.Dataset:
        assert sizes == "auto"
        return in_chunks(ds, {"step": 7, "vector_step": 1, "lr": 2, "seed": 3})

    monkeypatch.setattr(chunking, "in_chunks", in_small_chunks)
    for name, options in asked.items():
        export(study, tmp_path / name, **options)
        if name.endswith(".parquet"):
            key = ["digest", *({"step", "layer"} & set(pd.read_parquet(tmp_path / name).columns))]
            one, other = (
                pd.read_parquet(folder / name).sort_values(key, ignore_index=True)
                for folder in (tmp_path, tmp_path / "at_once")
            )
            pd.testing.assert_frame_equal(one, other)
    with (
        xr.open_datatree(tmp_path / "a.nc", engine="h5netcdf") as one,
        xr.open_datatree(tmp_path / "at_once" / "a.nc", engine="h5netcdf") as other,
    ):
        xr.testing.assert_identical(one.load(), other.load())


def test_a_long_table_is_written_in_row_groups(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_tables, "ROWS_PER_GROUP", 100)
    file = pq.ParquetFile(export(study, tmp_path / "a.parquet", curves=True))
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert max(sizes) == 100 and sum(sizes) == int(open_study(study).n_recorded.sum())


def test_vectors_of_a_study_are_exported_in_rows(study: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(export(study, tmp_path / "a.parquet", vectors="layer"))
    ds = open_study(study)
    assert len(table) == ds.weight_norm_per_layer.size
    for place in (0, 17, len(table) - 1):
        row = table.iloc[place]
        size = int(np.flatnonzero(ds.width.values == row["width"])[0])
        at = {n: row[n] for n in ("lr", "optimizer", "seed", "layer")}
        at["vector_step"] = row["step"]
        value = ds.weight_norm_per_layer.isel(size=size).sel(at)
        assert row["weight_norm_per_layer"] == value.item() and row["outcome"] == "done"


def test_a_trial_without_vectors_at_a_step_has_no_rows_there(
    ds: xr.Dataset, tmp_path: Path
) -> None:
    norm = np.arange(2 * 2 * 2 * 3, dtype="f4").reshape(2, 2, 2, 3)
    norm[1, 0, 1] = np.nan  # diverged before
    norm[0, 0, 0, 1] = np.nan  # one entry is not a number: the others are rows, and so is it
    norm[1, 1] = np.nan  # not planned
    dims = ("optimizer", "seed", "vector_step", "layer")
    ds = ds.assign_coords(vector_step=[0, 40], layer=["in", "mid", "out"])
    write_vectors(ds.assign(norm=(dims, norm)), "layer", tmp_path / "v.parquet")
    table = pd.read_parquet(tmp_path / "v.parquet")
    assert len(table) == 2 * 6 + 3 and table["outcome"].value_counts()["diverged"] == 3
    expected = [*norm[0].ravel(), *norm[1, 0, 0]]
    np.testing.assert_array_equal(table["norm"], expected)


def test_labels_that_are_not_there_are_refused_with_those_that_are(
    study: Path, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="no vector measure over 'head'; it has layer"):
        export(study, tmp_path / "a.parquet", vectors="head")


def test_what_a_format_cannot_hold_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="NetCDF file always holds"):
        export(study, tmp_path / "a.nc", curves=True)
    with pytest.raises(StudyError, match="two files"):
        export(study, tmp_path / "a.parquet", curves=True, vectors="layer")


def test_a_place_that_cannot_be_written_is_named(study: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nowhere/a.nc cannot be written: "):
        export(study, tmp_path / "nowhere" / "a.nc")
    (tmp_path / "folder.nc").mkdir()
    with pytest.raises(StudyError, match=r"folder.nc cannot be written: "):
        export(study, tmp_path / "folder.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.nc"]


def test_a_write_that_fails_leaves_the_file_that_was_there(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = export(study, tmp_path / "a.nc")
    before = target.read_bytes()

    def full(_: xr.Dataset, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_module, "write_netcdf", full)
    with pytest.raises(StudyError, match="No space left on device"):
        export(study, target)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"] and target.read_bytes() == before


def test_the_table_of_trials_says_what_is_known_of_each_onset(ds: xr.Dataset) -> None:
    ds.val_accuracy[0, 1] = 0.0
    table = trial_table(ds, GrokkingRule())
    assert table["t_mem_seen"].tolist() == ["observed", "observed", "observed"]
    assert table["t_grok_seen"].tolist() == ["observed", "censored", "diverged"]
    assert table["t_grok_after"].tolist()[1] == 40  # it lies beyond its last record
    assert table["delay_seen"].tolist()[1] == "censored"


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


@settings(max_examples=25)
@given(
    recorded=hnp.arrays(np.int32, (3, 2), elements=st.integers(0, 5)),
    chunks=st.fixed_dictionaries({"lr": st.integers(1, 3), "step": st.integers(1, 5)}),
    rows=st.integers(1, 9),
)
def test_any_study_is_told_by_its_table_of_curves(
    recorded: np.ndarray, chunks: dict[str, int], rows: int
) -> None:
    loss = np.random.default_rng(0).normal(size=(3, 2, 5)).astype("f4")
    axes = {"lr": [0.1, 0.2, 0.3], "seed": [0, 1]}
    ds = study_dataset(axes, range(0, 50, 10), {"loss": loss}, n_recorded=recorded)
    ds["digest"] = (("lr", "seed"), np.array([["a", "b"], ["c", "d"], ["e", "f"]]))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_tables, "ROWS_PER_GROUP", rows)
        write_curves(ds.assign(loss=ds.loss.chunk(chunks)), Path(folder) / "c.parquet")
        table = pd.read_parquet(Path(folder) / "c.parquet")
    assert list(table.columns) == ["lr", "seed", "digest", "outcome", "step", "loss"]
    expected = ds.loss.to_series().dropna()
    found = table.set_index(["lr", "seed", "step"])["loss"].sort_index()
    assert len(found) == recorded.sum() and found.index.is_unique
    pd.testing.assert_series_equal(found, expected.sort_index(), check_dtype=False)
