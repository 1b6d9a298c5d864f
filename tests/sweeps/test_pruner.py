"""Pruners: Optuna's decisions, from nothing but the values at rungs."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest

from phasecube.engine.errors import SpecError
from phasecube.engine.record import Outcome
from phasecube.sweeps.adaptive_sections import PrunerSection
from phasecube.sweeps.forecast import forecast
from phasecube.sweeps.plan import expand
from phasecube.sweeps.pruner_classes import make_pruner
from phasecube.sweeps.pruner_optuna import Verdict, judge
from phasecube.sweeps.pruner_points import Members, State, Table, fold, members_of
from phasecube.sweeps.pruner_rungs import rung_faults, rungs_of
from phasecube.sweeps.steps_section import Cadence
from phasecube.sweeps.summary import describe
from phasecube.sweeps.sweep import parse_sweep

STEPS = np.array([3, 5, 9, 20, 27], np.int64)
LAST = 81
OPTIONS: dict[str, dict[str, Any]] = {
    "median": {"n_startup_trials": 4},
    "percentile": {"percentile": 30.0, "n_startup_trials": 3, "n_warmup_steps": 5},
    "successive_halving": {"reduction_factor": 3},
    "hyperband": {"reduction_factor": 3},
    "threshold": {"upper": 1.2, "n_warmup_steps": 6},
    "patient": {"patience": 1, "min_delta": 0.1, "wrapped": {"kind": "median"}},
}


def section(kind: str, goal: str = "minimize", **more: Any) -> PrunerSection:
    options = more.pop("options", OPTIONS.get(kind, {}))
    return PrunerSection.model_validate(
        {"kind": kind, "measure": "x", "goal": goal, "rungs": STEPS.tolist(), "options": options}
        | more
    )


def members(n_points: int, n_seeds: int = 1) -> Members:
    points = np.repeat(np.arange(n_points), n_seeds)
    seeds = np.tile(np.arange(n_seeds), n_points)
    return Members(points, seeds, np.arange(n_points) * n_seeds, n_seeds)


def table(
    of: Members,
    values_RG: np.ndarray,
    outcome_R: np.ndarray,
    last_R: np.ndarray | None = None,
    least: int = 1,
    stopped_R: np.ndarray | None = None,
) -> Table:
    none_R = np.full(len(values_RG), -1)
    last_R = values_RG[:, -1] if last_R is None else last_R
    stopped_R = none_R if stopped_R is None else stopped_R
    return fold(of, STEPS, values_RG, last_R, outcome_R, stopped_R, least)


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize("kind", OPTIONS)
def test_decisions_are_those_of_optunas_own_study(kind: str, goal: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng, n = np.random.default_rng(3), 30
    level_P = rng.normal(size=(n, 1))
    curve_PG = level_P + rng.normal(scale=0.6, size=(n, len(STEPS) + 1))
    asked = section(kind, goal)
    pruner = make_pruner(asked, first_rung=int(STEPS[0]), last_step=LAST)
    study = optuna.create_study(study_name="phasecube", direction=goal, pruner=pruner)
    trials = [study.ask() for _ in range(n)]
    values_PG = np.full((n, len(STEPS)), np.nan)
    outcome_P = np.full(n, int(Outcome.NOT_RUN))
    at_P, going = np.zeros(n, int), list(range(n))
    n_pruned = 0
    while going:
        point = going[int(rng.integers(min(4, len(going))))]  # four at once, in any order
        g = at_P[point]
        at_P[point] += 1
        if g == len(STEPS):
            study.tell(trials[point], float(curve_PG[point, g]))
            outcome_P[point] = Outcome.DONE
            going.remove(point)
            continue
        trials[point].report(float(curve_PG[point, g]), int(STEPS[g]))
        expected = trials[point].should_prune()
        values_PG[point, g] = curve_PG[point, g]
        seen = table(members(n), values_PG, outcome_P, curve_PG[:, -1])
        (verdict,) = judge(asked, seen, [point], int(STEPS[g]), LAST)
        assert verdict.pruned == expected, (point, g)
        if expected:
            n_pruned += 1
            study.tell(trials[point], state=optuna.trial.TrialState.PRUNED)
            outcome_P[point] = Outcome.PRUNED
            going.remove(point)
    assert 0 < n_pruned < n


@pytest.mark.parametrize("kind", [*OPTIONS, "wilcoxon"])
def test_rows_in_another_order_give_the_same_decisions(kind: str) -> None:
    rng, n_points, n_seeds = np.random.default_rng(1), 20, 5
    asked = section(kind)
    of = members(n_points, n_seeds)
    values_RG = rng.normal(size=(n_points, 1)).repeat(n_seeds, 0) + rng.normal(
        scale=0.3, size=(n_points * n_seeds, len(STEPS))
    )
    outcome_R = np.full(len(values_RG), int(Outcome.DONE))
    outcome_R[-5 * n_seeds :] = Outcome.NOT_RUN
    values_RG[-5 * n_seeds :, 3:] = np.nan
    points = list(range(n_points - 5, n_points))

    def decide(order_R: np.ndarray) -> list[Verdict]:
        moved = Members(of.point_R[order_R], of.seed_R[order_R], of.first_row_P, n_seeds)
        shown = table(moved, values_RG[order_R], outcome_R[order_R], least=2)
        return judge(asked, shown, points, 9, LAST)

    rows = np.arange(len(values_RG))
    assert decide(rows) == decide(rng.permutation(rows))


def test_points_that_stand_at_a_rung_together_are_halved_together() -> None:
    n = 12
    values_PG = np.full((n, len(STEPS)), np.nan)
    values_PG[:, 0] = np.arange(n)
    shown = table(members(n), values_PG, np.zeros(n, int))
    verdicts = judge(section("successive_halving"), shown, range(n), 3, LAST)
    assert [v.point for v in verdicts if not v.pruned] == [0, 1, 2, 3]  # a third, the best


def test_a_points_value_is_the_median_of_the_seeds_that_reached_the_rung() -> None:
    values_RG = np.full((3, len(STEPS)), np.nan)
    values_RG[:, 0] = [1.0, 5.0, 2.0]
    values_RG[:2, 1] = [1.0, 5.0]
    values_RG[0, 2] = 7.0
    found = table(members(1, 3), values_RG, np.zeros(3, int), least=2)
    np.testing.assert_array_equal(found.value_PG[0], [2.0, 3.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(found.count_PG[0], [3, 2, 1, 0, 0])


def test_neither_nan_nor_infinity_is_a_value() -> None:
    values_RG = np.array([[1.0] * 5, [np.inf] * 5, [np.nan] * 5])
    found = table(members(3), values_RG, np.full(3, int(Outcome.DONE)))
    assert found.state_P.tolist() == [State.FINISHED, State.ENDED, State.ENDED]
    assert [v.point for v in judge(section("threshold"), found, range(3), 3, LAST)] == [0]


def test_a_diverged_point_is_compared_with_no_more_once_it_is_out() -> None:
    values_RG = np.ones((2, len(STEPS)))
    values_RG[1, 2:] = np.nan
    found = table(members(2), values_RG, np.array([Outcome.DONE, Outcome.DIVERGED]))
    assert found.state_P.tolist() == [State.FINISHED, State.ENDED]
    assert not np.isfinite(found.final_P[1])


def test_a_point_is_judged_on_no_fewer_seeds_than_asked_for() -> None:
    values_RG = np.full((4, len(STEPS)), np.nan)
    values_RG[[0, 2, 3], 0] = 9.0  # one seed of the first point, both of the second
    shown = table(members(2, 2), values_RG, np.zeros(4, int), least=2)
    asked = section("threshold", options={"upper": 1.0})
    assert [v.point for v in judge(asked, shown, range(2), 3, LAST)] == [1]


def test_a_point_was_pruned_where_the_first_of_its_trials_was() -> None:
    found = table(
        members(1, 2),
        np.ones((2, len(STEPS))),
        np.array([Outcome.PRUNED, Outcome.PRUNED]),
        stopped_R=np.array([9, 5]),
    )
    assert found.state_P[0] == State.PRUNED and found.pruned_at_P[0] == 5


def test_wilcoxon_compares_with_the_best_finished_point_seed_by_seed() -> None:
    n_seeds, rng = 8, np.random.default_rng(0)
    luck_K = rng.normal(scale=5.0, size=n_seeds)  # seeds differ by far more than points do
    values_PKG = luck_K[None, :, None] + np.zeros((3, n_seeds, len(STEPS)))
    values_PKG[1] += 0.1 * rng.uniform(0.5, 1.5, (n_seeds, 1))
    values_PKG[2] -= 0.1 * rng.uniform(0.5, 1.5, (n_seeds, 1))
    outcome_R = np.repeat([Outcome.DONE, Outcome.NOT_RUN, Outcome.NOT_RUN], n_seeds)
    shown = table(members(3, n_seeds), values_PKG.reshape(-1, len(STEPS)), outcome_R, least=2)
    verdicts = judge(section("wilcoxon", options={}), shown, [1, 2], 9, LAST)
    assert [v.pruned for v in verdicts] == [True, False]


def test_a_verdict_says_what_it_was_compared_with() -> None:
    values_PG = np.full((6, len(STEPS)), np.nan)
    values_PG[:, 0] = [1.0, 2.0, 3.0, 4.0, 5.0, 4.5]
    outcome_P = np.array([int(Outcome.DONE)] * 5 + [int(Outcome.NOT_RUN)])
    shown = table(members(6), values_PG, outcome_P, values_PG[:, 0])
    (verdict,) = judge(section("median"), shown, [5], 3, LAST)
    assert verdict == Verdict(5, 3, True, 4.5, 1, "finished", 5, 4, 1.0, 3.0)


SWEEP = """
name = "toy"
experiment = "my_experiment.py:Toy"
[fixed]
steps = 40
[axes.lr]
values = [0.1, 0.01]
[axes.seed]
values = [0, 1, 2]
[axes.width]
values = [4, 8]
[record]
measures = ["val_loss", "train_loss"]
steps = [0, 20, 40]
cadence = { val_loss = [0, 40] }
[pruner]
kind = "median"
measure = "val_loss"
rungs = { every = 15 }
"""


def test_rungs_are_recorded_and_neither_the_first_nor_a_last_step_is_one(
    request: pytest.FixtureRequest,
) -> None:
    plan = expand(parse_sweep(SWEEP, request.path.parent))
    assert plan.rule.steps.tolist() == [0, 15, 20, 30, 40]
    assert plan.rule.cadences["val_loss"].tolist() == [0, 15, 30, 40]
    assert rungs_of([0, 7, 40], 40).tolist() == [7]
    assert rungs_of(Cadence(log=4), 1000).tolist() == [1, 10, 100]
    assert rungs_of(Cadence(every=50), 40).tolist() == []


def test_a_pruner_whose_rungs_are_recorded_already_changes_no_grid(
    request: pytest.FixtureRequest,
) -> None:
    on_grid = SWEEP.replace("{ every = 15 }", "[20]").replace("cadence", "#")
    without = on_grid[: on_grid.index("[pruner]")]
    one, two = (expand(parse_sweep(text, request.path.parent)) for text in (on_grid, without))
    assert one.rule.steps.tolist() == two.rule.steps.tolist() == [0, 20, 40]
    assert np.array_equal(one.digests, two.digests)


def test_a_point_is_all_trials_that_differ_in_their_seed_only(
    request: pytest.FixtureRequest,
) -> None:
    plan = expand(parse_sweep(SWEEP, request.path.parent))
    found = members_of(plan)
    assert len(found) == 4 and found.n_seeds == 3
    for point in range(4):
        trials = [int(np.flatnonzero(plan.row == row)[0]) for row in found.rows_of(point)]
        assert len({(plan.params(t)["lr"], plan.params(t)["width"]) for t in trials}) == 1
        assert [plan.params(t)["seed"] for t in trials] == [0, 1, 2]


def test_an_extension_leaves_the_names_of_points_as_they_were(
    request: pytest.FixtureRequest,
) -> None:
    old = expand(parse_sweep(SWEEP, request.path.parent))
    wider = SWEEP.replace("[0.1, 0.01]", "[0.5, 0.1, 0.01]")
    new = expand(parse_sweep(wider, request.path.parent))
    new = new.continue_from(old.row_digests, old.pack_size)
    names = members_of(new).first_row_P
    assert set(members_of(old).first_row_P.tolist()) <= set(names.tolist())


def test_one_seed_is_enough_only_where_there_is_no_other() -> None:
    from phasecube.sweeps.pruner_rungs import least_replicates

    assert [least_replicates(section("median"), n) for n in (1, 2, 5)] == [1, 2, 2]
    assert least_replicates(section("median", min_replicates=1), 5) == 1


@pytest.mark.parametrize(
    ("more", "n_seeds", "said"),
    [
        ({"kind": "median", "rungs": [100]}, 1, "none lies inside a run of 100 steps"),
        ({"kind": "successive_halving", "rungs": [50]}, 1, "step 50 is the only one inside"),
        ({"kind": "hyperband", "rungs": [50]}, 1, "step 50 is the only one inside"),
        (
            {"kind": "successive_halving", "options": {"min_resource": 60}},
            1,
            "min_resource = 60 is past the last rung, step 27",
        ),
        (
            {"kind": "patient", "options": {"patience": 4}},
            1,
            "judged from its rung 6 on, and a run of 100 steps has 5",
        ),
        ({"kind": "median", "min_replicates": 4}, 3, "no point has more than 3"),
        ({"kind": "wilcoxon", "options": {}}, 3, "3 seeds give no p below 0.12"),
    ],
)
def test_a_pruner_that_cannot_work_is_refused(
    more: dict[str, Any], n_seeds: int, said: str
) -> None:
    more = dict(more)
    (fault,) = rung_faults(section(more.pop("kind"), **more), [100], n_seeds)
    assert said in fault.message


def test_wilcoxon_is_let_through_with_as_many_seeds_as_its_p_needs() -> None:
    assert rung_faults(section("wilcoxon", options={}), [100], 4) == []


def faults(pruner: str, folder: Any, more: str = "") -> list[str]:
    text = SWEEP[: SWEEP.index("[pruner]")] + more + "[pruner]\n" + pruner
    with pytest.raises(SpecError) as error:
        parse_sweep(text, folder)
    return [f"{fault.path}: {fault.message}" for fault in error.value.faults]


@pytest.mark.parametrize(
    ("pruner", "said"),
    [
        (
            'kind = "median"\nmeasure = "loss"\nrungs = [10]',
            "pruner.measure: 'loss' is not recorded; did you mean 'val_loss'? known are: "
            "train_loss, val_loss",
        ),
        (
            'kind = "median"\nmeasure = "val_loss"\nrungs = [20, 10]',
            "pruner.rungs: explicit steps increase and stand once each",
        ),
        (
            'kind = "median"\nmeasure = "val_loss"\nrungs = [10]\noptions = { n_start = 3 }',
            "pruner.options: median says: got an unexpected keyword argument 'n_start'",
        ),
        (
            'kind = "percentile"\nmeasure = "val_loss"\nrungs = [10]',
            "pruner.options: percentile says: missing 1 required positional argument: 'percentile'",
        ),
        (
            'kind = "threshold"\nmeasure = "val_loss"\nrungs = [10]',
            "pruner.options: threshold says: Either lower or upper must be specified.",
        ),
        (
            'kind = "successive_halving"\nmeasure = "val_loss"\nrungs = [10, 20]\n'
            'options = { min_resource = "auto" }',
            "pruner.options: 'auto' hangs on which trial ends first, and the same store must give "
            "the same decision; name a step, or leave it out: the first rung, and the last step",
        ),
        (
            'kind = "hyperband"\nmeasure = "val_loss"\nrungs = [10, 20]\n'
            "options = { min_resource = 0 }",
            "pruner.options: min_resource is a step, from 1 on; got 0",
        ),
        (
            'kind = "patient"\nmeasure = "val_loss"\nrungs = [10, 20, 30]\n'
            'options = { patience = 1, wrapped = "median" }',
            "pruner.options: wrapped takes { kind = ... } and its options; kinds are median, "
            "percentile, threshold",
        ),
        (
            'kind = "nowhere:Pruner"\nmeasure = "val_loss"\nrungs = [10]',
            "pruner.options: nowhere:Pruner cannot be imported: No module named 'nowhere'",
        ),
        (
            'kind = "collections:Counter"\nmeasure = "val_loss"\nrungs = [10]',
            "pruner.options: collections:Counter is no pruner of Optuna: it does not inherit "
            "BasePruner",
        ),
        (
            'kind = "median"\nmeasure = "val_loss"\nrungs = { every = 40 }',
            "pruner.rungs: none lies inside a run of 40 steps; trials are judged after step 0 and "
            "before the last, so name steps between",
        ),
        (
            'kind = "meadian"\nmeasure = "val_loss"\nrungs = [10]',
            "pruner.kind: takes one of median, percentile, successive_halving, hyperband, "
            "patient, threshold, wilcoxon, or module:Class of a pruner of Optuna; got 'meadian'",
        ),
    ],
)
def test_every_fault_of_a_pruner_is_said(
    pruner: str, said: str, request: pytest.FixtureRequest
) -> None:
    assert faults(pruner, request.path.parent) == [said]


def test_a_boundary_is_not_pruned(request: pytest.FixtureRequest) -> None:
    sampler = """
