"""A searched sweep: what its file may say, and that its points make it an ordinary sweep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecube.engine.errors import SpecError
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.plan import expand
from phasecube.sweeps.plan_file import read_plan
from phasecube.sweeps.points import POINT, stand_ins, with_points, with_stand_ins
from phasecube.sweeps.sweep import Sweep, parse_sweep

FOLDER = Path(__file__).parent
HEAD = 'name = "toy"\nexperiment = "my_experiment.py:Toy"\n'
AXES = """
[axes]
lr = { between = [1e-3, 1e-1], scale = "log" }
noise = { between = [0.0, 1.0] }
seed = { values = [0, 1] }
"""
SAMPLER = """
[sampler]
kind = "random"
points = 10
"""
TPE = SAMPLER.replace("random", "tpe")
OBJECTIVE = """
[[sampler.objectives]]
measure = "val_loss"
"""
BOUNDARY = SAMPLER.replace("random", "boundary")
RUNGS = '[pruner]\nkind = "median"\nmeasure = "val_loss"\n'

CASES: dict[str, tuple[str, list[str]]] = {
    "searched without a sampler": (
        AXES,
        [
            f"axes.{name}: is searched, and there is no [sampler]; add one, or give values"
            for name in ("lr", "noise")
        ],
    ),
    "a sampler with nothing to search": (
        "[axes]\nlr = { values = [0.1] }" + SAMPLER,
        [
            "sampler: has no axis to search; give one as { between = [low, high] } or "
            "{ choices = [...] }"
        ],
    ),
    "unknown sampler": (
        AXES + SAMPLER.replace("random", "tpee"),
        [
            "sampler.kind: takes one of grid, random, sobol, tpe, gp, cmaes, nsga2, boundary, pbt, "
            "or module:Class of a sampler of Optuna; got 'tpee'"
        ],
    ),
    "no objective": (
        AXES + TPE,
        ["sampler.objectives: tpe needs one: [[sampler.objectives]] measure = ..."],
    ),
    "an objective that no measure has": (
        AXES + TPE + OBJECTIVE.replace("val", "vall"),
        [
            "sampler.objectives[0].measure: 'vall_loss' is not recorded; did you mean 'val_loss'? "
            "known are: gradient_norm, train_loss, val_loss, weight_norm"
        ],
    ),
    "an objective that is a vector": (
        AXES + TPE + OBJECTIVE.replace("val_loss", "norms"),
        [
            "sampler.objectives[0].measure: 'norms' is a vector; name one of gradient_norm, "
            "train_loss, val_loss, weight_norm"
        ],
    ),
    "one objective for nsga2": (
        AXES + SAMPLER.replace("random", "nsga2") + OBJECTIVE,
        ["sampler.objectives: nsga2 weighs several objectives, got 1; use tpe"],
    ),
    "a sampler that cannot do conditionals": (
        "[axes]\nbiased = { choices = [true, false] }\n[[when]]\nif = 'biased'\n"
        "[when.axes.noise]\nbetween = [0.0, 1.0]" + SAMPLER.replace("random", "gp") + OBJECTIVE,
        [
            "sampler.kind: gp searches all parameters at every point, and 'noise' exists only "
            "where biased; use tpe, random or nsga2"
        ],
    ),
    "choices for a sampler of numbers": (
        '[axes]\nactivation = { choices = ["relu", "tanh"] }'
        + SAMPLER.replace("random", "cmaes")
        + OBJECTIVE,
        ["sampler.kind: cmaes searches numbers, and 'activation' has choices; use tpe"],
    ),
    "no question": (
        AXES + BOUNDARY,
        [
            "sampler.question: is missing; say what changes across the boundary: "
            '{ outcome = "diverged" }, or { measure = ..., above = ... }'
        ],
    ),
    "half a question": (
        AXES + BOUNDARY + 'question = { measure = "val_loss" }',
        ["sampler.question: a question about a measure takes exactly one of above and below"],
    ),
    "a range the wrong way": (
        "[axes]\nnoise = { between = [1.0, 0.0] }" + SAMPLER,
        ["axes.noise: between takes a smaller and a larger number; got 1, 0"],
    ),
    "a range beyond the parameter": (
        "[axes]\nnoise = { between = [0.0, 2.0] }" + SAMPLER,
        ["axes.noise.between[1]: input should be less than or equal to 1, got 2.0"],
    ),
    "a log range from zero": (
        '[axes]\nnoise = { between = [0.0, 1.0], scale = "log" }' + SAMPLER,
        [
            "axes.noise: a log scale needs values > 0; take out those that are not, or use "
            "scale = 'linear'"
        ],
    ),
    "a range of steps": (
        "[axes]\nsteps = { between = [10, 20] }" + SAMPLER,
        ["axes.steps: steps are searched among choices: a store's steps are fixed beforehand"],
    ),
    "a pruner's measure": (
        "[axes]\nlr = { values = [0.1] }\n" + RUNGS.replace("val", "vall") + "rungs = [10, 20]",
        [
            "pruner.measure: 'vall_loss' is not recorded; did you mean 'val_loss'? known are: "
            "gradient_norm, train_loss, val_loss, weight_norm"
        ],
    ),
    "a condition on a grid axis": (
        "[axes]\nlr = { between = [0.1, 1.0] }\nbiased = { values = [true, false] }\n[[when]]\n"
        "if = 'biased'\n[when.axes.noise]\nbetween = [0.0, 1.0]" + SAMPLER,
        [
            "when[0].if: reads 'biased', an axis of the grid; a point is chosen before it: search "
            "it too, or fix it"
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_malformed_search_is_refused_with_its_message(case: str) -> None:
    body, expected = CASES[case]
    with pytest.raises(SpecError) as caught:
        parse_sweep(HEAD + body, FOLDER)
    assert [str(fault) for fault in caught.value.faults] == expected


def searched() -> Sweep:
    return parse_sweep(HEAD + AXES + SAMPLER, FOLDER)


POINTS = [{"lr": 0.01, "noise": 0.5}, {"lr": 0.02, "noise": 0.25}]


def test_points_are_one_dimension_run_at_every_place_of_the_grid() -> None:
    plan = expand(with_points(searched(), POINTS))
    assert [(dim.name, len(dim)) for dim in plan.dims] == [(POINT, 2), ("seed", 2)]
    places = [
        (plan.params(i)["lr"], plan.params(i)["noise"], plan.params(i)["seed"]) for i in range(4)
    ]
    assert places == [(0.01, 0.5, 0), (0.01, 0.5, 1), (0.02, 0.25, 0), (0.02, 0.25, 1)]


def test_a_trial_found_by_a_sampler_has_the_digest_of_the_same_trial_of_a_grid() -> None:
    found = expand(with_points(searched(), POINTS)).digests
    grid = (
        "[axes]\nlr = { values = [0.01] }\nnoise = { values = [0.5] }\nseed = { values = [0, 1] }"
    )
    named = expand(parse_sweep(HEAD + grid, FOLDER)).digests
    assert np.array_equal(found[:2], named)


def test_a_point_chosen_twice_is_one_trial() -> None:
    plan = expand(with_points(searched(), [*POINTS, POINTS[0]]))
    assert (len(plan), plan.n_trials) == (6, 4)


def test_more_points_keep_the_rows_of_those_before() -> None:
    before = expand(with_points(searched(), POINTS))
    more = [*POINTS, {"lr": 0.03, "noise": 0.75}]
    after = expand(with_points(searched(), more))
    after = after.continue_from(before.row_digests, before.pack_size)
    assert np.array_equal(after.row[:4], before.row)
    assert (after.row[4:] >= before.n_rows).all()


def test_the_record_holds_what_points_to_come_may_record() -> None:
    text = "[axes]\ndepth = { between = [1, 4] }\nsteps = { choices = [50, 70] }" + SAMPLER
    sweep = parse_sweep(HEAD + text, FOLDER)
    rule = expand(with_points(sweep, [{"depth": 1, "steps": 50}])).rule
    assert rule.vectors["norms"] == ("layer0", "layer1", "layer2", "layer3")
    assert {50, 70} <= set(rule.steps.tolist())


def test_a_where_that_leaves_no_stand_in_is_the_samplers_to_meet() -> None:
    text = 'where = ["0.49 < noise and noise < 0.4901"]' + AXES + SAMPLER
    assert expand(with_points(parse_sweep(HEAD + text, FOLDER), [{"lr": 0.1, "noise": 0.49005}]))


def test_a_plan_file_gives_the_search_back(tmp_path: Path) -> None:
    plan = expand(with_points(searched(), POINTS))
    plan.write(tmp_path / "plan.parquet")
    sweep = read_plan(tmp_path / "plan.parquet").sweep
    assert (sweep.points, sweep.searched, sweep.sampler) == (
        tuple(POINTS),
        plan.sweep.searched,
        plan.sweep.sampler,
    )


def test_a_plan_without_points_stands_for_the_whole_budget() -> None:
    sweep = with_stand_ins(parse_sweep(HEAD + AXES + SAMPLER.replace("10", "500"), FOLDER))
    assert expand(sweep).n_trials == 1000
    assert sweep.points == ()


@given(st.floats(1e-6, 1.0), st.floats(1.001, 100.0), st.floats(0, 1))
def test_a_share_of_an_axis_lies_on_it_and_its_ends_are_exact(
    low: float, factor: float, share: float
) -> None:
    high = low * factor
    for scale in ("linear", "log"):
        axis = SearchedAxis("lr", low, high, scale=scale)
        assert (axis.at(0.0), axis.at(1.0)) == (low, high)
        # Both ways round twice or thrice, each by half a last place.
        assert low * (1 - 1e-14) <= axis.at(share) <= high * (1 + 1e-14)


def test_stand_ins_hold_both_ends_and_every_choice() -> None:
    axes = (SearchedAxis("lr", 0.1, 1.0), SearchedAxis("depth", choices=(1, 2, 3)))
    points = stand_ins(axes)
    assert {0.1, 1.0} <= {point["lr"] for point in points}
    assert {point["depth"] for point in points} == {1, 2, 3}
