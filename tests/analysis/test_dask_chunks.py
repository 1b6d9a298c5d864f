"""Chunks are chosen from bytes, and no more is read of a study than is asked for."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import study_dataset
from test_cube import SWEEP, fill, planned
from xarray.backends import BackendArray
from xarray.core import indexing

from phasecube.analysis.cube import chunking
from phasecube.analysis.cube import consolidate as consolidate_module
from phasecube.analysis.cube.chunking import CHUNK_BYTES, block, chunks_on_disk, in_chunks, windows
from phasecube.analysis.cube.consolidate import consolidate
from phasecube.analysis.cube.opened import open_study
from phasecube.analysis.cube.row_values import RowValues
from phasecube.analysis.cube.step_bins import quantiles
from phasecube.analysis.lines.slices import value_at
from phasecube.analysis.order_parameters import final_value
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome
from phasecube.engine.store import Store

MILLION = {"lr": 100, "weight_decay": 100, "fraction": 10, "seed": 10}
Reads = list[tuple[int, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    fill(planned(SWEEP, folder), folder)
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    """Every (pack, measure) that is read of a store."""
    found: Reads = []
    read = Store.read_pack_measure

    def noted(store: Store, number: int, name: str) -> Any:
        found.append((number, name))
        return read(store, number, name)

    monkeypatch.setattr(Store, "read_pack_measure", noted)
    yield found


class Unread(BackendArray):
    """Values that lie somewhere and are never read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        raise AssertionError("a value was read")


def million(*inner: tuple[str, int], dims: dict[str, int] = MILLION) -> xr.Dataset:
    """A study of 10^6 trials and twelve measures."""
    sizes = {**dims, **dict(inner)}
    values = indexing.LazilyIndexedArray(Unread(tuple(sizes.values())))
    return xr.Dataset({f"m{i}": xr.Variable(tuple(sizes), values) for i in range(12)})


def test_a_chunk_on_disk_holds_all_trials_at_as_many_steps_as_fit() -> None:
    chunks = chunks_on_disk(million(("step", 200)).m0.variable)
    assert chunks == (100, 100, 10, 10, CHUNK_BYTES // 4_000_000)


def test_where_one_step_is_too_large_a_chunk_holds_it_of_neighbouring_trials() -> None:
    wide = million(("vector_step", 20), ("k", 256)).m0.variable
    chunks = chunks_on_disk(wide)
    assert chunks == (6, 100, 10, 10, 1, 256)
    assert CHUNK_BYTES / 2 < 4 * math.prod(chunks) <= CHUNK_BYTES


def test_a_small_study_has_chunks_of_few_steps() -> None:
    small = million(("step", 200), dims={"lr": 3, "seed": 2}).m0.variable
    assert chunks_on_disk(small) == (3, 2, chunking.STEPS_PER_CHUNK)


@given(st.lists(st.integers(1, 40), max_size=5), st.integers(1, 10**5), st.integers(1, 10**7))
def test_a_block_fits_and_is_one_run_of_cells(shape: list[int], one: int, limit: int) -> None:
    sides = block(shape, one, limit)
    assert math.prod(sides) * one <= max(limit, one)
    inside = [s for s, n in zip(sides, shape, strict=True) if n > 1]
    whole = [s == n for s, n in zip(sides, shape, strict=True) if n > 1]
    split = whole.index(True) if True in whole else len(whole)
    # One by one, then a part of one dim, then whole dims: cells that follow each other.
    assert all(whole[split:]) and all(s == 1 for s in inside[: max(0, split - 1)])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 12)), max_size=4))
def test_windows_cover_every_place_once(sides: list[tuple[int, int]]) -> None:
    shape = [n for n, _ in sides]
    seen = np.zeros(shape, int)
    for window in windows(shape, [side for _, side in sides]):
        seen[window] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("as_rows", [True, False])
