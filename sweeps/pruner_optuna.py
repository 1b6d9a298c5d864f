"""Optuna's pruners over points at rungs: the classes are Optuna's, their memory is the table.

Median, percentile, patient, threshold and Wilcoxon read values only. Successive halving and
Hyperband keep the rungs a trial has completed as attributes of it; those are written here from
the values, so that the same table gives the same decision whatever was lost, and in whatever
order trials came. Points that stand at a rung together are all counted before any is judged.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasecube.sweeps.adaptive_sections import PrunerSection
from phasecube.sweeps.pruner_classes import HALVING, make_pruner
from phasecube.sweeps.pruner_points import State, Table, Values

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Verdict:
    """What was decided about a point at a rung, and what it was compared with.

    `seen` other points had a value there (of those that had finished, where the pruner looks
    at them only): `best` and `median` of theirs, and how many were `better`.
    """

    point: int
    step: int
    pruned: bool
    value: float
    seeds: int
    among: str
    seen: int
    better: int
    best: float | None
    median: float | None


def judge(
    section: PrunerSection, table: Table, points: Sequence[int], step: int, last_step: int
) -> list[Verdict]:
    """Return a verdict for each of `points` that has a value at rung `step`, in their order.

    `last_step` is that of the longest trial. The cost of a verdict grows with the number of
    points, no faster.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    g = int(np.searchsorted(table.steps_G, step))
    judged = [p for p in points if np.isfinite(table.value_PG[p, g])]
    if not judged:
        return []
    pruner = make_pruner(section, first_rung=int(table.steps_G[0]), last_step=last_step)
    shown = _Shown(section, pruner, table, g)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return [
            _verdict(section, table, point, g, bool(shown.prunes(point)), shown.rivals(point))
            for point in judged
        ]


def _verdict(
    section: PrunerSection, table: Table, point: int, g: int, pruned: bool, rivals: Values
) -> Verdict:
    value = float(table.value_PG[point, g])
    sign = 1.0 if section.goal == "minimize" else -1.0
    best = sign * float(np.min(sign * rivals)) if len(rivals) else None
    return Verdict(
        point,
        int(table.steps_G[g]),
        pruned,
        value,
        int(table.count_PG[point, g]),
        "reached" if section.kind in HALVING else "finished",
        len(rivals),
        int(np.count_nonzero(sign * rivals < sign * value)),
        best,
        float(np.median(rivals)) if len(rivals) else None,
    )


