"""The searcher of population based training: who goes on, from whom, with which values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from phasecube.cluster.pbt import PopulationSearch
from phasecube.cluster.tried import Tried
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.points import Point
from phasecube.sweeps.population import NO_PARENT, Population, PopulationOptions

LR = SearchedAxis("lr", 1e-3, 1.0, scale="log")
DECAY = SearchedAxis("weight_decay", 0.0, 1.0)
WARMUP = SearchedAxis("warmup_steps", 0, 9, is_integer=True)
SIZE, STEPS = 8, 50


def search(
    axes: Sequence[SearchedAxis] = (LR, DECAY), *, seed: int = 0, **options: Any
) -> PopulationSearch:
    given = PopulationOptions(generation_steps=STEPS, **options)
    return PopulationSearch(Population(SIZE, 9, given), axes, seed, maximize=False)


def told(
    points: Sequence[Point], values: Sequence[float], first: int = 0, dead: Sequence[int] = ()
) -> list[Tried]:
    """Return the points as tried; a `dead` one has diverged."""
    return [
        Tried(
            first + i,
            point,
            (f"{first + i:016d}".encode(),),
            {Outcome.DIVERGED if i in dead else Outcome.DONE: 1},
            (math.nan if i in dead else float(value),),
        )
        for i, (point, value) in enumerate(zip(points, values))
    ]


def generations(of: PopulationSearch, n: int) -> list[Tried]:
    """Return n generations in which the loss is the distance of log10 lr from -2."""
    tried: list[Tried] = []
    for _ in range(n):
        points = of.next_points(tried, SIZE)
        values = [abs(math.log10(p["lr"]) + 2) for p in points]
        tried += told(points, values, len(tried))
    return tried


def test_the_first_generation_is_drawn_from_the_axes_and_has_no_parents() -> None:
    points = search().next_points([], SIZE)
    assert len({p["lr"] for p in points}) == SIZE
    for point in points:
        assert 1e-3 <= point["lr"] <= 1.0 and 0.0 <= point["weight_decay"] <= 1.0
        assert (point["steps"], point["parent_point"], point["branch_step"]) == (50, NO_PARENT, 0)


def test_a_later_generation_begins_where_the_last_one_ended() -> None:
    of = search()
    tried = generations(of, 2)
    for point in of.next_points(tried, SIZE):
        assert (point["steps"], point["branch_step"]) == (150, 100)
        assert SIZE <= point["parent_point"] < 2 * SIZE


def test_the_worst_quarter_goes_on_from_the_best_quarter_and_the_others_from_themselves() -> None:
    of = search()
    first = of.next_points([], SIZE)
    values = [3, 0, 7, 2, 1, 6, 4, 5]
    found = of.next_points(told(first, values), SIZE)
    for place, (before, now) in enumerate(zip(first, found)):
        if values[place] >= 6:
            assert values[now["parent_point"]] <= 1
            assert now["lr"] != before["lr"]
        else:
            assert now["parent_point"] == place
            assert (now["lr"], now["weight_decay"]) == (before["lr"], before["weight_decay"])


def test_whoever_diverged_goes_on_from_the_best() -> None:
    of = search()
    first = of.next_points([], SIZE)
    found = of.next_points(told(first, range(SIZE), dead=range(2, SIZE)), SIZE)
    assert [p["parent_point"] for p in found[:2]] == [0, 1]
    assert {p["parent_point"] for p in found[2:]} <= {0, 1}


def test_a_diverged_member_is_no_parent_even_with_a_stated_value() -> None:
    of = search()
    first = of.next_points([], SIZE)
    tried = told(first, range(SIZE))
    tried[0] = Tried(0, first[0], tried[0].digests, {Outcome.DIVERGED: 1}, (-1.0,))
    assert 0 not in {p["parent_point"] for p in of.next_points(tried, SIZE)}


def test_a_population_that_died_out_is_an_error_that_says_so() -> None:
    of = search()
    dead = told(of.next_points([], SIZE), range(SIZE), dead=range(SIZE))
    with pytest.raises(StudyError, match="all 8 members of generation 0 diverged or failed"):
        of.next_points(dead, SIZE)


def test_a_generation_is_asked_whole_and_after_the_last_has_ended() -> None:
    of = search()
    assert of.next_points([], SIZE - 1) == []
    tried = told(of.next_points([], SIZE), range(SIZE))
    is_open = {Outcome.DONE: 1, Outcome.NOT_RUN: 1}
    tried[3] = Tried(3, tried[3].point, tried[3].digests, is_open, (math.nan,))
    assert of.next_points(tried, SIZE) == []


def test_points_of_another_population_are_refused() -> None:
    of = search()
    first = of.next_points([], SIZE)
    with pytest.raises(StudyError, match="no generations of 8 members"):
        of.next_points(told(first[:5], range(5)), SIZE)
    longer = told([{**p, "steps": 60} for p in first], range(SIZE))
    with pytest.raises(StudyError, match="no generations of 8 members and 50 steps"):
        of.next_points(longer, SIZE)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_same_points_and_values_give_the_same_next_generation(n: int) -> None:
    tried = generations(search(), n)
    assert search().next_points(tried, SIZE) == search().next_points(tried, SIZE)
    assert search(seed=1).next_points(tried, SIZE) != search().next_points(tried, SIZE)


def test_perturbed_values_are_a_factor_away_from_the_parents_and_inside_the_axis() -> None:
    of = search((LR,), resample=0.0, perturb=[0.5, 3.0])
    tried = generations(of, 6)
    changed = 0
    for child in tried[SIZE:]:
        parent = tried[child.point["parent_point"]].point["lr"]
        if child.point["lr"] != parent:
            changed += 1
            assert child.point["lr"] in (max(0.5 * parent, LR.low), min(3.0 * parent, LR.high))
    assert changed >= 5


def test_resampled_values_follow_the_axis_and_not_the_parent() -> None:
    of = search((LR,), resample=1.0)
    values = [c.point["lr"] for c in generations(of, 40)[SIZE:]]
    fresh = np.log10(sorted(set(values)))
    # Uniform in the logarithm from -3 to 0: mean -1.5, standard deviation sqrt(3) / 2.
    assert len(fresh) > 50
    assert abs(fresh.mean() + 1.5) < 4 * (3**0.5 / 2) / len(fresh) ** 0.5


def test_whole_numbers_stay_whole_and_always_move() -> None:
    of = search((WARMUP,), resample=0.0)
    first = [{**p, "warmup_steps": 4} for p in of.next_points([], SIZE)]
    found = of.next_points(told(first, range(SIZE)), SIZE)
    assert [p["warmup_steps"] for p in found[:6]] == [4] * 6
    assert {p["warmup_steps"] for p in found[6:]} <= {3, 5}


def test_a_choice_moves_to_a_neighbour() -> None:
    axis = SearchedAxis("clip_norm", choices=(0.0, 0.5, 1.0, 2.0), scale="list")
    of = search((axis,), resample=0.0)
    first = [{**p, "clip_norm": 1.0} for p in of.next_points([], SIZE)]
    found = of.next_points(told(first, range(SIZE)), SIZE)
    assert {p["clip_norm"] for p in found[6:]} <= {0.5, 2.0}


def test_no_two_members_are_one_trial_while_the_space_has_room() -> None:
    of = search((LR,), resample=0.0)
    first = of.next_points([], SIZE)
    found = of.next_points(told(first, range(SIZE)), SIZE)
    trials = [(p["parent_point"], p["lr"]) for p in found]
    assert len(set(trials)) == SIZE


def test_a_maximum_is_sought_where_it_is_asked_for() -> None:
    given = PopulationOptions(generation_steps=STEPS)
    of = PopulationSearch(Population(SIZE, 9, given), (LR,), 0, maximize=True)
    found = of.next_points(told(of.next_points([], SIZE), range(SIZE)), SIZE)
    assert {p["parent_point"] for p in found[:2]} <= {6, 7}


def test_a_surrogate_that_misleads_every_fixed_choice_is_climbed_by_a_population() -> None:
    """Figure 2 of the paper: Q = 1.2 - x^2 - y^2, climbed along -(h x^2 + k y^2).

    A fixed (h, k) of (1, 0) or (0, 1) leaves one coordinate at .9, so Q <= .39.
    """
    axes = [SearchedAxis(name, choices=(0.0, 1.0), scale="list") for name in ("h", "k")]
    given = PopulationOptions(generation_steps=10, quantile=0.5, resample=0.5)
    of = PopulationSearch(Population(2, 20, given), axes, 0, maximize=True)
    tried: list[Tried] = []
    weights: list[tuple[float, float]] = []
    for generation in range(20):
        points = of.next_points(tried, 2)
        if generation == 0:
            points = [{**points[i], "h": 1.0 - i, "k": float(i)} for i in (0, 1)]
        for point in points:
            parent = point["parent_point"]
            x, y = (0.9, 0.9) if parent == NO_PARENT else weights[parent]
            for _ in range(10):
                x, y = x * (1 - 0.04 * point["h"]), y * (1 - 0.04 * point["k"])
            weights.append((x, y))
        values = [1.2 - x * x - y * y for x, y in weights[-2:]]
        tried += told(points, values, len(tried))
    best = max(t.values[0] for t in tried[-2:])
    fixed = 1.2 - 0.81
    assert best > 1.19 > fixed