def test_a_median_of_every_curve_of_a_million_trials_is_a_small_graph(as_rows: bool) -> None:
    ds = million(("step", 200))
    for variable in ds.variables.values():
        if not as_rows:
            variable.encoding["chunks"] = chunks_on_disk(variable)
    by_dask = in_chunks(ds, "auto")
    n_chunks = sum(v.data.npartitions for v in by_dask.data_vars.values())
    assert n_chunks == 12 * 13
    for found in (by_dask.median("seed"), quantiles(by_dask, "seed", [0.25, 0.5, 0.75])):
        assert len(found.__dask_graph__()) <= 12 * n_chunks


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("all", "got 'all'"),
        (3, "got 3"),
        ({"lrr": 3}, "no measure has the dim lrr; there are a, "),
        ({"step": 0}, "step has 0"),
        ({"step": True}, "step has True"),
    ],
)
def test_chunks_that_mean_nothing_are_refused(sizes: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        in_chunks(million(("step", 200), dims={"a": 3, "b": 2}), sizes)


def test_automatic_chunks_hold_no_more_bytes_than_promised() -> None:
    for ds in (million(("step", 200)), million(("vector_step", 20), ("k", 256))):
        for variable in in_chunks(ds, "auto").data_vars.values():
            largest = math.prod(max(sizes) for sizes in variable.chunks)
            assert CHUNK_BYTES / 4 <= 4 * largest <= CHUNK_BYTES


def test_a_chunk_of_rows_reads_its_own_packs_alone(finished: Path, reads: Reads) -> None:
    ds = open_study(finished, chunks={"lr": 1, "size": 1})
    ds.train_loss.data.blocks[(0,) * ds.train_loss.ndim].compute()
    n_packs = Store(finished / "store.zarr").n_packs
    assert 0 < len({pack for pack, _ in reads}) < n_packs
    assert {name for _, name in reads} == {"train_loss"}


def test_one_trial_of_a_running_study_is_one_pack(finished: Path, reads: Reads) -> None:
    ds = open_study(finished)
    cell = dict.fromkeys(map(str, ds.outcome.dims), 1)
    alone = ds.val_accuracy.isel(cell).values
    assert len(reads) == 1
    np.testing.assert_array_equal(alone, ds.val_accuracy.values[(1,) * len(cell)])


@pytest.mark.parametrize(
    "key",
    [
        {"lr": [2, 0], "seed": slice(None, None, -1), "step": [5, 1, 1]},
        {"optimizer": 1, "size": [0], "step": -1},
        {"lr": slice(0, 0)},
    ],
)
def test_any_selection_of_rows_is_that_of_the_whole(finished: Path, key: dict[str, Any]) -> None:
    whole = open_study(finished).train_loss.load()
    xr.testing.assert_identical(open_study(finished).train_loss.isel(key).load(), whole.isel(key))


def test_the_last_value_of_rows_reads_each_pack_once(finished: Path, reads: Reads) -> None:
    ds = open_study(finished)
    ds["n_recorded"] = ds.n_recorded - (ds.seed > 1)  # so that not all end at the last step
    final_value(ds, "train_loss").load()
    packs = [pack for pack, _ in reads]
    assert len(packs) == len(set(packs)) == Store(finished / "store.zarr").n_packs


@pytest.mark.parametrize("slab_bytes", [2_000, 6_000])
def test_consolidating_holds_one_slab_of_any_measure(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slab_bytes: int
) -> None:
    path = shutil.copytree(finished, tmp_path / "study")
    monkeypatch.setattr(consolidate_module, "SLAB_BYTES", slab_bytes)
    monkeypatch.setattr(chunking, "CHUNK_BYTES", 1_000)
    held: dict[str, list[int]] = {}
    read = RowValues._read

    def noted(rows: RowValues, key: tuple[Any, ...]) -> Any:
        found = read(rows, key)
        held.setdefault(rows._name, []).append(found.nbytes)
        return found

    monkeypatch.setattr(RowValues, "_read", noted)
    consolidate(path)
    assert set(held) == {"train_loss", "val_accuracy", "weight_norm_per_layer"}
    ds = open_study(path)
    for name, n_bytes in held.items():
        assert sum(n_bytes) == ds[name].nbytes  # each value once
        assert max(n_bytes) <= slab_bytes < ds[name].nbytes or ds[name].nbytes <= slab_bytes


@pytest.mark.parametrize("by_dask", [True, False])
def test_a_trial_without_axes_has_a_last_value_too(by_dask: bool) -> None:
    ds = study_dataset({}, [0, 5, 10], {"loss": np.array([3.0, 2.0, 1.0])}, Outcome.PRUNED, 2)
    if by_dask:
        ds = in_chunks(ds, {"step": 2})
    assert final_value(ds, "loss").item() == value_at(ds, "loss", None).item() == 2.0
