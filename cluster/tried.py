"""The points of a search and what became of them, read from the store: a sampler's only memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from phasecube.cluster.study import Study
from phasecube.engine.record import Outcome, Status
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
from phasecube.sweeps.points import POINT, Point

SETTLED = tuple(outcome for outcome in Outcome if outcome is not Outcome.NOT_RUN)


@dataclass(frozen=True)
class Tried:
    """One point: its values, the trials it stands for, and what they came to.

    `values` has one number an objective, NaN where the point has none (a trial of it diverged,
    was pruned, failed or has not run: `outcomes` counts them). `answer` is that of most trials to
    the question, `n_yes` and `n_no` count them.
    """

    number: int
    point: Point
    digests: tuple[bytes, ...]
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    answer: int = UNKNOWN
    n_yes: int = 0
    n_no: int = 0

    @property
    def is_settled(self) -> bool:
        """Return whether every trial of the point has ended."""
        return self.outcomes.get(Outcome.NOT_RUN, 0) == 0


def read_tried(study: Study) -> list[Tried]:
    """Return the points of the study in the order they were chosen."""
    plan, store = study.plan, study.store
    sampler = plan.sweep.sampler
    if sampler is None:
        return []
    status_RF = store.read_status()
    outcome_N = status_RF[plan.row, Status.OUTCOME]
    steps = np.asarray(plan.rule.steps, np.int64)

    def curves(measure: str) -> Curves:
        return Curves(store.read_scalar(measure)[plan.row].astype(np.float64), steps)

    values_NO = [
        objective_of_trials(objective, curves(objective.measure), outcome_N)
        for objective in sampler.objectives
    ]
    answer_N = np.full(len(plan), UNKNOWN, np.int8)
    if (question := sampler.question) is not None:
        measured = None if question.measure is None else curves(question.measure)
        answer_N = answers(question, measured, outcome_N)
    point_N = plan.index[POINT]
    order_N = np.argsort(point_N, kind="stable")
    ends_P = np.searchsorted(point_N[order_N], np.arange(len(plan.sweep.points) + 1))
    return [
        Tried(
            number,
            point,
            tuple(plan.digests[n].tobytes() for n in trials),
            _counts(outcome_N[trials]),
            tuple(of_point(o, v[trials]) for o, v in zip(sampler.objectives, values_NO)),
            majority(answer_N[trials]),
            int(np.count_nonzero(answer_N[trials] == YES)),
            int(np.count_nonzero(answer_N[trials] == NO)),
        )
        for number, point in enumerate(plan.sweep.points)
        for trials in [order_N[ends_P[number] : ends_P[number + 1]]]
    ]


def _counts(outcome_N: npt.NDArray[np.integer]) -> dict[Outcome, int]:
    # Of a few trials: numpy's unique costs forty times as much, and is asked for every point.
    return {Outcome(o): n for o, n in sorted(Counter(outcome_N.tolist()).items())}


def open_points(tried: Sequence[Tried]) -> list[Tried]:
    """Return the points with a trial that has not ended."""
    return [each for each in tried if not each.is_settled]
