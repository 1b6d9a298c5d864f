"""The analysis `refined_boundary`: what is told and drawn of a searched study."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.boundary import refined_plot as refined_boundary_plot
from phasecube.analysis.plots import Plot
from phasecube.analysis.print_style import as_svg
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

LR = {"name": "lr", "low": 0.1, "high": 10.0, "scale": "log", "choices": []}
WIDTH = {"name": "width", "low": 0.0, "high": 1.0, "choices": []}


def study(
    lr_N: np.ndarray, width_N: np.ndarray | None, lost_NR: np.ndarray, **search: Any
) -> xr.Dataset:
    """Return a search whose trials diverged where `lost_NR`, and else have a loss of lr."""
    n, seeds = lost_NR.shape
    ds = study_dataset(
        {"point": np.arange(n), "seed": np.arange(seeds)},
        [0, 10],
        {"loss": np.repeat(lr_N[:, None, None], 2, -1)},
        outcome=np.where(lost_NR, Outcome.DIVERGED, Outcome.DONE),
    ).drop_vars("point")
    ds = ds.assign_coords(lr=("point", lr_N))
    axes = [LR]
    if width_N is not None:
        ds, axes = ds.assign_coords(width=("point", width_N)), [LR, WIDTH]
    facts = {"kind": "boundary", "axes": axes, "objectives": []}
    facts |= {"question": {"outcome": "diverged"}, **search}
    return ds.assign_attrs(search=json.dumps(facts), fixed=json.dumps({"dimension": 10}))


def plane(n: int = 60, edge: float = 1.0) -> xr.Dataset:
    """Return points over both axes, lost above lr = edge; one of them without an answer."""
    places = np.random.default_rng(0).random((n, 2))
    lr_N = 0.1 * 100 ** places[:, 0]
    ds = study(lr_N, places[:, 1], (lr_N > edge)[:, None] | np.zeros((1, 2), bool))
    ds.outcome[5] = Outcome.FAILED
    return ds


def drawn(ds: xr.Dataset, **options: object) -> Plot:
    (plot,) = refined_boundary_plot.draw(ds, request("refined_boundary", options).options)
    return plot


def test_a_map_tells_boundary_interval_and_reference_on_each_slice() -> None:
    plot = drawn(plane(), x="width", y="lr", reference="dimension / 10 + 0 * width")
    table = plot.table
    assert (table["reference dimension / 10 + 0 * width"] == 1.0).all() and len(table) == 65
    assert ((table.lr_low <= 1.0) & (table.lr_high >= 1.0)).all()
    assert ((table.lr_low < table.lr) & (table.lr < table.lr_high)).all()
    assert "1 without an answer" in plot.caption and "60 points were tried" in plot.caption
    assert "<svg" in as_svg(plot.figure(), "a")


def test_an_interval_is_never_narrower_than_the_nearest_answers_on_both_sides() -> None:
    ds = plane()
    table = drawn(ds, x="width", y="lr").table
    answered = ds.lr.values[np.arange(60) != 5]
    below, above = answered[answered <= 1].max(), answered[answered > 1].min()
    assert (table.lr_low <= below * 1.02).all() and (table.lr_high >= above / 1.02).all()


def test_along_one_axis_the_bracket_is_the_interval() -> None:
    lr_N = np.array([0.1, 10.0, 1.0, 2.0, 1.5])
    plot = drawn(study(lr_N, None, (lr_N > 1.7)[:, None]), reference="1.6")
    assert plot.table[["lr_low", "lr_high"]].values.tolist() == [pytest.approx([1.5, 2.0])]
    assert "1.5 to 2" in plot.caption and "<svg" in as_svg(plot.figure(), "a")


def test_answers_that_are_all_alike_have_no_boundary() -> None:
    plot = drawn(plane(edge=100.0))
    assert "no boundary was found" in plot.caption and len(plot.table) == 0
    assert "<svg" in as_svg(plot.figure(), "a")


def test_answers_mixed_at_every_scale_get_no_line() -> None:
    places = np.random.default_rng(1).random((256, 2))
    mixed = np.random.default_rng(2).random((256, 1)) < 0.5
    plot = drawn(study(0.1 * 100 ** places[:, 0], places[:, 1], mixed))
    assert "No smooth boundary at these scales" in plot.caption and len(plot.table) == 0


def test_seeds_that_disagree_are_told_as_the_width_of_a_transition() -> None:
    places = np.random.default_rng(3).random((120, 2))
    chance = 1 / (1 + np.exp(-(places[:, :1] - 0.5) / 0.03))
    lost = np.random.default_rng(4).random((120, 5)) < chance
    plot = drawn(study(0.1 * 100 ** places[:, 0], places[:, 1], lost), x="width", y="lr")
    assert "Seeds disagree at" in plot.caption and "No smooth" not in plot.caption


def test_a_question_of_the_analysis_takes_the_place_of_the_sampler_s() -> None:
    plot = drawn(plane(), x="width", y="lr", question={"measure": "loss", "below": 0.3})
    assert np.median(plot.table.lr) == pytest.approx(0.3, rel=0.2)
    assert "loss below 0.3 at the end" in plot.title


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "depth"}, "'depth' was not searched; the axes are lr, width"),
        ({"x": "lr", "y": "lr"}, "x and y are both 'lr'"),
        ({"reference": "2 * depth"}, "reads depth; here there are dimension, lr"),
        ({"question": {"measure": "loss"}}, "exactly one of above and below"),
        ({"question": {"measure": "speed", "above": 1}}, "recorded no 'speed'; it has loss"),
        ({"exact": "sgd_gaussian_mean_square"}, "needs 'batch', which the study lacks"),
    ],
)
def test_what_cannot_be_drawn_says_why(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        drawn(plane(), **options)


def test_a_study_that_is_no_search_is_told_so() -> None:
    ds = plane()
    del ds.attrs["search"]
    with pytest.raises(StudyError, match="is no search"):
        drawn(ds)
    with pytest.raises(StudyError, match="asks no question"):
        drawn(study(np.array([0.1, 10.0]), None, np.array([[False], [True]]), question=None))
