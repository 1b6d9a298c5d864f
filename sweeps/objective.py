"""What a sampler learns of a trial: a number to make small, or an answer to a question.

Diverged trials are told apart from those that never ran; neither becomes a number unasked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phasecube.engine.record import Outcome
from phasecube.sweeps.adaptive_sections import ObjectiveSection, QuestionSection

Values = npt.NDArray[np.float64]
Outcomes = npt.NDArray[np.integer]
UNKNOWN, NO, YES = -1, 0, 1


@dataclass(frozen=True)
class Curves:
    """One measure of N trials, float64 [N, S], NaN where nothing was recorded; `steps` [S]."""

    values_NS: Values
    steps: npt.NDArray[np.int64]

    def last(self) -> Values:
        """Return the last recorded value of each trial, NaN where there is none."""
        known_NS = np.isfinite(self.values_NS)
        place_N = self.values_NS.shape[1] - 1 - np.argmax(known_NS[:, ::-1], axis=1)
        last_N: Values = self.values_NS[np.arange(len(place_N)), place_N]
        return np.where(known_NS.any(axis=1), last_N, np.nan)


def objective_of_trials(objective: ObjectiveSection, curves: Curves, outcome_N: Outcomes) -> Values:
    """Return one number a trial [N]; NaN where it has none, `objective.diverged` if it diverged."""
    sign = 1.0 if objective.goal == "minimize" else -1.0
    values_NS = np.where(np.isfinite(curves.values_NS), curves.values_NS, np.nan)
    if objective.at == "last":
        found_N = curves.last()
    elif objective.at == "best":
        best_N = np.min(np.where(np.isnan(values_NS), np.inf, sign * values_NS), axis=1)
        found_N = np.where(np.isfinite(best_N), sign * best_N, np.nan)
    else:
        place = int(np.searchsorted(curves.steps, objective.at, side="right")) - 1
        found_N = values_NS[:, max(place, 0)]
    diverged_N = np.asarray(outcome_N) == Outcome.DIVERGED
    stated = np.nan if objective.diverged is None else objective.diverged
    unfinished_N = np.isin(outcome_N, (Outcome.DONE, Outcome.DIVERGED), invert=True)
    return np.where(diverged_N, stated, np.where(unfinished_N, np.nan, found_N))


def of_point(objective: ObjectiveSection, values_N: Values) -> float:
    """Return one number of the trials of a point; NaN as soon as one of them has none."""
    if len(values_N) == 0 or np.isnan(values_N).any():
        return float("nan")
    if objective.over == "mean":
        return float(np.mean(values_N))
    if objective.over == "worst":
        return float(np.max(values_N) if objective.goal == "minimize" else np.min(values_N))
    return float(np.median(values_N))


def answers(
    question: QuestionSection, curves: Curves | None, outcome_N: Outcomes
) -> npt.NDArray[np.int8]:
    """Return YES, NO or UNKNOWN for each trial [N]; `curves` is of the question's measure.

    A trial that did not end by itself answers nothing, except what it has answered already:
    one that passed the level by the step asked for. A diverged trial has not passed it.
    """
    outcome_N = np.asarray(outcome_N)
    ended_N = np.isin(outcome_N, (Outcome.DONE, Outcome.DIVERGED))
    if question.outcome is not None:
        yes_N = outcome_N == Outcome.DIVERGED
    else:
        assert curves is not None
        if question.by_step is None:
            yes_N = _past(question, curves.last()) & (outcome_N != Outcome.DIVERGED)
        else:
            until = curves.steps <= question.by_step
            yes_N = _past(question, curves.values_NS[:, until]).any(axis=1)
            ended_N = ended_N | yes_N
    return np.where(ended_N, yes_N, UNKNOWN).astype(np.int8)


def _past(question: QuestionSection, values: Values) -> npt.NDArray[np.bool_]:
    if question.above is not None:
        above: npt.NDArray[np.bool_] = values > question.above
        return above
    assert question.below is not None
    below: npt.NDArray[np.bool_] = values < question.below
    return below


def majority(answers_N: Sequence[int] | npt.NDArray[np.int8]) -> int:
    """Return the answer of most trials of a point; UNKNOWN on a tie or where none is known."""
    found = np.asarray(answers_N)
    balance = np.count_nonzero(found == YES) - np.count_nonzero(found == NO)
    return YES if balance > 0 else NO if balance < 0 else UNKNOWN
