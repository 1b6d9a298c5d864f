"""Vector measures as a tree: the same numbers as the flat Dataset, arranged by their labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import study_dataset
from test_cube import SWEEP, fill, planned

import phasecube
from phasecube.analysis.cube.consolidate import consolidate
from phasecube.analysis.cube.opened import open_study
from phasecube.analysis.cube.tree import as_dataset, as_tree, open_tree
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    fill(planned(SWEEP, folder), folder)
    consolidate(folder)
    return folder


def test_vector_measures_lie_in_a_group_named_for_their_labels(study: Path) -> None:
    tree, ds = phasecube.open_tree(study), phasecube.open(study)
    assert list(tree.children) == ["layer"]
    norm = tree["layer"]["weight_norm_per_layer"]
    assert norm.dims == (*ds.outcome.dims, "vector_step", "layer")
    assert np.array_equal(norm, ds.weight_norm_per_layer)
    assert set(tree.data_vars) == set(ds.data_vars) - {"weight_norm_per_layer"}
    assert "vector_step" not in tree.coords and "layer" not in tree.coords


def test_a_group_has_the_axes_and_what_lies_along_them(study: Path) -> None:
    layer = phasecube.open_tree(study)["layer"]
    at = layer.sel(lr=1e-2, optimizer="adamw", seed=3, layer="output")
    assert at["weight_norm_per_layer"].dims == ("size", "vector_step")
    assert at.coords["width"].values.tolist() == [16, 32]


def test_one_selection_holds_for_the_whole_tree(study: Path) -> None:
    tree = phasecube.open_tree(study).sel(optimizer="sgd")
    assert "optimizer" not in tree.dims and "optimizer" not in tree["layer"].dims


def test_a_running_study_is_a_tree_too(tmp_path: Path) -> None:
    fill(planned(SWEEP, tmp_path), tmp_path, packs=[1])
    tree = open_tree(tmp_path)
    ran = tree["outcome"] == Outcome.DONE
    norm = tree["layer"]["weight_norm_per_layer"]
    assert bool(ran.any()) and not bool(ran.all())
    assert bool((norm.notnull().all(["vector_step", "layer"]) == ran).all())


def test_a_tree_is_read_when_it_is_used(study: Path) -> None:
    tree = open_tree(study)
    assert not tree["layer"]["weight_norm_per_layer"].variable._in_memory
    lazy = open_tree(study, chunks="auto")
    assert lazy["layer"]["weight_norm_per_layer"].chunks is not None
    assert lazy["train_loss"].chunks is not None


def test_the_tree_of_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="is no study"):
        phasecube.open_tree(tmp_path)


def test_a_tree_becomes_the_dataset_it_was(study: Path) -> None:
    ds = open_study(study)
    back = as_dataset(open_tree(study))
    assert list(back.variables) == list(ds.variables) and list(back.coords) == list(ds.coords)
    xr.testing.assert_identical(back.load(), ds.load())


NAMES = st.sampled_from(["layer", "head", "prompt"])


@given(
    labels=st.lists(NAMES, max_size=3, unique=True),
    n_measures=st.integers(1, 2),
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    selected=st.booleans(),
)
def test_any_study_becomes_a_tree_and_comes_back(
    labels: list[str], n_measures: int, sizes: list[int], selected: bool
) -> None:
    axes = {f"a{i}": list(range(n)) for i, n in enumerate(sizes)}
    ds = study_dataset(axes, [0, 5], {"loss": np.ones(2)})
    ds = ds.assign_coords(along=("a0", np.arange(sizes[0]) * 2.0))
    for k, label in enumerate(labels):
        ds = ds.assign_coords({label: [f"{label}{i}" for i in range(k + 1)], "vector_step": [0, 9]})
        for m in range(n_measures):
            shape = (*sizes, 2, k + 1)
            values = np.arange(np.prod(shape), dtype="f4").reshape(shape) + m
            ds[f"{label}_{m}"] = ((*axes, "vector_step", label), values, {"units": "1"})
    ds.attrs = {"fixed": json.dumps({"batch": 8})}
    if selected:
        ds = ds.isel(a0=0)
    tree = as_tree(ds)
    assert sorted(tree.children) == sorted(labels)
    assert all(len(tree[label].data_vars) == n_measures for label in labels)
    back = as_dataset(tree)
    assert list(back.data_vars) == list(ds.data_vars) and list(back.coords) == list(ds.coords)
    xr.testing.assert_equal(back, ds)
    for name in ds.variables:
        assert back[name].attrs == ds[name].attrs
