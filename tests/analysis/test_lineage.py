"""Lineage: who goes on from whom, and what the best line of ancestors was trained with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.plots import draw_plots
from phasecube.analysis.print_style import as_svg, save
from phasecube.analysis.search.lineage import ancestry, best_point, last_values, lineage
from phasecube.analysis.search.lineage_plot import Options, draw
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

# Two members, three generations of 10 steps; point 3 of the second goes on from point 0.
PARENTS = (-1, -1, 0, 0, 2, 3)
RATES = (0.1, 1.0, 0.1, 0.12, 0.1, 0.144)
LAST = (2.0, 9.0, 1.5, 1.2, 1.1, 0.6)


def name(point: int, seed: int) -> str:
    return f"{point:016d}{seed:016d}"


def population(seeds: tuple[int, ...] = (0, 1)) -> xr.Dataset:
    steps = np.arange(0, 31, 5)
    begin = np.repeat([0, 10, 20], 2)
    end = begin + 10
    inside = (steps >= begin[:, None]) & (steps <= end[:, None])
    value = np.where(inside, np.asarray(LAST)[:, None] + (end[:, None] - steps) / 100, np.nan)
    value_PRS = np.repeat(value[:, None], len(seeds), 1)
    ds = study_dataset({"point": range(6), "seed": seeds}, steps, {"loss": value_PRS})
    ds = ds.drop_vars("point")
    names = [[name(p, s) for s in seeds] for p in range(6)]
    parents = [["" if q < 0 else name(q, s) for s in seeds] for q in PARENTS]
    ds["digest"] = (("point", "seed"), np.array(names))
    ds["stopped_at"] = (("point", "seed"), np.repeat(end[:, None], len(seeds), 1))
    rates = ("point", list(RATES), {"long_name": "learning rate", "scale": "log"})
    return ds.assign_coords(
        lr=rates,
        kind=("point", ["a", "b", "a", "a", "a", "b"]),
        steps=("point", end),
        parent_point=("point", list(PARENTS)),
        branch_step=("point", begin),
        parent_trial=(("point", "seed"), np.array(parents)),
    )


def test_ancestry_leads_from_the_first_ancestor_to_the_trial_by_its_own_seed() -> None:
    assert ancestry(population(), name(5, 1)) == [name(0, 1), name(3, 1), name(5, 1)]
    assert ancestry(population(), name(1, 0)) == [name(1, 0)]


def test_a_trial_of_no_branch_is_its_own_line() -> None:
    ds = population().drop_vars(["parent_trial", "branch_step", "parent_point", "steps"])
    assert ancestry(ds, name(4, 0)) == [name(4, 0)]
    assert lineage(ds, name(4, 0)).begin.tolist() == [0]


def test_an_unknown_trial_and_a_lost_ancestor_are_said() -> None:
    with pytest.raises(StudyError, match="has no trial 'nobody'"):
        ancestry(population(), "nobody")
    lost = population().isel(point=[1, 2, 3])
    with pytest.raises(StudyError, match=f"no trial '{name(0, 0)}', which {name(3, 0)} goes on"):
        ancestry(lost, name(3, 0))


def test_a_lineage_is_a_schedule_of_what_was_searched() -> None:
    table = lineage(population(), name(5, 0))
    assert table.columns.tolist() == ["digest", "begin", "end", "lr", "kind"]
    assert table.begin.tolist() == [0, 10, 20] and table.end.tolist() == [10, 20, 30]
    assert table.lr.tolist() == [0.1, 0.12, 0.144]


def test_a_parameter_that_is_no_coordinate_is_said() -> None:
    with pytest.raises(StudyError, match="'width' is no coordinate of the study; searched were"):
        lineage(population(), name(5, 0), ["width"])


def test_the_best_is_found_among_those_that_trained_longest() -> None:
    ds = population()
    assert best_point(ds, "loss") == 5
    assert best_point(ds, "loss", maximize=True) == 4
    ds.outcome[5, 1] = Outcome.DIVERGED
    assert np.isnan(last_values(ds, "loss")[5])
    assert best_point(ds, "loss") == 4


def test_a_study_with_no_last_value_is_said() -> None:
    ds = population()
    ds.outcome[:] = Outcome.DIVERGED
    with pytest.raises(StudyError, match="no point of the study has a last 'loss'"):
        best_point(ds, "loss")
    with pytest.raises(StudyError, match="recorded no 'los'; it has loss"):
        best_point(ds, "los")


def test_the_table_of_the_plot_is_the_lineage_of_the_best() -> None:
    (plot,) = draw(population(), Options("loss"))
    assert plot.table.point.tolist() == [0, 3, 5]
    assert plot.table.lr.tolist() == [0.1, 0.12, 0.144]
    assert "6 points" in plot.caption and "the 2 it goes on from" in plot.caption


def test_the_plot_is_drawn_for_page_and_print(tmp_path: Path) -> None:
    (plot,) = draw_plots("lineage", population(), request("lineage", {"measure": "loss"}).options)
    pdf, png = save(plot.figure(), tmp_path / plot.name)
    assert pdf.stat().st_size > 0 and png.stat().st_size > 0
    assert "learning rate" in as_svg(plot.figure(), "x")


def test_a_study_that_was_not_searched_has_no_lineage_to_draw() -> None:
    plain = study_dataset({"lr": [0.1, 0.2]}, [0, 1], {"loss": np.ones(2)})
    with pytest.raises(StudyError, match="the study was not searched"):
        draw(plain, Options("loss"))