class _Shown:
    """The table as Optuna's pruners are shown it at one rung."""

    def __init__(self, section: PrunerSection, pruner: Any, table: Table, g: int) -> None:
        import optuna

        self._section, self._table, self._g = section, table, g
        self._is_complete, self._running = (
            optuna.trial.TrialState.COMPLETE,
            optuna.trial.TrialState.RUNNING,
        )
        self._storage = _storage()
        self._study = optuna.create_study(
            study_name="phasecube",
            storage=self._storage,
            direction=section.goal,
            sampler=optuna.samplers.RandomSampler(0),
        )
        self._pruners = [pruner]
        self._brackets: dict[int, list[optuna.trial.FrozenTrial]] = {}
        n_points = len(table)
        self._bracket_P = np.zeros(n_points, np.int64)
        states = {
            State.RUNNING: optuna.trial.TrialState.RUNNING,
            State.FINISHED: optuna.trial.TrialState.COMPLETE,
            State.PRUNED: optuna.trial.TrialState.PRUNED,
            State.ENDED: optuna.trial.TrialState.FAIL,
        }
        # What has no value yet is no trial: most points of a large sweep have not begun.
        begun = np.flatnonzero(np.isfinite(table.by_seed_PKG).any(axis=(1, 2))).tolist()
        self._trials = {
            point: self._trial(point, states[State(int(table.state_P[point]))], len(table.steps_G))
            for point in begun
        }
        if section.kind == "hyperband":
            # Its brackets are successive halvings; it draws a trial's from its number.
            self._pruners = pruner._pruners
            for point, trial in self._trials.items():
                self._bracket_P[point] = pruner._get_bracket_id(self._study, trial)
        if section.kind in HALVING:
            for point, trial in self._trials.items():
                trial.system_attrs = self._completed(point, len(table.steps_G))

    def prunes(self, point: int) -> bool:
        """Return what the pruner says of a point that stands at the rung."""
        bracket, itself = int(self._bracket_P[point]), self._trials[point]
        # Without itself: the pruner counts the trial that it judges once more.
        self._storage.shown = [t for t in self._of_bracket(bracket) if t is not itself]
        own = self._trial(point, self._running, self._g + 1)
        if self._section.kind in HALVING:
            own.system_attrs = self._completed(point, self._g)
        return bool(self._pruners[bracket].prune(self._study, own))

    def _of_bracket(self, bracket: int) -> list[optuna.trial.FrozenTrial]:
        """Return the trials that are compared with each other."""
        if bracket not in self._brackets:
            self._brackets[bracket] = [
                trial for point, trial in self._trials.items() if self._bracket_P[point] == bracket
            ]
        return self._brackets[bracket]

    def rivals(self, point: int) -> Values:
        """Return the values at the rung of those that the point was compared with."""
        table, value_P = self._table, self._table.value_PG[:, self._g]
        rival_P = np.isfinite(value_P) & (self._bracket_P == self._bracket_P[point])
        rival_P[point] = False
        if self._section.kind not in HALVING:
            rival_P &= table.state_P == State.FINISHED
        found: Values = value_P[rival_P]
        return found

    def _trial(
        self, point: int, state: optuna.trial.TrialState, n_rungs: int
    ) -> optuna.trial.FrozenTrial:
        import optuna

        number = int(self._table.first_row_P[point])
        is_complete = state == self._is_complete
        return optuna.trial.FrozenTrial(
            number=number,
            state=state,
            value=float(self._table.final_P[point]) if is_complete else None,
            datetime_start=None,
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values=self._values(point, n_rungs),
            trial_id=number,
        )

    def _values(self, point: int, n_rungs: int) -> dict[int, float]:
        """Return values by step; for Wilcoxon those of the seeds at this rung, by seed."""
        table = self._table
        if self._section.kind == "wilcoxon":
            keys, values = range(table.by_seed_PKG.shape[1]), table.by_seed_PKG[point, :, self._g]
        else:
            keys, values = table.steps_G[:n_rungs].tolist(), table.value_PG[point, :n_rungs]
        return {int(k): v for k, v in zip(keys, values.tolist()) if math.isfinite(v)}

    def _completed(self, point: int, n_rungs: int) -> dict[str, Any]:
        """Return the rungs of successive halving that a point completed before rung `n_rungs`.

        Each with the value at the first of our rungs from its promotion on. One of ours may
        pass several promotions: that is one competition, whoever takes part in it.
        """
        halving = self._pruners[self._bracket_P[point]]
        found: dict[str, Any] = {}
        for step, value in self._values(point, n_rungs).items():
            while step >= halving._min_resource * halving._reduction_factor ** (
                halving._min_early_stopping_rate + len(found)
            ):
                found[f"completed_rung_{len(found)}"] = value
        return found


def _storage() -> Any:
    """Return a storage of Optuna that shows given trials and keeps nothing of them."""
    import optuna

    class Shown(optuna.storages.InMemoryStorage):
        shown: Sequence[optuna.trial.FrozenTrial] = ()

        def get_all_trials(
            self,
            study_id: int,  # noqa: ARG002 the signature is Optuna's
            deepcopy: bool = True,  # noqa: ARG002
            states: Container[optuna.trial.TrialState] | None = None,
        ) -> list[optuna.trial.FrozenTrial]:
            return [trial for trial in self.shown if states is None or trial.state in states]

        def get_best_trial(self, study_id: int) -> optuna.trial.FrozenTrial:
            complete = self.get_all_trials(study_id, states=(optuna.trial.TrialState.COMPLETE,))
            if not complete:
                raise ValueError("No trials are completed yet.")
            minimize = self.get_study_directions(study_id)[0] == (
                optuna.study.StudyDirection.MINIMIZE
            )
            return (min if minimize else max)(complete, key=lambda trial: trial.value or 0.0)

        def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
            """Nothing is kept: what a trial completed is read from its values."""

    return Shown()
