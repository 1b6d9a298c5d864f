"""How packs become tasks: none lost, none twice, within what the cluster allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecube.cluster.cut import FILL, LEAST_S, USUAL_TASKS, Cut, cut, seconds_of_packs

HOUR_S = 3600.0


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """What `cut` may be asked."""
    packs = sorted(draw(st.sets(st.integers(0, 10**6), max_size=60)))
    measured = draw(st.booleans())
    each_s = st.floats(0, 5 * HOUR_S, allow_nan=False)
    return {
        "packs": packs,
        "seconds": {p: draw(each_s) for p in packs} if measured else None,
        "walltime_s": draw(st.sampled_from([60.0, 600.0, HOUR_S, 24 * HOUR_S])),
        "processes": draw(st.integers(1, 4)),
        "room": draw(st.none() | st.integers(0, 70)),
        "packs_per_job": draw(st.none() | st.integers(1, 70)),
    }


def cut_as(case: dict[str, Any]) -> Cut:
    return cut(case["packs"], **{name: v for name, v in case.items() if name != "packs"})


def cut_evenly(n_packs: int, **more: Any) -> Cut:
    asked: dict[str, Any] = {
        "seconds": None, "walltime_s": HOUR_S, "processes": 1, "room": None, "packs_per_job": None,
    }  # fmt: skip
    return cut(range(n_packs), **{**asked, **more})


@given(cases())
def test_every_pack_is_in_one_task_or_waits_in_order(case: dict[str, Any]) -> None:
    found = cut_as(case)
    assert [*(p for task in found.tasks for p in task), *found.waiting] == case["packs"]


@given(cases())
def test_no_task_is_empty(case: dict[str, Any]) -> None:
    assert all(cut_as(case).tasks)


@given(cases())
def test_there_are_no_more_tasks_than_room(case: dict[str, Any]) -> None:
    room = case["room"]
    assert room is None or len(cut_as(case).tasks) <= room


@given(cases())
def test_something_is_sent_where_there_is_room(case: dict[str, Any]) -> None:
    if case["packs"] and case["room"] != 0:
        assert cut_as(case).tasks


@given(cases())
def test_a_task_of_several_measured_packs_fits_its_walltime(case: dict[str, Any]) -> None:
    if case["seconds"] is None or case["packs_per_job"] is not None:
        return
    for task in cut_as(case).tasks:
        task_s = sum(case["seconds"][p] for p in task) / case["processes"]
        assert len(task) == 1 or task_s <= FILL * case["walltime_s"] * (1 + 1e-9)


@given(cases())
def test_a_tasks_size_that_is_asked_for_is_kept(case: dict[str, Any]) -> None:
    asked, tasks = case["packs_per_job"], cut_as(case).tasks
    if asked is not None:
        assert all(len(task) == asked for task in tasks[:-1])
        assert not tasks or len(tasks[-1]) <= asked


@given(cases())
def test_unmeasured_packs_all_go_where_there_is_room_for_one_task(case: dict[str, Any]) -> None:
    if case["seconds"] is None and case["packs_per_job"] is None and case["room"] != 0:
        found = cut_as(case)
        sizes = {len(task) for task in found.tasks}
        assert found.waiting == [] and (not sizes or max(sizes) - min(sizes) <= 1)


@given(cases())
def test_the_seconds_told_are_those_of_the_tasks(case: dict[str, Any]) -> None:
    found = cut_as(case)
    if found.seconds is not None:
        assert len(found.seconds) == len(found.tasks)
        assert found.seconds == [sum(case["seconds"][p] for p in t) for t in found.tasks]


def test_short_packs_fill_ten_minutes() -> None:
    found = cut_evenly(1000, seconds=dict.fromkeys(range(1000), 6.0))
    assert {len(task) for task in found.tasks} == {int(LEAST_S / 6)}


def test_measured_packs_spread_over_the_room_before_tasks_grow_long() -> None:
    found = cut_evenly(100, seconds=dict.fromkeys(range(100), 900.0), room=50, walltime_s=HOUR_S)
    assert [len(task) for task in found.tasks] == [2] * 50


def test_what_does_not_fit_the_walltime_waits() -> None:
    found = cut_evenly(100, seconds=dict.fromkeys(range(100), 1000.0), room=10, walltime_s=HOUR_S)
    assert [len(task) for task in found.tasks] == [2] * 10 and len(found.waiting) == 80


def test_a_pack_longer_than_the_walltime_has_a_task_of_its_own() -> None:
    found = cut_evenly(3, seconds={0: 60.0, 1: 9 * HOUR_S, 2: 60.0}, room=3)
    assert found.tasks == [[0], [1], [2]]


def test_unmeasured_packs_take_no_more_tasks_than_sites_usually_allow() -> None:
    assert len(cut_evenly(5000).tasks) == USUAL_TASKS


def test_no_room_sends_nothing() -> None:
    found = cut_evenly(10, room=0)
    assert found.tasks == [] and found.waiting == list(range(10))


def test_a_pack_is_forecast_by_the_pace_of_its_own_group() -> None:
    seconds = seconds_of_packs(
        [0, 1], {0: 10, 1: 10}, {0: "a", 1: "b"}, {"a": (2, 1.0), "b": (1, 4.0)}
    )
    assert seconds == {0: 5.0, 1: 40.0}


def test_a_group_that_has_not_run_goes_at_the_pace_of_all_others() -> None:
    seconds = seconds_of_packs([0], {0: 10}, {0: "new"}, {"a": (5, 1.0), "b": (5, 3.0)})
    assert seconds == {0: pytest.approx(4.0)}


@pytest.mark.parametrize("pace", [{}, {"a": (0, 3.0)}])
def test_nothing_is_forecast_where_no_step_was_trained(pace: dict[str, tuple[int, float]]) -> None:
    assert seconds_of_packs([0], {0: 10}, {0: "a"}, pace) is None
