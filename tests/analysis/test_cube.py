"""The cube against the rows it is made of: each value stands where the plan says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from phasecube.analysis.cube import chunking
from phasecube.analysis.cube import consolidate as consolidate_module
from phasecube.analysis.cube.consolidate import consolidate
from phasecube.analysis.cube.opened import is_current, open_study
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Engine, Outcome, PackRecord, Status
from phasecube.engine.store import Store, StoreLayout, create_store
from phasecube.sweeps.plan import Plan, expand
from phasecube.sweeps.sweep import parse_sweep

SWEEP = """
name = "small"
title = "A small study"
experiment = "modular_arithmetic"
[fixed]
steps = 40
[axes.lr]
geometric = { start = 1e-4, stop = 1e-2, count = 3 }
unit = "1/step"
label = "learning rate"
[axes.optimizer]
values = ["sgd", "adamw"]
[axes.seed]
integers = { start = 0, stop = 3 }
[zip.size]
width = [16, 32]
modulus = [7, 11]
[record]
measures = ["train_loss", "val_accuracy", "weight_norm_per_layer"]
steps = { every = 1 }
vector_steps = [0, 40]
[resources]
pack_size = 8
"""


def planned(text: str, folder: Path) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    plan = expand(parse_sweep(text, folder))
    plan.write(folder / "plan.parquet")
    layout = StoreLayout(
        plan.pack_size, plan.n_packs, plan.rule, plan.measures, sweep=plan.sweep.name
    )
    create_store(folder / "store.zarr", layout, plan.row_digests)
    return plan


def fill(plan: Plan, folder: Path, packs: list[int] | None = None) -> Store:
    """Write values that say where they belong: row + step / 1000, and the measure's place."""
    store = Store(folder / "store.zarr")
    for pack in range(plan.n_packs) if packs is None else packs:
        record = PackRecord.empty(plan.pack_size, plan.rule)
        rows = np.arange(plan.pack_size) + pack * plan.pack_size
        here = np.isin(rows, plan.row)
        n_steps = len(plan.rule.steps)
        for m in range(len(plan.rule.scalars)):
            record.scalars_RMS[:, m] = 10_000 * m + rows[:, None] + np.arange(n_steps) / 1000
        for values in record.vectors.values():
            values[:] = rows[:, None, None] + np.arange(values.shape[-1])
        record.status_RF[here, Status.OUTCOME] = Outcome.DONE
        record.status_RF[here, Status.N_RECORDED] = n_steps
        record.status_RF[here, Status.STOPPED_AT] = plan.rule.steps[-1]
        record.status_RF[here, Status.ENGINE] = Engine.VMAP_FORWARD
        record.status_RF[here, Status.RUN] = 1
        store.write_pack(pack, record)
    return store


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    folder = tmp_path_factory.mktemp("study")
    plan = planned(SWEEP, folder)
    fill(plan, folder)
    consolidate(folder)
    return folder, plan


def rows_of(plan: Plan, ds: xr.Dataset) -> np.ndarray[Any, Any]:
    shape = ds.outcome.shape
    rows = np.full(shape, -1)
    rows[tuple(plan.index[d.name] for d in plan.dims)] = plan.row
    return rows


def test_every_value_stands_in_the_cell_of_its_trial(study: tuple[Path, Plan]) -> None:
    folder, plan = study
    ds = open_study(folder)
    steps = np.arange(len(plan.rule.steps)) / 1000
    expected = (10_000 + rows_of(plan, ds)[..., None] + steps).astype("f4")
    assert np.array_equal(ds.val_accuracy.values, expected)


def test_the_cube_and_the_rows_are_the_same_dataset(study: tuple[Path, Plan]) -> None:
    folder, _ = study
    assert is_current(folder)
    cube = open_study(folder)
    (folder / "cube.zarr").rename(folder / "aside.zarr")
    rows = open_study(folder)
    (folder / "aside.zarr").rename(folder / "cube.zarr")
    assert list(cube.variables) == list(rows.variables)
    assert {n: v.dtype for n, v in cube.variables.items()} == {
        n: v.dtype for n, v in rows.variables.items()
    }
    xr.testing.assert_identical(cube.load(), rows.load())


