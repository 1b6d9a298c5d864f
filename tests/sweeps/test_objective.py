"""What a sampler learns of a trial."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecube.engine.record import Outcome
from phasecube.sweeps.adaptive_sections import ObjectiveSection, QuestionSection
from phasecube.sweeps.objective import (
    NO,
    UNKNOWN,
    YES,
    Curves,
    answers,
    majority,
    objective_of_trials,
    of_point,
)

NAN = np.nan
CURVES = Curves(
    np.array([[3.0, 1.0, 2.0], [3.0, 4.0, NAN], [NAN, NAN, NAN]]), np.array([0, 10, 20])
)
OUTCOMES = np.array([Outcome.DONE, Outcome.DIVERGED, Outcome.NOT_RUN])


@pytest.mark.parametrize(
    ("at", "goal", "expected"),
    [
        ("last", "minimize", 2.0),
        ("best", "minimize", 1.0),
        ("best", "maximize", 3.0),
        (10, "minimize", 1.0),
        (15, "minimize", 1.0),
        (0, "minimize", 3.0),
    ],
)
def test_a_trial_that_is_done_counts_at_the_record_asked_for(
    at: str | int, goal: str, expected: float
) -> None:
    objective = ObjectiveSection(measure="m", at=at, goal=goal)  # type: ignore[arg-type]
    assert objective_of_trials(objective, CURVES, OUTCOMES)[0] == expected


def test_a_diverged_trial_has_no_number_unless_one_is_stated() -> None:
    plain = objective_of_trials(ObjectiveSection(measure="m"), CURVES, OUTCOMES)
    stated = objective_of_trials(ObjectiveSection(measure="m", diverged=9.0), CURVES, OUTCOMES)
    assert np.isnan(plain[1]) and stated[1] == 9.0


@pytest.mark.parametrize(
    "outcome",
    [o for o in Outcome if o not in (Outcome.DONE, Outcome.DIVERGED)],
)
def test_a_trial_that_did_not_end_by_itself_has_no_number(outcome: Outcome) -> None:
    values = objective_of_trials(
        ObjectiveSection(measure="m", diverged=9.0), CURVES, np.array([outcome] * 3)
    )
    assert np.isnan(values).all()


def test_a_point_with_a_trial_without_a_number_has_none() -> None:
    assert np.isnan(of_point(ObjectiveSection(measure="m"), np.array([1.0, NAN])))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_the_worst_of_a_point_is_no_better_than_its_median(values: list[float]) -> None:
    for goal, sign in (("minimize", 1.0), ("maximize", -1.0)):
        found = {
            over: of_point(ObjectiveSection(measure="m", goal=goal, over=over), np.array(values))  # type: ignore[arg-type]
            for over in ("worst", "median")
        }
        assert sign * found["worst"] >= sign * found["median"]


def test_whether_a_trial_diverged_is_known_once_it_has_ended() -> None:
    assert answers(QuestionSection(outcome="diverged"), None, OUTCOMES).tolist() == [
        NO,
        YES,
        UNKNOWN,
    ]


def test_what_is_asked_of_the_last_record_is_not_answered_by_one_before() -> None:
    question = QuestionSection(measure="m", above=2.5)
    assert answers(question, CURVES, OUTCOMES).tolist() == [NO, NO, UNKNOWN]


def test_a_level_passed_in_time_is_passed_even_if_the_trial_was_pruned_later() -> None:
    question = QuestionSection(measure="m", below=1.5, by_step=10)
    pruned = np.array([Outcome.PRUNED] * 3)
    assert answers(question, CURVES, pruned).tolist() == [YES, UNKNOWN, UNKNOWN]


@given(st.lists(st.sampled_from([NO, YES, UNKNOWN]), max_size=7))
def test_most_trials_decide_and_a_tie_decides_nothing(given_answers: list[int]) -> None:
    yes, no = given_answers.count(YES), given_answers.count(NO)
    expected = YES if yes > no else NO if no > yes else UNKNOWN
    assert majority(given_answers) == expected
