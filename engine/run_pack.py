"""Run the trials of one pack until each is settled: groups of lanes, resume, bad company."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from phasecube.engine.branch import Keeper, OnKept, State
from phasecube.engine.checkpoint import CheckpointFolder
from phasecube.engine.choice import EngineChoice
from phasecube.engine.draws import own_params
from phasecube.engine.errors import CheckpointError, JudgeError, StoreError, StudyError
from phasecube.engine.experiment import Experiment
from phasecube.engine.function_pack import run_functions
from phasecube.engine.function_trial import FunctionExperiment
from phasecube.engine.measures import labels
from phasecube.engine.out_of_memory import is_out_of_memory
from phasecube.engine.pack_loop import Group, Watch
from phasecube.engine.pack_state import Start
from phasecube.engine.pruning import Judge, Pruning
from phasecube.engine.record import Engine, Outcome, PackRecord, RecordRule, StopRule
from phasecube.engine.recording import Progress, Recorder, Rows
from phasecube.engine.refill import Queue
from phasecube.engine.resume import Restored, restore_pack, save_pack
from phasecube.engine.trials import Trials

__all__ = ["Progress", "run_pack"]


def run_pack(
    experiment: Experiment[Any] | FunctionExperiment,
    trials: Trials,
    record: PackRecord,
    rule: RecordRule,
    stop: StopRule,
    choice: EngineChoice,
    *,
    device: str = "cpu",
    checkpoints: CheckpointFolder | None = None,
    trial_walltime_s: float | None = None,
    signal: Callable[[], bool] = lambda: False,
    on_record: Callable[[PackRecord, Progress], None] = lambda record, progress: None,  # noqa: ARG005
    on_failure: Callable[[int, str], None] = lambda lane, text: None,  # noqa: ARG005
    checkpoint_every_s: float = float("inf"),
    judge: Judge | None = None,
    on_rung: Callable[[PackRecord], None] = lambda record: None,  # noqa: ARG005
    keep: Mapping[int, frozenset[int]] = MappingProxyType({}),
    on_kept: OnKept = lambda step, states: None,  # noqa: ARG005
    starts: Mapping[int, State] = MappingProxyType({}),
) -> bool:
    """Fill the rows `trials.lanes` of `record` in place; return True once all are settled.

    Goes on from the newest whole checkpoint. False means that `signal()` asked to stop and
    a checkpoint is written. A trial whose code raises is FAILED and `on_failure` gets its
    lane and traceback; one that does not fit in memory alone is OUT_OF_MEMORY. `judge` is
    asked at its rungs which trials are PRUNED; `on_rung` sees the record before each time.

    `keep` says, by lane, before which steps `on_kept` is given a trial's state. `starts` are
    such states: those in which the lanes with a `parent_trial` begin.
    """
    pruning = None if judge is None else Pruning(judge, on_rung)
    if isinstance(experiment, FunctionExperiment):
        recorder = Recorder(record, rule, stop, Engine.FUNCTION, pruning=pruning)
        trial_steps = 0

        def tell(more: int) -> None:
            nonlocal trial_steps
            trial_steps += more
            on_record(record, recorder.progress(trials.lanes, trial_steps))

        return run_functions(
            experiment,
            trials,
            recorder,
            checkpoints=checkpoints,
            trial_walltime_s=trial_walltime_s,
            checkpoint_every_s=checkpoint_every_s,
            signal=signal,
            tell=tell,
            on_failure=on_failure,
        )
    found = {name: _labels(experiment, trials, name) for name in rule.vectors}
    recorder = Recorder(record, rule, stop, choice.engine, found, pruning)
    run = _PackRun(experiment, trials, recorder, choice, torch.device(device), checkpoints)
    run.on_record, run.on_failure = on_record, on_failure
    keeper = Keeper(keep, on_kept) if keep else None
    run.watch = Watch(signal, trial_walltime_s, checkpoint_every_s, run.count, run.save, keeper)
    run.begins = _begins(trials, starts)
    return run.run()


def _labels(experiment: Experiment[Any], trials: Trials, measure: str) -> tuple[str, ...]:
    return labels(experiment, measure, own_params(experiment, trials, 0))


def _begins(trials: Trials, starts: Mapping[int, State]) -> dict[int, Start]:
    """Return the states that trials begin in, by place; StudyError where one is missing."""
    found = {}
    for place, lane in enumerate(trials.lanes.tolist()):
        params = trials.params(place)
        parent = params.get("parent_trial")
        if not parent:
            continue
        step, state = params["branch_step"], starts.get(lane)
        if state is None or int(state["step"]) != step:
            raise StudyError(f"the state of trial {parent} before step {step} is missing")
        found[place] = Start(state)
    return found


class _PackRun:
    """One call of run_pack."""

    on_record: Callable[[PackRecord, Progress], None]
    on_failure: Callable[[int, str], None]
    watch: Watch
    begins: Mapping[int, Start]
    _queue: Queue

    def __init__(
        self,
        experiment: Experiment[Any],
        trials: Trials,
        recorder: Recorder,
        choice: EngineChoice,
        device: torch.device,
        checkpoints: CheckpointFolder | None,
    ) -> None:
        self._experiment = experiment
        self._trials = trials
        self._recorder = recorder
        self._choice = choice
        self._lanes = max(1, choice.lanes)
        self._device = device
        self._checkpoints = checkpoints
        self._trial_steps = 0

    def run(self) -> bool:
        """Return True once every trial is settled."""
        found = Restored({}, np.arange(len(self._trials)))
        if self._checkpoints is not None:
            found = restore_pack(self._checkpoints, self._experiment, self._trials, self._recorder)
        self._recorder.begin(self._trials.lanes[found.waiting])
        order = np.array([*found.in_flight, *found.waiting.tolist()], np.int64)
        places = (found.in_flight, self.begins)
        self._queue = Queue(self._experiment, self._trials, self._device, order, *places)
        while len(self._queue):
            if self.watch.signal():
                self.save(None)
                return False
            if not self._train(self._queue.next(self._lanes), refill=True):
                return False
            while self._queue.aside:
                left = self._from_the_start(self._queue.aside.pop(0))
                if len(left) and not self._train(left, refill=False):
                    return False
        return True

    def count(self, trial_steps: int) -> None:
        """Tell the caller how far the pack is."""
        self._trial_steps += trial_steps
        recorder = self._recorder
        self.on_record(recorder.record, recorder.progress(self._trials.lanes, self._trial_steps))

    def save(self, group: Group | None) -> None:
        """Write a checkpoint of all rows and of the lanes in hand."""
        if self._checkpoints is not None:
            rows = self._trials.lanes
            starts = {int(rows[index]): start for index, start in self._queue.starts.items()}
            if group is not None:
                starts |= group.standing()
            save_pack(self._checkpoints, self._experiment, self._trials, self._recorder, starts)

    def _train(self, indices: Rows, *, refill: bool) -> bool:
        """Train the trials at `indices`; halve them where together they fail."""
        try:
            return self._group(indices, refill=refill).train(self.watch)
        except (CheckpointError, StoreError, JudgeError):
            raise  # a full disk is no trial's fault
        except Exception as error:  # noqa: BLE001 user code may raise anything; it is told, not lost
            text = "".join(traceback.format_exception(error))
            outcome = Outcome.OUT_OF_MEMORY if is_out_of_memory(error) else Outcome.FAILED
        # Out of the except block: the error's frames held the tensors of the failed group.
        left = self._from_the_start(self._queue.inside)  # `indices`, and who entered since
        if len(left) > 1:
            half = (len(left) + 1) // 2
            if outcome is Outcome.OUT_OF_MEMORY:
                self._lanes = min(self._lanes, half)
            # Without others to come, until it is known whose fault it was.
            return self._train(left[:half], refill=False) and self._train(left[half:], refill=False)
        for row in self._trials.lanes[left]:
            self._recorder.settle(np.array([row]), outcome, 0)
            self.on_failure(int(row), text)
        self.count(0)
        return True

    def _from_the_start(self, indices: Rows) -> Rows:
        """Return those that are not settled, and forget what they recorded.

        Because a step may have been half done; a trial's numbers do not depend on its
        company, so what was recorded comes out the same.
        """
        left = indices[~self._recorder.settled(self._trials.lanes[indices])]
        self._recorder.begin(self._trials.lanes[left])
        return left

    def _group(self, indices: Rows, *, refill: bool) -> Group:
        queue = self._queue
        choice = replace(self._choice, lanes=self._lanes)
        entry = queue.first(indices)
        return Group(self._experiment, entry, choice, self._recorder, queue if refill else None)
