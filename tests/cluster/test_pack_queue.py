"""Who runs which pack next, and which engine a group of trials gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecube.cluster.engine_choices import (
    ENGINES,
    LIKE,
    EngineChoices,
    group_keys,
    publish_choice,
)
from phasecube.cluster.job import Event, PackJob
from phasecube.cluster.pack_queue import MAX_DEATHS, PackQueue
from phasecube.cluster.progress import ProgressCount
from phasecube.engine.record import Engine, Status
from phasecube.sweeps.plan import Plan, expand
from phasecube.sweeps.sweep import parse_sweep

CHOICE: dict[str, Any] = {
    "engine": "VMAP_FORWARD",
    "lanes": 8,
    "compiled": False,
    "reason": "probed",
    "spare": 0,
}


def test_other_packs_of_a_group_wait_until_its_engine_is_chosen() -> None:
    queue = PackQueue([(0, 0), (1, 0), (2, 1)], run=1)
    first, second = queue.take(), queue.take()
    assert first is not None and second is not None
    assert (first.pack, second.pack) == (0, 2) and queue.take() is None
    queue.chosen(0, CHOICE)
    third = queue.take()
    assert third is not None and third.pack == 1 and third.choice == CHOICE


def test_a_group_whose_chooser_died_is_chosen_by_the_next() -> None:
    queue = PackQueue([(0, 0), (1, 0)], run=1)
    assert queue.take() is not None and queue.take() is None
    assert queue.died(0)
    again = queue.take()
    assert again is not None and again.choice is None and again.attempt == 2


def test_a_pack_is_given_up_after_its_last_death() -> None:
    queue = PackQueue([(0, 0)], run=1)
    for death in range(MAX_DEATHS):
        assert queue.take() is not None
        assert queue.died(0) is (death + 1 < MAX_DEATHS)
    assert len(queue) == 0 and queue.take() is None


def test_a_pack_that_lost_its_node_runs_again_and_that_is_no_death_of_its_own() -> None:
    queue = PackQueue([(0, 0), (1, 0)], run=1)
    for _ in range(MAX_DEATHS + 1):
        job = queue.take()
        assert job is not None and (job.pack, job.attempt) == (0, 1)
        queue.put_back(0)
    assert len(queue) == 2


@given(st.lists(st.integers(0, 3), max_size=20), st.randoms())
def test_every_pack_is_run_once_whatever_the_order_of_answers(groups: list[int], rng: Any) -> None:
    queue = PackQueue(list(enumerate(groups)), run=1)
    running: list[PackJob] = []
    done = []
    while len(queue):
        if running and rng.random() < 0.6:
            job = running.pop(rng.randrange(len(running)))
            if job.choice is None:
                queue.chosen(job.group, CHOICE)
            queue.done(job.pack)
            done.append(job.pack)
        elif (taken := queue.take()) is not None:
            running.append(taken)
    assert sorted(done) == list(range(len(groups)))


def test_jobs_and_events_travel_as_one_line() -> None:
    job = PackJob(3, 1, 2, CHOICE, "vmap", None, 2)
    assert PackJob.from_line(job.to_line()) == job and job.to_line().count("\n") == 1
    event = Event("settled", 3, 1, {"DONE": 4}, 100, None, "a\nb")
    assert Event.from_line(event.to_line()) == event and event.to_line().count("\n") == 1


WIDTHS = """
name = "widths"
experiment = "toy_experiment.py:Toy"
[axes.width]
values = [8, 12, 32]
[axes.optimizer]
values = ["sgd", "adam"]
[axes.seed]
integers = { start = 0, stop = 2 }
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return expand(parse_sweep(WIDTHS, Path(__file__).parent, "test"))


def group_of(plan: Plan, **wanted: Any) -> int:
    trials = [t for t in range(len(plan)) if plan.params(t).items() >= wanted.items()]
    return int(plan.group[trials[0]])


def no_rows(plan: Plan) -> Any:
    return np.zeros((plan.n_rows, len(Status)), np.int32)


def test_a_shape_much_like_a_probed_one_takes_over_its_choice(plan: Plan, tmp_path: Path) -> None:
    choices = EngineChoices(tmp_path, plan, no_rows(plan))
    choices.note(group_of(plan, width=8, optimizer="sgd"), CHOICE)
    near = choices.like(group_of(plan, width=12, optimizer="sgd"))
    assert near is not None and near["lanes"] == 8 and json.loads(near[LIKE])["width"] == 8
    assert choices.like(group_of(plan, width=32, optimizer="sgd")) is None
    assert choices.like(group_of(plan, width=12, optimizer="adam")) is None
    # What was taken over is not handed on: likeness would wander.
    choices.note(group_of(plan, width=12, optimizer="sgd"), near)
    again = choices.like(group_of(plan, width=32, optimizer="sgd"))
    assert again is None


