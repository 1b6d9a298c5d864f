"""Train the lanes of one group from their step to the end, recording on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from phasecube.engine.choice import EngineChoice
from phasecube.engine.descent import Descent
from phasecube.engine.experiment import ENGINE_MEASURES, Experiment
from phasecube.engine.measures import reads_update
from phasecube.engine.pack_state import PackState
from phasecube.engine.record import Outcome
from phasecube.engine.recording import Recorder, Rows, engine_values
from phasecube.engine.step import StepEngine, step_engine, with_spare

# Steps between two looks at which lanes have ended, where nothing is recorded: a look stalls
# a GPU; on a CPU it costs less than the steps of lanes that are lost.
LOOK_EVERY_CPU, LOOK_EVERY_GPU = 8, 64


@dataclass
class Watch:
    """What a group is watched for while it trains: the caller's signal and its clocks."""

    signal: Callable[[], bool]
    trial_walltime_s: float | None
    checkpoint_every_s: float
    on_record: Callable[[int], None]  # trial-steps since the last call
    save: Callable[[Group], None]


class Group:
    """K lanes with their engine and update rule; K falls as trials end."""

    def __init__(
        self,
        experiment: Experiment,  # type: ignore[type-arg]
        model: nn.Module,
        state: PackState,
        choice: EngineChoice,
        recorder: Recorder,
        elapsed_s: float,
    ) -> None:
        self._experiment = experiment
        self._model = model
        self._choice = choice
        self._recorder = recorder
        self.elapsed_s = elapsed_s  # the lanes' wall time before this process
        self.n_steps = int(state.trials.static["steps"])
        self._loss_above = recorder.stop.loss_above
        on_cpu = state.weights_KP.device.type == "cpu"
        self._look_every = LOOK_EVERY_CPU if on_cpu else LOOK_EVERY_GPU
        self._adopt(state, np.arange(len(state)))

    def _adopt(self, all_lanes: PackState, keep: Rows) -> Tensor:
        """Go on with the lanes at `keep`; return the places that the new rows were taken from."""
        choice = self._choice
        places = with_spare(choice, keep)
        self.n_lanes = len(keep)  # spare lanes come after these
        alike = np.array_equal(places, np.arange(len(all_lanes)))
        self.state = state = all_lanes if alike else all_lanes.take(places)
        self._descent = Descent(state)
        self._engine: StepEngine = step_engine(choice, self._experiment, self._model, state)
        return torch.from_numpy(places).to(state.weights_KP.device)

    def train(self, watch: Watch) -> bool:
        """Return True once every lane is settled, False when the signal came.

        After False the state stands before a step and has been saved.
        """
        began_s = saved_s = time.monotonic()
        before_s, counted = self.elapsed_s, 0
        while True:
            step = self.state.step
            losses_K, gradient_KP = self._engine.gradient()
            self._note_ended(losses_K, step)
            wanted = self._recorder.wanted(step)
            if wanted or step == self.n_steps or step % self._look_every == 0:
                self.elapsed_s = before_s + time.monotonic() - began_s
                keep = self._look(step, wanted, losses_K, gradient_KP, watch.trial_walltime_s)
                watch.on_record(counted)
                counted = 0
                if not len(keep):
                    return True
                if len(keep) < self.n_lanes:
                    gradient_KP = gradient_KP[self._adopt(self.state, keep)]
            self._descent.step(self._engine, gradient_KP)
            counted += self.n_lanes
            told = watch.signal()
            if told or time.monotonic() - saved_s >= watch.checkpoint_every_s:
                saved_s = time.monotonic()
                self.elapsed_s = before_s + saved_s - began_s
                watch.save(self)
                if told:
                    watch.on_record(counted)
                    return False

    def _note_ended(self, losses_K: Tensor, step: int) -> None:
        bad_K = ~losses_K.isfinite()
        if self._loss_above is not None:
            bad_K |= losses_K > self._loss_above
        ended_K = self.state.ended_at_K
        # On the device: a look from the host at every step would stall a GPU.
        ended_K.copy_(torch.where(bad_K & (ended_K < 0), step, ended_K))

    def _look(
        self,
        step: int,
        wanted: frozenset[str],
        losses_K: Tensor,
        gradient_KP: Tensor,
        walltime_s: float | None,
    ) -> Rows:
        """Settle lanes that ended, record the others; return the places of those that go on."""
        state, recorder = self.state, self._recorder
        rows_K = state.trials.lanes[: self.n_lanes]
        ended_K = state.ended_at_K[: self.n_lanes].cpu().numpy()
        bad_K = ended_K >= 0
        if bad_K.any():
            recorder.settle(rows_K[bad_K], Outcome.DIVERGED, ended_K[bad_K])
        live_K = ~bad_K
        if wanted and live_K.any():
            values = self._values(wanted, losses_K, gradient_KP)
            live = np.flatnonzero(live_K)
            kept = {name: v[live] for name, v in values.items()}
            reached = live[recorder.write(step, rows_K[live], kept)]
            if len(reached):
                left_out = recorder.left_out(step)
                if left_out:  # this is their last step
                    values = self._values(left_out, losses_K, gradient_KP)
                    kept = {name: v[reached] for name, v in values.items()}
                    recorder.keep(step, rows_K[reached], kept)
                recorder.settle(rows_K[reached], Outcome.DONE, step)
                live_K[reached] = False
        if step == self.n_steps:
            recorder.settle(rows_K[live_K], Outcome.DONE, step)
            live_K[:] = False
        elif walltime_s is not None and self.elapsed_s > walltime_s:
            recorder.settle(rows_K[live_K], Outcome.TIMED_OUT, step)
            live_K[:] = False
        return np.flatnonzero(live_K)

    def _values(
        self, wanted: frozenset[str], losses_K: Tensor, gradient_KP: Tensor
    ) -> dict[str, np.ndarray]:
        found = engine_values(wanted, losses_K, gradient_KP, self.state.weights_KP)
        own = wanted.difference(ENGINE_MEASURES)
        if own:
            reads = reads_update(self._experiment, own)
            update_KP = self._descent.update(self._engine, gradient_KP) if reads else None
            found |= self._engine.measure(own, gradient_KP, update_KP)
        return {name: value[: self.n_lanes].cpu().numpy() for name, value in found.items()}
