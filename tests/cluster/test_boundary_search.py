"""A study that is searched for a boundary, trained: its points, its stop, its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

import phasecube
from phasecube.analysis.boundary.refined import bracket_crossings, tried_points
from phasecube.analysis.search.facts import search_facts
from phasecube.cluster.boundary_search import BoundarySearch
from phasecube.cluster.in_process import InProcess
from phasecube.cluster.run_study import run_study
from phasecube.cluster.search import first_points, run_batches
from phasecube.cluster.study import Study
from phasecube.cluster.tried import read_tried
from phasecube.sweeps.objective import NO, YES
from phasecube.sweeps.sweep import parse_sweep

SWEEP = """
name = "edge"
experiment = "scalar_quartic"
[fixed]
steps = 300
[axes]
lr = { between = [0.1, 2.9] }
seed = { integers = { start = 0, stop = 2 } }
[record]
measures = ["position"]
steps = { every = 300 }
[sampler]
kind = "boundary"
points = 40
batch = 8
question = { outcome = "diverged" }
options = { tolerance = 0.02 }
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    path = tmp_path_factory.mktemp("search") / "edge"
    study = Study.create(first_points(parse_sweep(SWEEP, Path())), path)
    run_batches(study, lambda: run_study(study, executor=InProcess()))
    return Study(path)


def test_the_search_ends_before_its_budget_with_the_exact_edge_in_its_bracket(study: Study) -> None:
    """Card A4: runs stay finite up to 2, whatever their start."""
    ds = phasecube.open(study.path)
    facts = search_facts(ds)
    assert facts.question is not None and [axis.name for axis in facts.axes] == ["lr"]
    found = bracket_crossings(tried_points(ds, facts.axes, facts.question))
    low, high = (facts.axes[0].at(float(end[0])) for end in (found.low_C, found.high_C))
    assert ds.sizes["point"] < 40 and low < 2.0 < high and high - low <= 0.02 * 2.8
    assert len(found.value_C) == 1


def test_each_trial_of_a_point_is_counted_among_the_answers(study: Study) -> None:
    tried = read_tried(study)
    assert all(each.n_yes + each.n_no == 3 for each in tried)
    assert {each.answer for each in tried} == {YES, NO}
    assert all((each.answer == YES) == (each.point["lr"] > 2) for each in tried)


def test_a_study_that_was_cut_short_asks_for_the_same_points_again(study: Study) -> None:
    tried, searcher = read_tried(study), BoundarySearch(study.sweep)
    for n in (0, 8, 16):
        chosen = [dict(each.point) for each in tried[n : n + 8]]
        assert searcher.next_points(tried[:n], 8)[: len(chosen)] == chosen
    assert searcher.next_points(tried, 8) == [] and searcher.next_points(tried, 0) == []