def test_choices_outlive_the_run_and_follow_the_group_not_its_number(
    plan: Plan, tmp_path: Path
) -> None:
    group = group_of(plan, width=12, optimizer="adam")
    publish_choice(tmp_path, group_keys(plan)[group], CHOICE)
    smaller = expand(
        parse_sweep(WIDTHS.replace("[8, 12, 32]", "[12]"), Path(__file__).parent, "test")
    )
    known = EngineChoices(tmp_path, smaller, no_rows(smaller)).known
    assert known == {group_of(smaller, width=12, optimizer="adam"): CHOICE}


@pytest.fixture
def ran_sequentially(plan: Plan) -> Iterator[tuple[int, Any]]:
    status_RF = no_rows(plan)
    group = group_of(plan, width=8, optimizer="sgd")
    status_RF[plan.row[plan.group == group][0], Status.ENGINE] = Engine.SEQUENTIAL
    yield group, status_RF


def test_a_group_stays_on_the_engine_its_rows_ran_on(
    plan: Plan, ran_sequentially: tuple[int, Any], tmp_path: Path
) -> None:
    group, status_RF = ran_sequentially
    choices = EngineChoices(tmp_path, plan, status_RF)
    assert choices.requested[group] == "sequential"
    assert set(choices.requested.values()) == {"sequential", "auto"}
    # Even against a file that says otherwise.
    publish_choice(tmp_path, group_keys(plan)[group], CHOICE)
    assert group not in EngineChoices(tmp_path, plan, status_RF).known


def test_a_torn_file_of_choices_counts_as_none(plan: Plan, tmp_path: Path) -> None:
    key = group_keys(plan)[group_of(plan, width=8, optimizer="sgd")]
    publish_choice(tmp_path, key, CHOICE)
    (file,) = (tmp_path / ENGINES).iterdir()
    file.write_text(file.read_text()[:-10])
    assert EngineChoices(tmp_path, plan, no_rows(plan)).known == {}
    assert publish_choice(tmp_path, key, {**CHOICE, "lanes": 4})["lanes"] == 4


def test_the_first_choice_published_for_a_group_is_every_workers(
    plan: Plan, tmp_path: Path
) -> None:
    key = group_keys(plan)[group_of(plan, width=8, optimizer="sgd")]
    assert publish_choice(tmp_path, key, CHOICE) == CHOICE
    assert publish_choice(tmp_path, key, {**CHOICE, "engine": "SEQUENTIAL"}) == CHOICE
    assert len(list((tmp_path / ENGINES).iterdir())) == 1


def test_a_choice_that_the_rows_refute_is_withdrawn(
    plan: Plan, ran_sequentially: tuple[int, Any], tmp_path: Path
) -> None:
    group, status_RF = ran_sequentially
    publish_choice(tmp_path, group_keys(plan)[group], CHOICE)
    EngineChoices(tmp_path, plan, status_RF).withdraw_stale()
    assert list((tmp_path / ENGINES).iterdir()) == []


def test_the_rate_is_of_training_and_what_ended_early_leaves_nothing_to_wait_for() -> None:
    now_s = 0.0
    count = ProgressCount(
        {"NOT_RUN": 8, "DONE": 2},
        {0: ({"NOT_RUN": 4}, 400), 1: ({"NOT_RUN": 4}, 400)},
        lambda: now_s,
    )
    assert count.snapshot().eta_s is None and count.snapshot().settled == 2
    now_s = 10.0  # start-up
    count.note(Event("chosen", 0, 0))
    now_s = 12.0
    count.note(Event("progress", 0, 0, {"NOT_RUN": 4}, 200))
    snapshot = count.snapshot()
    assert (snapshot.rate, snapshot.eta_s) == (100.0, 6.0)
    count.note(Event("settled", 0, 0, {"DIVERGED": 4}))
    snapshot = count.snapshot()
    assert snapshot.settled == 6 and snapshot.eta_s == 4.0
    assert snapshot.outcomes == {"DONE": 2, "DIVERGED": 4, "NOT_RUN": 4}
