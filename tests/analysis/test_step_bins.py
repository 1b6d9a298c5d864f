"""Log bins of steps and quantiles, against plain NumPy cell by cell."""

from __future__ import annotations

from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from phasecube.analysis.cube import step_bins
from phasecube.analysis.cube.step_bins import Statistic, binned, log_bins, quantiles
from phasecube.engine.errors import StudyError

STATISTICS: dict[Statistic, Any] = {
    "mean": lambda v: np.mean(v.astype("f8")),
    "median": lambda v: np.median(v.astype("f8")),
    "max": np.max,
    "min": np.min,
    "last": lambda v: v[-1],
}
VALUES = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


def curves(values: np.ndarray, steps: Any, dim: str = "step") -> xr.DataArray:
    dims = [f"a{i}" for i in range(values.ndim - 1)]
    return xr.DataArray(values, dims=[*dims, dim], coords={dim: np.asarray(steps)}, name="loss")


@st.composite
def some_curves(draw: st.DrawFn) -> xr.DataArray:
    steps = sorted(draw(st.sets(st.integers(0, 100_000), min_size=1, max_size=40)))
    shape = (*draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), len(steps))
    return curves(draw(hnp.arrays(np.float32, shape, elements=VALUES)), steps)


@given(st.sets(st.integers(0, 10**9), min_size=1, max_size=60), st.integers(1, 40))
def test_each_step_lies_in_one_bin_within_its_edges(steps: set[int], per_decade: int) -> None:
    at = np.array(sorted(steps))
    bins = log_bins(at, per_decade)
    assert bins.start[0] == 0 and bins.stop[-1] == len(at)
    assert np.array_equal(bins.start[1:], bins.stop[:-1]) and (bins.start < bins.stop).all()
    for left, right, start, stop in zip(bins.left, bins.right, bins.start, bins.stop, strict=True):
        assert ((left <= at[start:stop]) & (at[start:stop] < right)).all()
        if left:
            assert right / left == pytest.approx(10 ** (1 / per_decade), rel=1e-12)
        else:
            assert at[start:stop].tolist() == [0]


@pytest.mark.parametrize("per_decade", [1, 3, 7, 10, 12, 999])
def test_a_power_of_ten_begins_a_bin(per_decade: int) -> None:
    for power in range(10):
        bins = log_bins([10**power], per_decade)
        assert bins.left.tolist() == [10**power]


def test_a_bin_stands_at_its_geometric_middle_and_says_its_edges_and_records() -> None:
    found = binned(curves(np.arange(6.0), [0, 1, 2, 10, 50, 100]), 1)
    assert found.step_bin.values == pytest.approx([0, 10**0.5, 10**1.5, 10**2.5])
    assert found.step_left.values.tolist() == [0, 1, 10, 100]
    assert found.step_right.values.tolist() == [1, 10, 100, 1000]
    assert found.n_records.values.tolist() == [1, 2, 2, 1]
    assert found.step_middle.values == pytest.approx([0, 2**0.5, 500**0.5, 100])
    assert found.step_middle.values[[0, 3]].tolist() == [0, 100]  # of one record: that record
    assert found.values.tolist() == [0, 1.5, 3.5, 5]
    assert found.attrs["cell_methods"] == "step: mean"


@pytest.mark.parametrize("statistic", STATISTICS)
@settings(max_examples=25)
@given(values=some_curves(), per_decade=st.integers(1, 12))
def test_a_bin_holds_the_statistic_of_the_values_in_it_that_are_there(
    statistic: Statistic, values: xr.DataArray, per_decade: int
) -> None:
    found = binned(values, per_decade, statistic)
    for b, (left, right) in enumerate(zip(found.step_left, found.step_right, strict=True)):
        inside = (values.step >= left) & (values.step < right)
        for cell in np.ndindex(values.shape[:-1]):
            kept = values.values[cell][inside.values]
            kept = kept[~np.isnan(kept)]
            expected = STATISTICS[statistic](kept) if kept.size else np.nan
            # Two orders of summing 40 float64 differ by less than 40 eps of the largest.
            largest = np.abs(kept).max(initial=0)
            np.testing.assert_allclose(found.values[cell][b], expected, 0, 1e-14 * largest)