def test_dims_are_the_axes_of_the_sweep_and_zips_carry_their_coordinates(
    study: tuple[Path, Plan],
) -> None:
    ds = open_study(study[0])
    assert ds.val_accuracy.dims == (*(d.name for d in study[1].dims), "step")
    assert set(ds.outcome.dims) == {"lr", "optimizer", "seed", "size"}
    assert ds.width.dims == ds.modulus.dims == ("size",)
    assert ds.sel(optimizer="adamw", lr=1e-2, seed=2).width.values.tolist() == [16, 32]


def test_coordinates_carry_label_unit_and_scale(study: tuple[Path, Plan]) -> None:
    lr = open_study(study[0]).lr
    assert lr.attrs == {"long_name": "learning rate", "units": "1/step", "scale": "log"}


def test_a_vector_measure_has_its_own_steps_and_labels(study: tuple[Path, Plan]) -> None:
    folder, plan = study
    ds = open_study(folder)
    norm = ds.weight_norm_per_layer
    assert norm.dims[-2:] == ("vector_step", "layer")
    assert norm.vector_step.values.tolist() == [0, 40]
    rows = rows_of(plan, ds)[..., None, None]
    assert np.array_equal(norm.values, rows + np.zeros((2, 1)) + np.arange(norm.sizes["layer"]))


def test_how_a_trial_ended_is_said_with_cf_flags(study: tuple[Path, Plan]) -> None:
    attrs = open_study(study[0]).outcome.attrs
    meanings = dict(zip(attrs["flag_meanings"].split(), attrs["flag_values"], strict=True))
    assert meanings == {o.name: o.value for o in Outcome}


def test_the_digest_of_a_cell_is_that_of_its_trial(study: tuple[Path, Plan]) -> None:
    folder, plan = study
    ds = open_study(folder)
    at = {d.name: int(plan.index[d.name][5]) for d in plan.dims}
    assert ds.digest.isel(at).item() == bytes(plan.digests[5]).hex()


def test_a_cube_alone_can_be_opened(study: tuple[Path, Plan]) -> None:
    assert open_study(study[0] / "cube.zarr").attrs["title"] == "A small study"


def test_chunks_give_dask_arrays(study: tuple[Path, Plan]) -> None:
    assert open_study(study[0], chunks="auto").val_accuracy.chunks is not None


def test_a_running_study_shows_what_its_workers_have_published(tmp_path: Path) -> None:
    plan = planned(SWEEP, tmp_path)
    fill(plan, tmp_path, packs=[0])
    ds = open_study(tmp_path)
    ran = ds.outcome == Outcome.DONE
    assert int(ran.sum()) == np.isin(np.arange(plan.pack_size), plan.row).sum()
    assert bool(ds.val_accuracy.notnull().all("step").where(ran, True).all())
    assert bool(ds.val_accuracy.isnull().all("step").where(~ran, True).all())
    assert ds.attrs["complete"] == 0


def test_a_cube_is_stale_once_a_pack_is_published(tmp_path: Path) -> None:
    plan = planned(SWEEP, tmp_path)
    fill(plan, tmp_path, packs=[0])
    consolidate(tmp_path)
    assert is_current(tmp_path)
    fill(plan, tmp_path, packs=[1])
    assert not is_current(tmp_path)
    assert int((open_study(tmp_path).outcome == Outcome.DONE).sum()) > plan.pack_size


def test_a_cube_is_stale_once_its_trials_are_to_run_again(tmp_path: Path) -> None:
    plan = planned(SWEEP, tmp_path)
    store = fill(plan, tmp_path)
    consolidate(tmp_path)
    store.reset_rows(plan.row[:1])
    assert int((open_study(tmp_path).outcome == Outcome.NOT_RUN).sum()) == 1


def test_a_torn_cube_is_passed_by(tmp_path: Path) -> None:
    plan = planned(SWEEP, tmp_path)
    fill(plan, tmp_path)
    (consolidate(tmp_path) / "zarr.json").write_text('{"attributes"')
    assert open_study(tmp_path).attrs["complete"] == 1


def test_a_writer_that_was_killed_leaves_nothing_behind_for_long(tmp_path: Path) -> None:
    plan = planned(SWEEP, tmp_path)
    fill(plan, tmp_path)
    leftover = tmp_path / "cube.zarr.0123.partial"
    (leftover / "train_loss").mkdir(parents=True)
    consolidate(tmp_path)
    assert not leftover.exists() and is_current(tmp_path)


