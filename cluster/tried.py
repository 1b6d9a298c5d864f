"""The points of a search and what became of them, read from the store: a sampler's only memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.cluster.study import Study
from phasecube.engine.record import Outcome, Status
from phasecube.engine.store import Store
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


def read_tried(study: Study, before: Sequence[Tried] = ()) -> list[Tried]:
    """Return the points of the study in the order they were chosen.

    Those that were settled `before` are taken from there: of the store only the others are read.
    """
    plan, store = study.plan, study.store
    sampler = plan.sweep.sampler
    if sampler is None:
        return []
    points = plan.sweep.points
    known = {
        t.number: t for t in before[: len(points)] if t.is_settled and points[t.number] == t.point
    }
    new = np.flatnonzero(~np.isin(plan.index[POINT], list(known)))
    point_N, row_N = plan.index[POINT][new], plan.row[new]
    outcome_N = store.read_status()[row_N, Status.OUTCOME]
    steps = np.asarray(plan.rule.steps, np.int64)

    def curves(measure: str) -> Curves:
        return Curves(_values(store, measure, row_N).astype(np.float64), steps)

    values_NO = [
        objective_of_trials(objective, curves(objective.measure), outcome_N)
        for objective in sampler.objectives
    ]
    answer_N = np.full(len(new), UNKNOWN, np.int8)
    if (question := sampler.question) is not None:
        measured = None if question.measure is None else curves(question.measure)
        answer_N = answers(question, measured, outcome_N)
    order_N = np.argsort(point_N, kind="stable")
    ends_P = np.searchsorted(point_N[order_N], np.arange(len(points) + 1))

    def tried(number: int) -> Tried:
        trials = order_N[ends_P[number] : ends_P[number + 1]]
        return Tried(
            number,
            points[number],
            tuple(plan.digests[n].tobytes() for n in new[trials]),
            _counts(outcome_N[trials]),
            tuple(of_point(o, v[trials]) for o, v in zip(sampler.objectives, values_NO)),
            majority(answer_N[trials]),
            int(np.count_nonzero(answer_N[trials] == YES)),
            int(np.count_nonzero(answer_N[trials] == NO)),
        )

    return [known.get(number) or tried(number) for number in range(len(points))]


def _values(
    store: Store, measure: str, row_N: npt.NDArray[np.int64]
) -> npt.NDArray[np.floating[Any]]:
    """Return one measure of some rows [N, S]; of few packs, from their files alone."""
    packs = np.unique(row_N // store.pack_size)
    if 2 * len(packs) > store.n_packs:
        return store.read_scalar(measure)[row_N]
    shape = (len(row_N), len(store.layout.rule.steps))
    values_NS = np.full(shape, np.nan, store.layout.rule.dtype)
    for pack in packs.tolist():
        _, values_KS = store.read_pack_scalar(pack, measure)
        here = row_N // store.pack_size == pack
        values_NS[here] = values_KS[row_N[here] % store.pack_size]
    return values_NS


def _counts(outcome_N: npt.NDArray[np.integer]) -> dict[Outcome, int]:
    # Of a few trials: numpy's unique costs forty times as much, and is asked for every point.
    return {Outcome(o): n for o, n in sorted(Counter(outcome_N.tolist()).items())}


def open_points(tried: Sequence[Tried]) -> list[Tried]:
    """Return the points with a trial that has not ended."""
    return [each for each in tried if not each.is_settled]
