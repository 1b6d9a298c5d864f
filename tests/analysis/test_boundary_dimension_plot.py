"""The analysis `boundary_dimension`: what is told and drawn of each map."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.boundary import dimension_plot as boundary_dimension_plot
from phasecube.analysis.boundary.dimension_figures import shaded
from phasecube.analysis.boundary.dimension_plot import intensity
from phasecube.analysis.plots import Plot
from phasecube.analysis.print_style import as_svg
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

SIDE = 33
LR = np.geomspace(1e-3, 1e3, SIDE)
CONVERGED = {"measure": "loss", "label": "converged", "converged_below": 1.0, "tail": 2}


def study() -> xr.Dataset:
    """Return maps over (b, a): split by a diagonal for seed 0, mixed at random for seed 1.

    A run that is lost diverges before its last record.
    """
    above = np.add.outer(np.arange(SIDE), np.arange(SIDE)) > SIDE + 0.5
    mixed = np.random.default_rng(0).random((SIDE, SIDE)) < 0.5
    lost = np.stack([above, mixed], -1)
    curves = np.where(lost[..., None], [4.0, 40.0, 400.0, 0.0], [4.0, 2.0, 0.5, 0.25])
    return study_dataset(
        {"b": LR, "a": LR, "seed": [0, 1]},
        [0, 10, 20, 30],
        {"loss": curves},
        outcome=np.where(lost, Outcome.DIVERGED, Outcome.DONE),
        n_recorded=np.where(lost, 3, 4),
    )


def drawn(**options: object) -> tuple[Plot, ...]:
    wanted = request("boundary_dimension", {**CONVERGED, "x": "a", "y": "b", **options})
    return boundary_dimension_plot.draw(study(), wanted.options)


def test_each_map_is_told_with_its_dimension_its_range_and_a_verdict() -> None:
    counts, maps = drawn()
    assert "seed = 0: 1.0" in counts.caption and "a smooth line would do" in counts.caption
    assert "seed = 1: 2.0" in counts.caption and "no smooth boundary" in counts.caption
    assert counts.table.groupby("map").dimension.first().round(1).tolist() == [1.0, 2.0]
    assert maps.table["share"].tolist() == pytest.approx([0.53, 0.5], abs=0.03)
    assert all("<svg" in as_svg(plot.figure(), "a") for plot in (counts, maps))


def test_select_leaves_one_map_and_may_not_fix_its_sides() -> None:
    counts, maps = drawn(select={"seed": 1})
    assert set(counts.table["map"]) == {"seed = 1"} and len(maps.table) == 1
    with pytest.raises(StudyError, match="select fixes a, which x or y names"):
        drawn(select={"a": LR[0]})


def test_a_label_without_its_bound_says_what_it_needs() -> None:
    with pytest.raises(StudyError, match="needs converged_below"):
        drawn(converged_below=None)


def test_sides_can_show_another_coordinate_along_them() -> None:
    _, maps = drawn(shown_x="a", select={"seed": 0})
    assert maps.table["a from"].tolist() == [LR[0]] and maps.table["a to"].tolist() == [LR[-1]]
    with pytest.raises(StudyError, match="'seed' is no coordinate along a"):
        drawn(shown_x="seed")


def test_intensity_is_the_sum_of_losses_over_the_first_or_of_their_inverse() -> None:
    ds = study().isel(seed=0)
    holds = (ds.outcome == Outcome.DONE).astype(float)
    found = intensity(ds, "loss", holds)
    # 1 + 1/2 + 1/8 + 1/16 where it came down; 1, 10, 100 and a lost record where it was lost.
    assert float(found[0, 0]) == -1.6875
    assert float(found[-1, -1]) == pytest.approx(1 + 0.1 + 0.01 + 1e-6)
    assert np.isnan(intensity(ds, "loss", holds.where(ds.a > 1))[0, 0])


def test_shades_follow_the_rank_of_a_run_among_those_of_its_label() -> None:
    holds = np.array([[1, 1, 1], [0, 0, np.nan]])
    image = shaded(holds, np.array([[-9.0, -5.0, -1.0], [2.0, 7.0, 3.0]]))
    red, blue = image[..., 0], image[..., 2]
    assert (np.diff(red[0]) < 0).all() and (blue[0] > red[0]).all()  # sooner is darker
    assert (red[1, :2] > blue[1, :2]).all() and blue[1, 0] < blue[1, 1]
    assert (image[1, 2] == 1).all()