@pytest.mark.parametrize("chunk_bytes", [1, 100, 2**26])
@pytest.mark.parametrize("slab_bytes", [1, 3000, 2**29])
def test_slabs_and_chunks_of_any_size_give_the_same_cube(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slab_bytes: int, chunk_bytes: int
) -> None:
    plan = planned(SWEEP, tmp_path)
    fill(plan, tmp_path)
    whole = open_study(consolidate(tmp_path)).load()
    (tmp_path / "cube.zarr").rename(tmp_path / "whole.zarr")
    monkeypatch.setattr(consolidate_module, "SLAB_BYTES", slab_bytes)
    monkeypatch.setattr(chunking, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(chunking, "STEPS_PER_CHUNK", 7)
    xr.testing.assert_identical(open_study(consolidate(tmp_path)).load(), whole)


def test_a_cube_holds_few_files(study: tuple[Path, Plan]) -> None:
    n_files = sum(len(files) for _, _, files in os.walk(study[0] / "cube.zarr"))
    ds = open_study(study[0])
    curves = [n for n, v in ds.data_vars.items() if "step" in v.dims]
    chunks = -(-ds.sizes["step"] // chunking.STEPS_PER_CHUNK)
    assert n_files <= len(curves) * chunks + 2 * len(ds.variables) + 1


def test_a_folder_that_is_no_study_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"is no study.*phasecube run"):
        open_study(tmp_path)


def test_what_all_trials_share_stands_in_the_attributes(study: tuple[Path, Plan]) -> None:
    fixed = json.loads(open_study(study[0]).attrs["fixed"])
    assert fixed["steps"] == 40 and "lr" not in fixed


CONDITIONAL = """
name = "sub"
experiment = "modular_arithmetic"
where = ["{where}"]
[fixed]
steps = 3
[axes.c]
values = [1.5, 2.0, 2.5]
[axes.modulus]
values = [11, 13]
[axes.seed]
integers = {{ start = 0, stop = 2 }}
[derived]
train_fraction = "c * log(modulus) / modulus"
[record]
measures = ["train_loss"]
steps = {{ every = 1 }}
"""


@settings(max_examples=10, deadline=None)
@given(
    c=st.sampled_from([1.5, 2.0, 2.5]), modulus=st.sampled_from([11, 13]), seed=st.integers(0, 2)
)
def test_cells_outside_the_conditions_are_not_planned(
    c: float, modulus: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sub")
    where = f"c < {c} or modulus != {modulus} or seed >= {seed}"
    plan = planned(CONDITIONAL.format(where=where), folder)
    fill(plan, folder)
    ds = open_study(folder)
    allowed = (ds.c < c) | (ds.modulus != modulus) | (ds.seed >= seed)
    outcome = ds.outcome.where(allowed.transpose(*ds.outcome.dims), 0)
    assert set(np.unique(ds.outcome.values[~allowed.transpose(*ds.outcome.dims).values])) <= {255}
    assert set(np.unique(outcome.values)) <= {0, Outcome.DONE}
    assert bool((ds.train_loss.notnull().all("step") == allowed).all())


def test_a_derived_parameter_is_a_coordinate_over_the_axes_it_varies_along(tmp_path: Path) -> None:
    plan = planned(CONDITIONAL.format(where="seed < 9"), tmp_path)
    fill(plan, tmp_path)
    fraction = open_study(tmp_path).train_fraction
    assert fraction.dims == ("c", "modulus")
    assert fraction.sel(c=2.0, modulus=13).item() == pytest.approx(2 * np.log(13) / 13)


@pytest.mark.parametrize("is_consolidated", [False, True])
def test_a_cube_can_be_masked_whole(tmp_path: Path, is_consolidated: bool) -> None:
    plan = planned(SWEEP, tmp_path)
    fill(plan, tmp_path)
    if is_consolidated:
        consolidate(tmp_path)
    ds = open_study(tmp_path)
    done = ds.where(ds.outcome == Outcome.DONE)
    assert {str(d) for d in np.ravel(done.digest.values)} == {bytes(d).hex() for d in plan.digests}
    assert done.train_loss.notnull().all()