[axes.noise]
between = [0.0, 1.0]
[sampler]
kind = "boundary"
points = 8
question = { outcome = "diverged" }
"""
    pruner = 'kind = "median"\nmeasure = "val_loss"\nrungs = [10]'
    assert (
        "pruner: the boundary sampler asks each trial for its answer, and a pruned one has none; "
        "leave it out"
    ) in faults(pruner, request.path.parent, sampler)


class OwnPruner(optuna.pruners.BasePruner):
    """Prunes every trial that is worse than `above`."""

    def __init__(self, above: float) -> None:
        self.above = above

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.intermediate_values[trial.last_step or 0] > self.above


def test_a_pruner_of_ones_own_is_asked_as_any_other() -> None:
    values_PG = np.array([[1.0] * 5, [3.0] * 5])
    asked = section(f"{__name__}:OwnPruner", options={"above": 2.0})
    verdicts = judge(asked, table(members(2), values_PG, np.zeros(2, int)), range(2), 5, LAST)
    assert [v.pruned for v in verdicts] == [False, True]


def test_the_plan_in_words_says_who_is_judged_where(request: pytest.FixtureRequest) -> None:
    plan = expand(parse_sweep(SWEEP, request.path.parent))
    said = "\n".join(describe(plan, forecast(plan)))
    assert (
        "pruner     median, minimize val_loss, at 2 rungs: 15, 30, each point on 2 or more seeds"
    ) in said


@pytest.mark.parametrize("kind", [*OPTIONS, "wilcoxon"])
def test_points_that_an_extension_adds_change_no_decision_before_they_begin(kind: str) -> None:
    rng, n, n_seeds = np.random.default_rng(2), 16, 4
    values_RG = rng.normal(size=(n * n_seeds, len(STEPS)))
    outcome_R = np.full(n * n_seeds, int(Outcome.DONE))
    outcome_R[-4 * n_seeds :] = Outcome.NOT_RUN
    values_RG[-4 * n_seeds :, 3:] = np.nan
    judged = list(range(n - 4, n))
    before = table(members(n, n_seeds), values_RG, outcome_R, least=2)
    more_RG = np.concatenate([values_RG, np.full((8 * n_seeds, len(STEPS)), np.nan)])
    more_R = np.concatenate([outcome_R, np.zeros(8 * n_seeds, int)])
    after = table(members(n + 8, n_seeds), more_RG, more_R, least=2)
    asked = section(kind)
    assert judge(asked, before, judged, 9, LAST) == judge(asked, after, judged, 9, LAST)
