"""What a search tried, and what of it was best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import phasecube
from phasecube.analysis.analyses import requests
from phasecube.analysis.search.figure import is_wide
from phasecube.analysis.search.plot import Options, best_so_far, draw, front, values_of_points
from phasecube.cluster.tried import read_tried
from phasecube.engine.errors import StudyError
from phasecube.sweeps.sweep import parse_sweep

TEXT = """
name = "searched"
experiment = "scalar_quartic"
[fixed]
steps = 20
[axes]
lr = { between = [0.1, 8.0], scale = "log" }
start = { choices = ["minimum", "random"] }
seed = { values = [0, 1] }
[sampler]
kind = "random"
points = 12
[[sampler.objectives]]
measure = "train_loss"
[[sampler.objectives]]
measure = "distance"
goal = "maximize"
at = "best"
over = "worst"
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "study"
    phasecube.run(parse_sweep(TEXT, Path()), path, processes=1)
    return path


def test_a_search_is_drawn_with_the_numbers_that_its_sampler_was_told(study: Path) -> None:
    ds = phasecube.open(study)
    told = np.array([each.values for each in read_tried(phasecube.Study(study))])
    objectives = parse_sweep(TEXT, Path()).sampler.objectives  # type: ignore[union-attr]
    drawn = np.stack([values_of_points(ds, objective) for objective in objectives], 1)
    assert np.isnan(told).any() and np.isfinite(told).any()
    np.testing.assert_array_equal(drawn, told)


def test_a_search_without_analyses_is_drawn_as_one(study: Path) -> None:
    assert [r.kind for r in requests((), phasecube.open(study))] == ["search"]


def test_two_objectives_have_a_plot_each_and_a_front(study: Path) -> None:
    plots = draw(phasecube.open(study), Options())
    assert [p.name for p in plots] == ["search_train_loss", "search_distance", "search_front"]
    axes = plots[0].figure().axes
    assert axes[1].get_xlabel() == "lr" and axes[1].get_xscale() == "log"
    assert [t.get_text() for t in axes[2].get_xticklabels()] == ["minimum", "random"]


def test_points_without_a_number_are_told_by_what_befell_them(study: Path) -> None:
    table = draw(phasecube.open(study), Options())[0].table
    missing = table.train_loss.isna()
    assert (table.without_number[missing] == "diverged").all() and missing.any()
    assert (table.without_number[~missing] == "").all()


def test_a_study_that_is_no_search_has_no_such_plot() -> None:
    with pytest.raises(StudyError, match="is no search"):
        draw(xr.Dataset(), Options())


VALUES = st.one_of(st.floats(-10, 10), st.just(np.nan))


@given(arrays(np.float64, st.integers(1, 20), elements=VALUES))
def test_the_best_so_far_never_gets_worse_and_ends_at_the_best(value_P: np.ndarray) -> None:
    for goal, best in (("minimize", np.nanmin), ("maximize", np.nanmax)):
        run_P = best_so_far(value_P, goal)
        known = run_P[np.isfinite(run_P)]
        change = np.diff(known) if goal == "maximize" else -np.diff(known)
        assert (change >= 0).all()
        if np.isfinite(value_P).any():
            assert run_P[-1] == best(value_P)


@given(arrays(np.float64, st.tuples(st.integers(1, 15), st.just(2)), elements=VALUES))
def test_no_point_of_the_front_is_beaten_and_all_others_are(values_PO: np.ndarray) -> None:
    front_P = front(values_PO, ["minimize", "maximize"])

    def beats(one: np.ndarray, two: np.ndarray) -> bool:
        no_worse = one[0] <= two[0] and one[1] >= two[1]
        return bool(no_worse and (one[0] < two[0] or one[1] > two[1]))

    known = [v for v in values_PO if np.isfinite(v).all()]
    for value, is_on in zip(values_PO, front_P):
        expected = np.isfinite(value).all() and not any(beats(other, value) for other in known)
        assert is_on == expected


def test_only_positive_values_of_wide_range_are_drawn_on_a_log_scale() -> None:
    assert is_wide(np.array([1e-3, 1.0, np.nan]))
    assert not is_wide(np.array([0.0, 1.0])) and not is_wide(np.array([1.0, 2.0]))
    assert not is_wide(np.array([np.nan]))
