"""Samplers: what they ask is fixed by what was tried, new, and can be trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest

from phasecube.cluster.optuna_search import OptunaSearch
from phasecube.cluster.optuna_trials import distribution, values_told
from phasecube.cluster.search import first_points, searcher_of
from phasecube.cluster.tried import Tried
from phasecube.engine.errors import SpecError, StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.feasible import Feasible
from phasecube.sweeps.plan import expand
from phasecube.sweeps.points import Point
from phasecube.sweeps.sweep import Sweep, parse_sweep

LR_KICK = """
lr = { between = [0.001, 1.0], scale = "log" }
kick = { between = [0.01, 1.0] }
"""
# Six points in all.
FINITE = "lr = { choices = [0.1, 0.2, 0.3] }\nmomentum = { choices = [0.0, 0.5] }\n"


def sweep_of(
    kind: str, points: int = 64, axes: str = LR_KICK, sampler: str = "", more: str = "", goals=1
) -> Sweep:
    objectives = "".join(
        f'[[sampler.objectives]]\nmeasure = "{name}"\n'
        for name in ("train_loss", "distance")[:goals]
    )
    text = (
        'name = "quartic"\nexperiment = "scalar_quartic"\nfixed = { steps = 20 }\n'
        f'{more}\n[axes]\n{axes}\n[sampler]\nkind = "{kind}"\npoints = {points}\n'
        f"{sampler}\n{objectives}"
    )
    return parse_sweep(text, Path())


def tried_of(points: Sequence[Point], goals: int = 1) -> list[Tried]:
    """Every third point diverged; the others have a smooth value."""
    found = []
    for number, point in enumerate(points):
        numbers = [float(v) for v in point.values()]
        values = (sum((v - 0.3) ** 2 for v in numbers), numbers[0])[:goals]
        if number % 3 == 2:
            values = (math.nan,) * goals
        found.append(Tried(number, point, (repr(point).encode(),), {Outcome.DONE: 1}, values))
    return found


def search(sweep: Sweep, n_batches: int, size: int, *, restarted: bool) -> list[Point]:
    goals = len(sweep.sampler.objectives) if sweep.sampler else 0
    searcher = searcher_of(sweep, None)
    points: list[Point] = []
    for _ in range(n_batches):
        if restarted:
            searcher = searcher_of(sweep, None)
        points += searcher.next_points(tried_of(points, goals), size)
    return points


@pytest.mark.parametrize(
    ("kind", "goals", "options"),
    [
        ("random", 1, ""),
        ("sobol", 1, ""),
        ("grid", 1, ""),
        ("tpe", 1, "options = { n_startup_trials = 4 }"),
        ("tpe", 2, "options = { n_startup_trials = 4 }"),
        ("gp", 1, "options = { n_startup_trials = 9 }"),
        ("cmaes", 1, "options = { popsize = 4 }"),
        ("nsga2", 2, "options = { population_size = 4 }"),
        ("optuna.samplers:QMCSampler", 1, ""),
    ],
)
def test_a_restarted_search_asks_what_an_undisturbed_one_asks(
    kind: str, goals: int, options: str
) -> None:
    size, n_batches = 4, 3 if kind == "gp" else 6
    sweep = sweep_of(kind, sampler=f"batch = {size}\nseed = 7\n{options}", goals=goals)
    asked = search(sweep, n_batches, size, restarted=False)
    assert asked == search(sweep, n_batches, size, restarted=True)
    assert len({repr(point) for point in asked}) == n_batches * size
    other = sweep_of(kind, sampler=f"batch = {size}\nseed = 8\n{options}", goals=goals)
    assert kind == "grid" or search(other, 1, size, restarted=False) != asked[:size]


def test_what_was_asked_and_not_published_is_forgotten() -> None:
    sweep = sweep_of("tpe", sampler="batch = 4")
    searcher = searcher_of(sweep, None)
    first = searcher.next_points([], 4)
    assert searcher.next_points([], 4) == first  # the process died before it wrote them down
    tried = tried_of(first)
    second = searcher.next_points(tried, 4)
    assert searcher.next_points(tried, 4) == second


def test_open_points_are_waited_for_and_told_later() -> None:
    sweep = sweep_of("tpe", sampler="batch = 4\noptions = { n_startup_trials = 2 }")
    searcher = OptunaSearch(sweep)
    points = searcher.next_points([], 4)
    settled = tried_of(points)
    unsettled = [Tried(t.number, t.point, t.digests, {Outcome.NOT_RUN: 1}) for t in settled]
    more = searcher.next_points([*settled[:2], *unsettled[2:]], 2)
    known = tried_of([*points, *more])
    searcher.next_points(known, 0)
    states = [trial.state for trial in searcher._study.get_trials()]
    expected = ["PRUNED" if values_told(t) is None else "COMPLETE" for t in known]
    assert [state.name for state in states] == expected


def test_sobol_asks_the_sequence_of_optunas_sampler() -> None:
    sweep = sweep_of("sobol", sampler="seed = 3")
    space = {axis.name: distribution(axis) for axis in sweep.searched}
    sampler = optuna.samplers.QMCSampler(seed=3, scramble=True)
    # Told the space, as our sequence is: left to itself it draws its first points at random.
    sampler.infer_relative_search_space = lambda study, trial: space
    study = optuna.create_study(sampler=sampler)
    expected = [study.ask(space).params for _ in range(32)]
    found = searcher_of(sweep, None).next_points([], 32)
    for point, other in zip(found, expected):
        for name, value in point.items():
            # Their arithmetic is in another order: a few roundings of the exponent.
            assert value == pytest.approx(other[name], rel=1e-12)


def test_random_points_are_even_over_choices_whole_numbers_and_logarithms() -> None:
    axes = (
        'lr = { between = [0.001, 1.0], scale = "log" }\nmomentum = { choices = [0.0, 0.5, 0.9] }\n'
        "warmup_steps = { between = [1, 4] }\n"
    )
    n = 4000
    points = search(sweep_of("random", n, axes), 1, n, restarted=False)
    # Counts of n draws of chance p lie within 5 sqrt(n p (1 - p)) but once in 10^6.
    for name, values, chance in (
        ("momentum", [0.0, 0.5, 0.9], 1 / 3),
        ("warmup_steps", [1, 2, 3, 4], 1 / 4),
    ):
        for value in values:
            count = sum(point[name] == value for point in points)
            assert abs(count - n * chance) < 5 * math.sqrt(n * chance * (1 - chance))
    below = sum(point["lr"] < 0.001 ** (2 / 3) for point in points)
    assert abs(below - n / 3) < 5 * math.sqrt(n * 2 / 9)


def test_a_grid_holds_the_ends_and_as_many_values_as_the_points_allow() -> None:
    axes = LR_KICK + 'optimizer = { choices = ["sgd", "adam"] }\n'
    points = search(sweep_of("grid", 55, axes), 1, 55, restarted=False)
    # 55 points hold 2 choices times 5 x 5 values, and not times 6 x 6.
    assert len(points) == 50
    assert sorted({point["lr"] for point in points}) == pytest.approx(np.geomspace(0.001, 1, 5))
    kicks = sorted({point["kick"] for point in points})
    assert kicks == pytest.approx(np.linspace(0.01, 1, 5))
    assert (kicks[0], kicks[-1]) == (0.01, 1.0)


def test_a_grid_that_does_not_fit_is_a_fault() -> None:
    axes = LR_KICK + "momentum = { choices = [0.0, 0.5, 0.9] }\n"
    with pytest.raises(SpecError, match=r"sampler.points: a grid .* has 12 points, more than 11"):
        first_points(sweep_of("grid", 11, axes))


@pytest.mark.parametrize("kind", ["grid", "random", "tpe"])
def test_a_finite_space_is_exhausted_and_no_point_of_it_asked_twice(kind: str) -> None:
    sweep = sweep_of(kind, 40, FINITE)
    points = search(sweep, 5, 4, restarted=True)
    assert len(points) == len({tuple(point.values()) for point in points}) == 6


@pytest.mark.parametrize("kind", ["random", "sobol", "grid", "tpe"])
def test_a_point_outside_where_is_not_asked(kind: str) -> None:
    sweep = sweep_of(kind, more='where = ["lr * kick < 0.02"]')
    points = search(sweep, 2, 8, restarted=True)
    assert len(points) == 16
    assert all(point["lr"] * point["kick"] < 0.02 for point in points)


def test_a_point_that_its_experiment_cannot_train_is_not_asked() -> None:
    text = (
        'name = "toy"\nexperiment = "my_experiment.py:Toy"\n[axes]\n'
        "width = { choices = [8, 6] }\nheads = { choices = [1, 4] }\n"
        '[sampler]\nkind = "random"\npoints = 4\n'
    )
    sweep = parse_sweep(text, Path(__file__).parents[1] / "sweeps")
    feasible = Feasible(sweep)
    assert feasible.digests({"width": 8, "heads": 4})
    assert not feasible.digests({"width": 6, "heads": 4})  # 6 is no multiple of 4
    assert len(search(sweep, 1, 4, restarted=False)) == 3


def test_digests_of_a_point_are_those_of_the_plan() -> None:
    axes = LR_KICK + "seed = { values = [0, 1] }\nweight_decay = { choices = [0.0, 0.1] }\n"
    sweep = first_points(
        sweep_of("random", 5, axes, more='derived.momentum = "lr / 2"\nwhere = ["seed < 2"]')
    )
    plan, feasible = expand(sweep), Feasible(sweep)
    for number, point in enumerate(sweep.points):
        expected = [d.tobytes() for d in plan.digests[plan.index["point"] == number]]
        assert sorted(feasible.digests(point)) == sorted(expected)
        assert len(expected) == 2


def test_a_point_whose_trials_other_points_have_is_not_asked() -> None:
    sweep = sweep_of("grid", 6, FINITE)
    feasible = Feasible(sweep)
    points = search(sweep, 1, 6, restarted=False)
    twin = Tried(0, points[0], tuple(d for p in points[:2] for d in feasible.digests(p)))
    assert searcher_of(sweep, None).next_points([twin], 6) == points[2:]


def test_a_condition_that_fails_leaves_the_parameter_out_of_the_trial() -> None:
    sweep = sweep_of(
        "tpe", more='[[when]]\nif = "lr > 0.03"\naxes.momentum = { between = [0.1, 0.9] }'
    )
    searcher = OptunaSearch(sweep)
    points = searcher.next_points([], 16)
    trials = searcher._study.get_trials()
    assert {point["lr"] > 0.03 for point in points} == {True, False}
    for point, trial in zip(points, trials):
        assert ("momentum" in trial.params) == (point["lr"] > 0.03) == (point["momentum"] > 0)


def test_a_range_made_narrower_goes_on_from_the_points_it_has() -> None:
    points = search(sweep_of("tpe"), 2, 8, restarted=False)
    narrow = sweep_of("tpe", axes=LR_KICK.replace("0.001", "0.1"))
    found = searcher_of(narrow, None).next_points(tried_of(points), 8)
    assert all(0.1 <= point["lr"] <= 1.0 for point in found)


def test_a_value_that_is_no_number_is_pruned_and_never_fails() -> None:
    values = [0.5, math.nan, math.inf, -math.inf]
    sweep = sweep_of("tpe")
    points = search(sweep, 1, 4, restarted=False)
    tried = [
        Tried(n, p, (), {Outcome.DONE: 1}, (v,)) for n, (p, v) in enumerate(zip(points, values))
    ]
    searcher = OptunaSearch(sweep)
    searcher.next_points(tried, 0)
    states = [trial.state.name for trial in searcher._study.get_trials()]
    assert states == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "tpe",
            "n_startup = 3",
            "sampler.options.n_startup: TPESampler takes no such option; did you mean",
        ),
        ("cmaes", "seed = 3", "sampler.options.seed: give it as sampler.seed"),
        ("sobol", "scrambled = 1", "sampler.options.scrambled: sobol takes no such option; did"),
        ("sobol", 'qmc_type = "latin"', "sampler.options.qmc_type: known are: halton, sobol"),
        ("gp", "n_startup_trials = 3\nx = 1", "sampler.options.x: GPSampler takes no such option"),
        ("optuna.samplers:NoSampler", "", "sampler.kind: .* cannot be imported"),
        ("no_such_module:Sampler", "", "sampler.kind: .* cannot be imported"),
        ("optuna.samplers:TPE.Sampler", "", "sampler.kind: .* cannot be imported"),
        ("optuna:create_study", "", "sampler.kind: .* is no sampler of Optuna"),
        ("optuna.samplers:GridSampler", "", "sampler.options: GridSampler: .*search_space"),
    ],
)
def test_a_wrong_sampler_or_option_is_a_fault(kind: str, options: str, message: str) -> None:
    sweep = sweep_of(kind, sampler=f"[sampler.options]\n{options}")
    with pytest.raises(SpecError, match=message):
        first_points(sweep)


def test_a_sampler_that_fails_is_named_with_the_place() -> None:
    sweep = sweep_of("tpe", sampler='options = { n_startup_trials = "ten" }')
    with pytest.raises(
        StudyError, match=r"sampler.kind: tpe with options .*'ten'.* TypeError: .*py"
    ):
        first_points(sweep)
