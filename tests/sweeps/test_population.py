"""A population in a sweep file: its faults, its stand-ins, and the names of its trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phasecube.engine.errors import SpecError, StudyError
from phasecube.sweeps.axis import Axis, Dim
from phasecube.sweeps.columns import Column
from phasecube.sweeps.digest import digest_of
from phasecube.sweeps.forecast import forecast
from phasecube.sweeps.parents import name_trials
from phasecube.sweeps.plan import expand
from phasecube.sweeps.population import NO_PARENT, population_of
from phasecube.sweeps.sweep import Sweep, parse_sweep

FOLDER = Path(__file__).parent
HEAD = 'name = "toy"\nexperiment = "my_experiment.py:Toy"\n'
AXES = '[axes]\nlr = { between = [1e-3, 1.0], scale = "log" }\nseed = { values = [0, 1] }\n'
OBJECTIVE = '[[sampler.objectives]]\nmeasure = "val_loss"\n'
STEPS = "generation_steps = 20"


def sampler(more: str = STEPS, points: int = 12, batch: str = "batch = 4") -> str:
    return (
        f'[sampler]\nkind = "pbt"\npoints = {points}\n{batch}\noptions = {{ {more} }}\n' + OBJECTIVE
    )


def read(text: str) -> Sweep:
    return parse_sweep(HEAD + text, FOLDER)


CASES: dict[str, tuple[str, str]] = {
    "no length of a generation": (
        AXES + sampler(""),
        "sampler.options.generation_steps: is missing: the steps that pbt trains before it "
        "compares",
    ),
    "unknown option": (
        AXES + sampler(STEPS + ", quantil = 0.2"),
        "sampler.options.quantil: unknown option; did you mean 'quantile'? known are: "
        "generation_steps, perturb, quantile, resample",
    ),
    "both factors above 1": (
        AXES + sampler(STEPS + ", perturb = [1.1, 1.2]"),
        "sampler.options.perturb: takes a factor below 1 and one above, both > 0; got [1.1, 1.2]",
    ),
    "quantiles that overlap": (
        AXES + sampler(STEPS + ", quantile = 0.6"),
        "sampler.options.quantile: input should be less than or equal to 0.5; got 0.6",
    ),
    "no population": (
        AXES + sampler(batch=""),
        "sampler.batch: is the size of pbt's population: 2 or more",
    ),
    "half a generation": (
        AXES + sampler(points=10),
        "sampler.points: 10 are no whole generations of sampler.batch = 4; take 12",
    ),
    "an objective at one step": (
        AXES + sampler() + "at = 20\n",
        "sampler.objectives[0].at: is step 20 for every generation; pbt takes 'last' or 'best'",
    ),
    "a target": (
        AXES + sampler() + '[stop]\ntarget = { measure = "val_loss", below = 0.1 }\n',
        "stop.target: ends a member before its generation does, and nothing goes on from it; "
        "leave it out",
    ),
    "a schedule over the whole run": (
        AXES + '[fixed]\nschedule = "cosine"\n' + sampler(),
        "fixed.schedule: 'cosine' bends by the whole length of a run, and pbt's runs grow by a "
        "generation at a time; leave it constant, the search itself finds a schedule",
    ),
    "a parameter that changes the weights": (
        AXES + "width = { between = [4, 8] }\n" + sampler(),
        "axes.width: 'width' may change what weights there are, or what is kept of them, so no "
        "trial can go on with another; pbt searches parameters that vary inside a pack",
    ),
    "searched seeds": (
        AXES.replace("values", "choices") + sampler(),
        "axes.seed: pbt's trials keep their data; give seeds as values",
    ),
    "steps beside its own": (
        AXES + "[fixed]\nsteps = 100\n" + sampler(),
        "fixed.steps: is pbt's own; sampler.options.generation_steps says how long it runs",
    ),
    "a condition on what changes": (
        'where = ["lr < 0.5"]\n' + AXES + sampler(),
        "where[0]: reads 'lr', which pbt changes on the way: a member would have other trials "
        "than its parent",
    ),
    "a width that follows what changes": (
        AXES + sampler() + '[derived]\nwidth = "4 if lr < 0.1 else 8"\n',
        "derived.width: reads 'lr', which pbt changes on the way: a member would have other "
        "trials than its parent",
    ),
}


@pytest.mark.parametrize("rule", CASES)
def test_what_no_population_can_be_is_said_with_its_place(rule: str) -> None:
    text, fault = CASES[rule]
    with pytest.raises(SpecError) as caught:
        read(text)
    assert [str(f) for f in caught.value.faults] == [fault]


def test_a_function_cannot_be_gone_on_from(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from phasecube import experiment_function\n\n"
        "@experiment_function(measures=['val_loss'])\n"
        "def train(trial, lr: float = 0.1):\n    trial.report(0, val_loss=lr)\n"
    )
    text = AXES.replace("seed", "other") + sampler()
    with pytest.raises(SpecError) as caught:
        parse_sweep('name = "mine"\nexperiment = "mine.py:train"\n' + text, tmp_path)
    assert "sampler.kind: pbt goes on from weights" in str(caught.value)


def test_the_record_holds_the_end_of_every_generation_from_the_first_plan_on() -> None:
    plan = expand(read(AXES + "[record]\nsteps = [0]\n" + sampler()))
    assert plan.rule.steps.tolist() == [0, 20, 40, 60]


def test_a_plan_without_points_is_of_the_whole_population() -> None:
    plan = expand(read(AXES + sampler()))
    assert plan.n_trials == 12 * 2
    assert plan.dims[0].coords["parent_point"] == (*[NO_PARENT] * 4, *range(8))
    assert plan.dims[0].coords["branch_step"] == (*[0] * 4, *[20] * 4, *[40] * 4)


def test_a_population_is_known_by_its_section() -> None:
    population = population_of(read(AXES + sampler()).sampler)
    assert population is not None
    assert (population.size, population.generations) == (4, 3)
    assert population.branch(2, 5) == {"steps": 60, "parent_point": 5, "branch_step": 40}
    assert population_of(None) is None


def named(parents: tuple[int, ...], seeds: tuple[int, ...] = (0, 1)) -> Any:
    point = Dim("point", (Axis("parent_point", parents),))
    dims = (point, Dim("seed", (Axis("seed", seeds),)))
    index = {
        "point": np.repeat(np.arange(len(parents), dtype=np.int32), len(seeds)),
        "seed": np.tile(np.arange(len(seeds), dtype=np.int32), len(parents)),
    }
    columns = {
        "seed": Column(index["seed"], seeds),
        "parent_point": Column(index["point"], parents, False),
    }
    constant = {"experiment": "toy", "version": 1, "stop": None, "params": {"lr": 0.1}}
    return (*name_trials(constant, columns, index, dims, len(index["point"])), constant)


def test_a_trial_goes_on_from_the_trial_of_its_own_seed() -> None:
    columns, digests, constant = named((NO_PARENT, 0, 1))
    parents = [columns["parent_trial"].values[c] for c in columns["parent_trial"].codes]
    names = [bytes(d).hex() for d in digests]
    assert parents == ["", "", *names[:4]]
    params = {"lr": 0.1, "seed": 1, "parent_trial": names[3]}
    assert digest_of({**constant, "params": params}) == names[5]


def test_points_that_come_later_rename_no_trial() -> None:
    few, many = named((NO_PARENT, 0))[1], named((NO_PARENT, 0, 0, 1))[1]
    assert np.array_equal(few, many[:4])


def test_without_parents_a_trial_is_named_as_ever() -> None:
    columns, digests, constant = named((NO_PARENT, NO_PARENT))
    assert "parent_trial" not in columns
    assert bytes(digests[1]).hex() == digest_of({**constant, "params": {"lr": 0.1, "seed": 1}})


@pytest.mark.parametrize("parents", [(0,), (NO_PARENT, 2, 0), (-2,)])
def test_a_parent_stands_before_its_child(parents: tuple[int, ...]) -> None:
    with pytest.raises(StudyError, match="none before it"):
        named(parents)


@pytest.mark.parametrize("begin", [0, 15])
def test_a_child_begins_where_its_parent_has_been(begin: int) -> None:
    axes = {"steps": (10, 20), "parent_point": (NO_PARENT, 0), "branch_step": (0, begin)}
    point = Dim("point", tuple(Axis(name, values) for name, values in axes.items()))
    with pytest.raises(StudyError, match=f"point 1 begins at step {begin}, and point 0"):
        name_trials({}, {}, {"point": np.array([0, 1], np.int32)}, (point,), 2)


def test_a_parent_that_is_not_planned_is_said() -> None:
    point = Dim("point", (Axis("parent_point", (NO_PARENT, 0)),))
    seed = Dim("seed", (Axis("seed", (0, 1)),))
    index = {"point": np.array([0, 1], np.int32), "seed": np.array([0, 1], np.int32)}
    with pytest.raises(StudyError, match="point 1 goes on from point 0, which has no trial"):
        name_trials({}, {}, index, (point, seed), 2)


def test_members_of_a_generation_share_packs() -> None:
    plan = expand(read(AXES + sampler()))
    assert np.array_equal(plan.group, plan.index["point"] // 4)
    assert (plan.pack_size, plan.n_packs) == (8, 3)


def test_a_forecast_counts_the_steps_that_members_train_themselves() -> None:
    plan = expand(read(AXES + sampler()))
    assert forecast(plan).trial_steps == 12 * 2 * 20
