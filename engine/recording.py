"""Write what lanes measure into the rows of a pack, and judge when a trial ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phasecube.engine.pruning import Pruning
from phasecube.engine.record import Engine, Outcome, PackRecord, RecordRule, Status, StopRule

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Progress:
    """How many trials of a pack have ended, and the trial-steps that this call has trained."""

    settled: int
    diverged: int
    trial_steps: int


class Recorder:
    """The rows of one pack while it runs. `hits_R` counts records past the target in a row."""

    def __init__(
        self,
        record: PackRecord,
        rule: RecordRule,
        stop: StopRule,
        engine: Engine,
        labels: Mapping[str, Sequence[str]] | None = None,
        pruning: Pruning | None = None,
    ) -> None:
        self.record = record
        self.rule = rule
        self.stop = stop
        self.hits_R = np.zeros(len(record.status_RF), np.int64)
        self.engine = engine
        self._pruning = pruning
        self._scalar_place = {int(step): i for i, step in enumerate(rule.steps)}
        self._vector_place = {int(step): i for i, step in enumerate(rule.vector_steps)}
        target = {stop.target.measure} if stop.target else set()
        self._scalars = frozenset(rule.scalars) | target
        # The rule's labels are those of all static groups; these trials have some of them.
        self._label_places = {
            name: [rule.vectors[name].index(label) for label in found]
            for name, found in (labels or rule.vectors).items()
        }
        self._vectors = frozenset(rule.vectors)
        self._cadences = {name: frozenset(at.tolist()) for name, at in rule.cadences.items()}

    def begin(self, rows: Rows) -> None:
        """Forget what the rows hold, as for trials that start at step 0."""
        self.record.scalars_RMS[rows] = np.nan
        for values in self.record.vectors.values():
            values[rows] = np.nan
        status = self.record.status_RF
        status[rows, Status.OUTCOME] = Outcome.NOT_RUN
        status[rows, Status.N_RECORDED] = 0
        status[rows, Status.STOPPED_AT] = -1
        status[rows, Status.ENGINE] = self.engine
        self.hits_R[rows] = 0

    def wanted(self, step: int) -> frozenset[str]:
        """Return the measures to be taken at `step`; none at a step that is not recorded."""
        return self._of_step(step) - self.left_out(step)

    def left_out(self, step: int) -> frozenset[str]:
        """Return the measures that `step` could hold, and that their cadence leaves out."""
        if not self._cadences:
            return frozenset()
        not_now = {name for name, steps in self._cadences.items() if step not in steps}
        return self._of_step(step) & not_now

    def _of_step(self, step: int) -> frozenset[str]:
        found: frozenset[str] = frozenset()
        if step in self._scalar_place:
            found |= self._scalars
        if step in self._vector_place:
            found |= self._vectors
        return found

    def write(self, step: int, rows: Rows, values: Mapping[str, npt.NDArray[np.floating]]) -> Rows:
        """Keep the values of `rows` at `step`; return the places whose target is reached."""
        self.keep(step, rows, values)
        place = self._scalar_place.get(step)
        if place is None:
            return np.zeros(0, np.int64)
        self.record.status_RF[rows, Status.N_RECORDED] = place + 1
        target = self.stop.target
        if target is None:
            return np.zeros(0, np.int64)
        measured_K = values[target.measure]
        past_K = measured_K > target.value if target.above else measured_K < target.value
        self.hits_R[rows] = np.where(past_K, self.hits_R[rows] + 1, 0)
        return np.flatnonzero(self.hits_R[rows] >= target.records)

    def looks(self, n_steps: int) -> npt.NDArray[np.int64]:
        """Return the steps, in order, at which a trial of `n_steps` is recorded, judged or ends."""
        found = np.unique([*self._scalar_place, *self._vector_place, *self.rungs, n_steps])
        return found[found <= n_steps].astype(np.int64)

    @property
    def rungs(self) -> frozenset[int]:
        """Return the steps at which trials may be pruned."""
        return frozenset() if self._pruning is None else self._pruning.judge.rungs

    def pruned(self, step: int, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return which of `rows`, recorded at `step` and not at their end, are pruned there."""
        if self._pruning is None:
            return np.zeros(len(rows), np.bool_)
        return self._pruning.pruned(step, rows, self.record)

    def keep(self, step: int, rows: Rows, values: Mapping[str, npt.NDArray[np.floating]]) -> None:
        """Write those of the rule's measures that `values` holds.

        What is too large for the dtype of the record is written as infinity.
        """
        with np.errstate(over="ignore"):  # a loss about to diverge; no news to a user
            place = self._vector_place.get(step)
            if place is not None:
                for name, places in self._label_places.items():
                    if name in values:
                        self.record.vectors[name][rows[:, None], place, places] = values[name]
            place = self._scalar_place.get(step)
            taken = [m for m, name in enumerate(self.rule.scalars) if name in values]
            if place is not None and taken:
                values_KM = np.stack([values[self.rule.scalars[m]] for m in taken], 1)
                self.record.scalars_RMS[rows[:, None], taken, place] = values_KM

    def settle(self, rows: Rows, outcome: Outcome, stopped_at: int | Rows) -> None:
        """Give the rows their outcome."""
        status = self.record.status_RF
        status[rows, Status.STOPPED_AT] = stopped_at
        status[rows, Status.ENGINE] = self.engine
        status[rows, Status.OUTCOME] = outcome

    def settled(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return which of the rows have an outcome."""
        found: npt.NDArray[np.bool_] = (
            self.record.status_RF[rows, Status.OUTCOME] != Outcome.NOT_RUN
        )
        return found

    def progress(self, rows: Rows, trial_steps: int) -> Progress:
        """Return the counts over `rows`."""
        outcome = self.record.status_RF[rows, Status.OUTCOME]
        n_settled = int(np.count_nonzero(outcome != Outcome.NOT_RUN))
        return Progress(n_settled, int(np.count_nonzero(outcome == Outcome.DIVERGED)), trial_steps)


def engine_values(
    wanted: frozenset[str], losses_K: Tensor, gradient_KP: Tensor, weights_KP: Tensor
) -> dict[str, Tensor]:
    """Return those of ENGINE_MEASURES that are wanted, one value a lane, float64."""
    found: dict[str, Tensor] = {}
    if "train_loss" in wanted:
        found["train_loss"] = losses_K
    for name, rows_KP in (("gradient_norm", gradient_KP), ("weight_norm", weights_KP)):
        if name in wanted:
            # float64: squares of a large float32 gradient overflow before the loss does.
            found[name] = torch.linalg.vector_norm(rows_KP, dim=1, dtype=torch.float64)
    return found
