"""Run the trials of a pack whose experiment is a function: one after another."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from phasecube.engine.checkpoint import CheckpointFolder
from phasecube.engine.errors import CheckpointError, JudgeError, StoreError
from phasecube.engine.function_trial import FunctionExperiment, FunctionTrial, LeaveTrial
from phasecube.engine.out_of_memory import is_out_of_memory
from phasecube.engine.record import Outcome
from phasecube.engine.recording import Recorder
from phasecube.engine.resume import restore_pack, save_pack
from phasecube.engine.trials import Trials


def run_functions(
    experiment: FunctionExperiment,
    trials: Trials,
    recorder: Recorder,
    *,
    checkpoints: CheckpointFolder | None,
    trial_walltime_s: float | None,
    checkpoint_every_s: float,
    signal: Callable[[], bool],
    tell: Callable[[int], None],
    on_failure: Callable[[int, str], None],
) -> bool:
    """Return True once every trial is settled, False when asked to stop."""
    waiting = np.arange(len(trials))
    if checkpoints is not None:
        waiting = restore_pack(checkpoints, experiment, trials, recorder).waiting
    recorder.begin(trials.lanes[waiting])
    saved_s = time.monotonic()

    def save() -> None:
        if checkpoints is not None:
            save_pack(checkpoints, experiment, trials, recorder, {})

    for index in waiting.tolist():
        if signal():
            save()
            return False
        row = int(trials.lanes[index])
        own = None if checkpoints is None else CheckpointFolder(trial_folder(checkpoints, row))
        began_s = time.monotonic()
        trial = FunctionTrial(
            trials.params(index),
            row,
            recorder,
            own,
            signal,
            float("inf") if trial_walltime_s is None else began_s + trial_walltime_s,
            lambda: tell(0),
        )
        outcome = _run(experiment, trial, lambda text, row=row: on_failure(row, text))  # type: ignore[misc]
        if outcome is None:
            # Its rows start over on resume, from what the function itself saved.
            recorder.begin(np.array([row]))
            save()
            return False
        if outcome in (Outcome.FAILED, Outcome.OUT_OF_MEMORY):
            recorder.begin(np.array([row]))
        last = trial.last_step if trial.last_step >= 0 else trial.steps
        recorder.settle(np.array([row]), outcome, last)
        tell(last)
        if own is not None:
            own.remove()
        if time.monotonic() - saved_s >= checkpoint_every_s:
            saved_s = time.monotonic()
            save()
    return True


def trial_folder(checkpoints: CheckpointFolder, row: int) -> Path:
    """Return where the function of one trial keeps its own checkpoints."""
    return checkpoints.path / f"trial_{row:06d}"


def _run(
    experiment: FunctionExperiment, trial: FunctionTrial, on_failure: Callable[[str], None]
) -> Outcome | None:
    """Return how the trial ended, or None where it is to be resumed."""
    try:
        experiment(trial)
    except LeaveTrial as leave:
        return leave.outcome
    except (CheckpointError, StoreError, JudgeError):
        raise  # a full disk is no trial's fault
    except Exception as error:  # noqa: BLE001 user code may raise anything; it is told, not lost
        on_failure("".join(traceback.format_exception(error)))
        return Outcome.OUT_OF_MEMORY if is_out_of_memory(error) else Outcome.FAILED
    return Outcome.DONE