@pytest.mark.parametrize("statistic", STATISTICS)
@settings(max_examples=8)
@given(values=some_curves(), chunk=st.integers(1, 5), room=st.sampled_from([1, 64, 2**27]))
def test_dask_gives_the_bits_of_numpy_and_computes_nothing_before_it_is_asked(
    statistic: Statistic, values: xr.DataArray, chunk: int, room: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_bins, "BLOCK_BYTES", room)
        with dask.config.set(scheduler=_refuse):
            lazy = binned(values.chunk(dict.fromkeys(values.dims, chunk)), 3, statistic)
            some = quantiles(values.chunk(dict.fromkeys(values.dims, chunk)), ["a1", "step"])
        assert lazy.chunks is not None
        xr.testing.assert_identical(lazy.compute(scheduler="sync"), binned(values, 3, statistic))
        at_once = quantiles(values, ["a1", "step"])
        xr.testing.assert_identical(some.compute(scheduler="sync"), at_once)


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("computed before it was asked for")


def test_a_block_is_no_larger_than_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_bins, "BLOCK_BYTES", 8 * 100 * 6)
    lazy = curves(np.zeros((40, 30, 100), "f4"), range(100, 200)).chunk(step=25)
    found = binned(lazy, 1)
    assert found.chunks is not None and np.prod([max(c) for c in found.chunks[:2]]) <= 6


def test_a_dataset_keeps_what_has_no_steps_and_bins_both_kinds_of_steps() -> None:
    loss = np.arange(8, dtype="f4").reshape(2, 4)
    norm = np.arange(12, dtype="f4").reshape(2, 3, 2)
    ds = xr.Dataset(
        {
            "loss": (("seed", "step"), loss, {"units": "nat", "cadence_steps": [1]}),
            "norm": (("seed", "vector_step", "layer"), norm),
            "outcome": ("seed", np.array([1, 3], "u1")),
        },
        coords={"step": [0, 1, 2, 3], "vector_step": [0, 1, 2], "layer": ["a", "b"]},
    )
    found = binned(ds, 1, "max")
    assert found.loss.dims == ("seed", "step_bin") and found.loss.attrs["units"] == "nat"
    assert "cadence_steps" not in found.loss.attrs
    assert found.norm.dims == ("seed", "vector_step_bin", "layer")
    assert found.norm.values.tolist() == [[[0, 1], [4, 5]], [[6, 7], [10, 11]]]
    assert found.outcome.identical(ds.outcome) and found.loss.dtype == np.float32
    assert "step" not in found.dims and "vector_step" not in found.coords


@given(
    values=hnp.arrays(np.float32, (3, 2, 5), elements=VALUES),
    q=st.lists(st.floats(0, 1), min_size=1, max_size=4),
)
def test_quantiles_are_those_of_numpy(values: np.ndarray, q: list[float]) -> None:
    array = xr.DataArray(values, dims=("a", "seed", "b"))
    found = quantiles(array, "seed", q)
    assert found.dims == ("a", "b", "quantile") and found["quantile"].values.tolist() == q
    for a, b in np.ndindex(3, 5):
        kept = values[a, :, b].astype("f8")
        kept = kept[~np.isnan(kept)]
        expected = np.quantile(kept, q) if kept.size else np.full(len(q), np.nan)
        # Between two values the order of one addition is free: a unit in the last place.
        np.testing.assert_allclose(found.values[a, b], expected, 4e-16, 1e-300)


def test_infinite_values_count_as_values() -> None:
    found = quantiles(xr.DataArray([1.0, 2.0, np.inf, np.nan], dims="seed"), "seed", [0.5, 1])
    assert found.values.tolist() == [2.0, np.inf]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: binned(curves(np.ones(2), [0, 1]), 0), "1 to 1,000, got 0"),
        (lambda: binned(curves(np.ones(2), [2, 1])), "ascend"),
        (lambda: binned(curves(np.ones(2), [-1, 1])), "ascend"),
        (lambda: binned(curves(np.ones(2), [0, 1.5])), "whole numbers"),
        (lambda: binned(curves(np.ones(2), [0, 1]), statistic="sum"), "no statistic 'sum'"),
        (lambda: binned(xr.DataArray(np.ones(2), dims="seed")), "no step"),
        (lambda: binned(xr.DataArray(np.ones(2), dims="step")), "no steps along it"),
        (lambda: quantiles(xr.DataArray(np.ones(2), dims="seed"), "lr"), "no dim lr.*seed"),
        (lambda: quantiles(xr.DataArray(np.ones(2), dims="seed"), "seed", [25]), "from 0 to 1"),
        (lambda: quantiles(xr.DataArray(np.ones(2), dims="seed"), "seed", []), "from 0 to 1"),
    ],
)
def test_what_cannot_be_binned_is_named(ask: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        ask()
