"""A searched study: its points are kept, extended and refused like any truth of a study."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from phasecube.cluster.points_file import POINTS, read_points
from phasecube.cluster.search import ask
from phasecube.cluster.study import PLAN, PLANNED, RESOLVED, Study
from phasecube.cluster.tried import read_tried
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.points import with_points
from phasecube.sweeps.sweep import Sweep, parse_sweep

TEXT = """
name = "searched"
experiment = "scalar_quartic"
[fixed]
steps = 20
[axes]
lr = { between = [0.1, 3.0], scale = "log" }
seed = { values = [0, 1] }
[sampler]
kind = "random"
points = 8
batch = 4
[[sampler.objectives]]
measure = "train_loss"
"""
FIRST = [{"lr": 0.5}, {"lr": 2.9}]


def sweep(text: str = TEXT) -> Sweep:
    return parse_sweep(text, Path())


def study(path: Path) -> Study:
    return Study.create(with_points(sweep(), FIRST), path / "study")


def test_a_study_keeps_its_points_in_their_order(tmp_path: Path) -> None:
    made = study(tmp_path)
    assert read_points(made.path) == FIRST
    assert list(Study(made.path).sweep.points) == FIRST


def test_the_plan_is_rebuilt_with_the_points(tmp_path: Path) -> None:
    made = study(tmp_path)
    for name in (PLAN, PLANNED, RESOLVED):
        (made.path / name).unlink()
    assert np.array_equal(Study(made.path).plan.digests, made.plan.digests)


def test_a_plan_older_than_the_points_is_stale(tmp_path: Path) -> None:
    made = study(tmp_path)
    old = (made.path / PLAN).read_bytes()
    made.adopt(made.propose(with_points(made.sweep, [*FIRST, {"lr": 1.0}])))
    (made.path / PLAN).write_bytes(old)  # as if the process had died before it was written
    assert len(Study(made.path).plan) == 6


def test_rows_whose_points_were_never_published_are_named_by_nothing(tmp_path: Path) -> None:
    made = study(tmp_path)
    before = (made.path / POINTS).read_bytes()
    made.adopt(made.propose(with_points(made.sweep, [*FIRST, {"lr": 1.0}])))
    (made.path / POINTS).write_bytes(before)  # as if it had died between rows and points
    again = Study(made.path)
    assert (again.plan.n_trials, list(again.sweep.points)) == (4, FIRST)
    assert again.plan.n_rows == again.store.n_rows


def test_points_that_are_not_whole_are_refused_with_a_remedy(tmp_path: Path) -> None:
    made = study(tmp_path)
    (made.path / POINTS).write_bytes(b'{"schema_version": 1, "poi')
    with pytest.raises(StudyError, match=r"points\.json is not whole .* from a copy"):
        _ = Study(made.path).plan


def test_a_wider_range_and_a_larger_budget_keep_the_points(tmp_path: Path) -> None:
    made = study(tmp_path)
    wider = sweep(TEXT.replace("0.1, 3.0", "0.01, 3.0").replace("points = 8", "points = 80"))
    proposal = made.propose(wider)
    assert (proposal.difference.n_kept, proposal.difference.n_new) == (4, 0)


def test_another_space_is_refused(tmp_path: Path) -> None:
    made = study(tmp_path)
    momentum = TEXT.replace("[sampler]", "momentum = { between = [0.0, 0.9] }\n[sampler]")
    with pytest.raises(StudyError, match="was searched without momentum"):
        made.propose(sweep(momentum))


def test_a_search_cannot_begin_without_points(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="its sampler chooses its first points"):
        Study.create(sweep(), tmp_path / "study")


def test_nothing_is_asked_while_a_point_is_open(tmp_path: Path) -> None:
    made = study(tmp_path)
    assert ask(made) == 0
    assert read_points(made.path) == FIRST


def test_asking_a_grid_says_that_it_is_no_search(tmp_path: Path) -> None:
    grid = TEXT[: TEXT.index("[sampler]")].replace(
        'between = [0.1, 3.0], scale = "log"', "values = [0.1]"
    )
    made = Study.create(sweep(grid), tmp_path / "study")
    with pytest.raises(StudyError, match="is no search"):
        ask(made)


def test_a_point_has_one_number_of_all_its_trials_and_none_while_one_has_none(
    tmp_path: Path,
) -> None:
    from phasecube.cluster.run_study import run_study

    made = study(tmp_path)
    run_study(made, processes=1)
    settled, diverged = read_tried(made)
    values = made.store.read_scalar("train_loss")[made.plan.row]
    assert settled.values == (float(np.median(values[:2, -1])),)
    assert diverged.outcomes == {Outcome.DIVERGED: 2}
    assert np.isnan(diverged.values[0])
    assert settled.is_settled and diverged.is_settled


def test_the_points_of_a_study_are_readable_text(tmp_path: Path) -> None:
    assert json.loads((study(tmp_path).path / POINTS).read_text())["points"] == FIRST
