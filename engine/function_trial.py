"""The second contract: any function `train(trial)` that reports as it goes, one trial at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Measure
from phasecube.engine.record import Outcome, Status

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.checkpoint import CheckpointFolder
    from phasecube.engine.recording import Recorder

TrainFunction = Callable[["FunctionTrial"], None]
MEASURED_BY_NAME = "train_loss", "loss"  # measures whose value decides that a trial diverged


class FunctionExperiment:
    """A function that trains one trial, with the parameters and measures it declares.

    `open_parameters` says that it declares none: then the sweep file names both.
    """

    def __init__(
        self,
        function: TrainFunction,
        *,
        params: Mapping[str, Any] | None = None,
        measures: Mapping[str, str] | Iterable[str] = (),
        version: int = 1,
        open_parameters: bool = False,
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.version = version
        self.params = dict(params or {})
        units = measures if isinstance(measures, Mapping) else dict.fromkeys(measures, "1")
        self.measures = {name: Measure(name, unit) for name, unit in units.items()}
        self.open_parameters = open_parameters
        self.defaults: Mapping[str, Any] = {}

    def __call__(self, trial: FunctionTrial) -> None:
        """Train one trial."""
        self.function(trial)


def experiment_function(
    *,
    params: Mapping[str, Any] | None = None,
    measures: Mapping[str, str] | Iterable[str] = (),
    version: int = 1,
) -> Callable[[TrainFunction], FunctionExperiment]:
    """Return a decorator that declares a training function as an experiment.

    `params` gives each parameter its default and thereby its type, `measures` each measure
    its unit. `version` is to rise whenever the numbers of a trial change.
    """

    def declare(function: TrainFunction) -> FunctionExperiment:
        return FunctionExperiment(function, params=params, measures=measures, version=version)

    return declare


class LeaveTrial(BaseException):
    """Unwinds a user's function; a BaseException so that `except Exception` lets it pass."""

    def __init__(self, outcome: Outcome | None) -> None:
        super().__init__()
        self.outcome = outcome  # None: asked to stop, to be resumed


class FunctionTrial:
    """What a training function is given."""

    def __init__(
        self,
        params: Mapping[str, Any],
        row: int,
        recorder: Recorder,
        checkpoints: CheckpointFolder | None,
        signal: Callable[[], bool],
        deadline_s: float,
        tell: Callable[[], None],
    ) -> None:
        self.seed = int(params["seed"])
        self.steps = int(params["steps"])
        self.params = SimpleNamespace(**params)
        self.last_step = -1
        self._row = np.array([row])
        self._recorder = recorder
        self._checkpoints = checkpoints
        self._signal = signal
        self._deadline_s = deadline_s
        self._tell = tell

    def report(self, step: int, **values: float) -> None:
        """Tell the measures at `step`; those on the step grid are kept.

        Does not return once the trial is to end: its loss diverged, its target is reached, it
        is pruned, its time is over, or the study was asked to stop.
        """
        if step <= self.last_step:
            raise ExperimentError(
                f"report(step={step}) after step {self.last_step}; steps must rise"
            )
        self.last_step = step
        recorder = self._recorder
        if diverged(values, recorder.stop.loss_above):
            raise LeaveTrial(Outcome.DIVERGED)
        wanted = recorder.wanted(step)
        if wanted:
            missing = sorted(wanted - values.keys())
            if missing:
                raise ExperimentError(
                    f"report(step={step}) lacks {', '.join(missing)}, which the sweep records"
                )
            found = {name: np.array([float(values[name])]) for name in wanted}
            if len(recorder.write(step, self._row, found)):
                raise LeaveTrial(Outcome.DONE)
            self._tell()
            if step < self.steps and recorder.pruned(step, self._row).any():
                raise LeaveTrial(Outcome.PRUNED)
        if time.monotonic() > self._deadline_s:
            raise LeaveTrial(Outcome.TIMED_OUT)
        if self._signal():
            raise LeaveTrial(None)

    def save_checkpoint(self, tensors: Mapping[str, Any], note: Mapping[str, Any]) -> None:
        """Keep tensors or arrays, and a note that JSON holds, to go on from after a stop."""
        if self._checkpoints is None:
            return
        import torch

        kept: dict[str, Tensor] = {name: torch.as_tensor(t) for name, t in tensors.items()}
        record = self._recorder.record
        kept["phasecube.scalars"] = torch.from_numpy(record.scalars_RMS[self._row])
        state = {
            "note": dict(note),
            "step": self.last_step,
            "n_recorded": int(record.status_RF[self._row[0], Status.N_RECORDED]),
            "hits": int(self._recorder.hits_R[self._row[0]]),
            "params": vars(self.params),
        }
        self._checkpoints.save(kept, state)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what save_checkpoint kept last, or None; the records up to it are put back."""
        found = None if self._checkpoints is None else self._checkpoints.newest()
        if found is None or found[1].get("params") != vars(self.params):
            return None
        tensors, state = found
        scalars = tensors.pop("phasecube.scalars").numpy()
        record = self._recorder.record
        if scalars.shape != record.scalars_RMS[self._row].shape:
            return None
        record.scalars_RMS[self._row] = scalars
        record.status_RF[self._row, Status.N_RECORDED] = state["n_recorded"]
        self._recorder.hits_R[self._row] = state["hits"]
        self.last_step = state["step"]
        return tensors, state["note"]


def diverged(values: Mapping[str, float], loss_above: float | None) -> bool:
    """Return whether a reported loss is not finite or too large."""
    losses = [float(values[name]) for name in MEASURED_BY_NAME if name in values]
    limit = math.inf if loss_above is None else loss_above
    return any(not math.isfinite(loss) or loss > limit for loss in losses)
