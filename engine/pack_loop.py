"""Train the lanes of one group, each from its step to its end, recording on the way."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from phasecube.engine.branch import Keeper
from phasecube.engine.choice import EngineChoice, with_spare
from phasecube.engine.descent import Descent
from phasecube.engine.errors import CheckpointError, JudgeError, StoreError
from phasecube.engine.experiment import ENGINE_MEASURES, Experiment
from phasecube.engine.measures import reads_update
from phasecube.engine.pack_state import PackState, Start
from phasecube.engine.record import Outcome
from phasecube.engine.recording import Recorder, Rows, engine_values
from phasecube.engine.refill import Entry, Queue, entry_period
from phasecube.engine.step import StepEngine, step_engine

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
    keeper: Keeper | None = None


class Group:
    """Lanes with their engine and update rule; trials leave as they end, and others enter."""

    def __init__(
        self,
        experiment: Experiment,  # type: ignore[type-arg]
        entry: Entry,
        choice: EngineChoice,
        recorder: Recorder,
        queue: Queue | None,
    ) -> None:
        self._experiment = experiment
        self._model = entry.model
        self._choice = choice
        self._recorder = recorder
        self._queue = queue
        self.n_steps = int(entry.state.trials.static["steps"])
        looks = recorder.looks(self.n_steps)
        self._looks: list[int] = looks.tolist()
        self._period = entry_period(looks, self.n_steps)
        self._loss_above = recorder.stop.loss_above
        on_cpu = entry.state.weights_KP.device.type == "cpu"
        self._look_every = LOOK_EVERY_CPU if on_cpu else LOOK_EVERY_GPU
        self._entered_s_K = time.monotonic() - entry.elapsed_s_K
        self._adopt(entry.state, np.arange(len(entry.state)))

    def _adopt(self, all_lanes: PackState, keep: Rows) -> Tensor:
        """Go on with the lanes at `keep`; return the places that the new rows were taken from."""
        choice = self._choice
        places = with_spare(choice, keep)
        self.n_lanes = len(keep)  # spare lanes come after these
        self._entered_s_K = self._entered_s_K[keep]
        alike = np.array_equal(places, np.arange(len(all_lanes)))
        self.state = state = all_lanes if alike else all_lanes.take(places)
        self._descent = Descent(state)
        self._engine: StepEngine = step_engine(choice, self._experiment, self._model, state)
        return torch.from_numpy(places).to(state.weights_KP.device)

    def train(self, watch: Watch) -> bool:
        """Return True once every lane is settled, False when the signal came.

        After False each lane stands before a step and has been saved.
        """
        saved_s = time.monotonic()
        steps_to_look, counted = 0, 0
        while True:
            gradient_KP, keep = self._gradient(watch, look=steps_to_look == 0)
            if steps_to_look == 0:
                watch.on_record(counted)
                counted = 0
                if not len(keep):
                    return True
                gradient_KP = self._change(keep, gradient_KP, watch)
                steps_to_look = self._steps_to_look()
            self._descent.step(self._engine, gradient_KP)
            steps_to_look -= 1
            counted += self.n_lanes
            told = watch.signal()
            if told or time.monotonic() - saved_s >= watch.checkpoint_every_s:
                saved_s = time.monotonic()
                watch.save(self)
                if told:
                    watch.on_record(counted)
                    return False

    def _gradient(self, watch: Watch, *, look: bool) -> tuple[Tensor, Rows]:
        """Return the gradients at each lane's step, and which lanes go on as far as is known."""
        if watch.keeper is not None:
            self._keep(watch.keeper)  # before: a forward pass may change buffers
        self._engine.collect()
        losses_K, gradient_KP = self._engine.gradient()
        self._note_ended(losses_K)
        if not look:
            return gradient_KP, np.arange(self.n_lanes)
        return gradient_KP, self._look(losses_K, gradient_KP, watch.trial_walltime_s)

    def _keep(self, keeper: Keeper) -> None:
        """Hand over the states that are to be kept of the lanes that stand before such a step."""
        steps_K = self.state.host_steps_K[: self.n_lanes]
        for step in sorted(keeper.steps.intersection(np.unique(steps_K).tolist())):
            # One that has ended goes on until the next look, and is no state to begin in.
            live_K = self.state.ended_at_K[: self.n_lanes].cpu().numpy() < 0
            rows_K = self.state.trials.lanes[: self.n_lanes]
            keeper.take(
                step,
                {
                    int(row): self.state.lane(place)
                    for place, row in enumerate(rows_K)
                    if live_K[place]
                    and steps_K[place] == step
                    and step in keeper.steps_of.get(int(row), ())
                },
            )

    def _change(self, keep: Rows, gradient_KP: Tensor, watch: Watch) -> Tensor:
        """Let lanes leave and newcomers enter; return the gradients of those that now train."""
        indices = self._newcomers(keep)
        if len(indices):
            found = self._take_in(indices, keep, gradient_KP, watch)
            if found is not None:
                return found
        if len(keep) < self.n_lanes:
            return gradient_KP[self._adopt(self.state, keep)]
        return gradient_KP

    def _newcomers(self, keep: Rows) -> Rows:
        """Return the trials, by their place among the pack's, that are to take free lanes."""
        standing = int(self.state.host_steps_K[keep[0]])
        if self._queue is None or standing % self._period:
            return keep[:0]
        return self._queue.for_lanes(self._choice.lanes - len(keep), self._choice.lanes)

    def _take_in(
        self, indices: Rows, keep: Rows, gradient_KP: Tensor, watch: Watch
    ) -> Tensor | None:
        """Join the lanes at `keep` and newcomers; return their gradients.

        None where the newcomers raise: they are tried without this company, and told of.
        """
        queue = self._queue
        assert queue is not None
        try:
            # Their first gradient by themselves: those that stay have one of this step already.
            others = Group(
                self._experiment, queue.enter(indices), self._choice, self._recorder, None
            )
            others_gradient_KP, others_keep = others._gradient(watch, look=True)
            joined = self.state.take(keep).joined(others.state.take(others_keep))
        except (CheckpointError, StoreError, JudgeError):
            raise
        except Exception:  # noqa: BLE001 user code may raise anything; it is run again, and told
            queue.set_aside(indices)
            return None
        entered_s_K = [self._entered_s_K[keep], others._entered_s_K[others_keep]]
        self._entered_s_K = np.concatenate(entered_s_K)
        both_KP = torch.cat([gradient_KP[keep], others_gradient_KP[others_keep]])
        return both_KP[self._adopt(joined, np.arange(len(joined)))]

    def standing(self) -> dict[int, Start]:
        """Return where each lane stands, by its row of the pack."""
        elapsed_s_K = time.monotonic() - self._entered_s_K
        rows = self.state.trials.lanes[: self.n_lanes].tolist()
        return {
            row: Start(self.state.lane(place), float(elapsed_s_K[place]))
            for place, row in enumerate(rows)
        }

    def _steps_to_look(self) -> int:
        steps: set[int] = set(self.state.host_steps_K[: self.n_lanes].tolist())
        looks = self._looks
        return min(self._look_every, *(looks[bisect_right(looks, s)] - s for s in steps))

    def _note_ended(self, losses_K: Tensor) -> None:
        bad_K = ~losses_K.isfinite()
        if self._loss_above is not None:
            bad_K |= losses_K > self._loss_above
        ended_K = self.state.ended_at_K
        # On the device: a look from the host at every step would stall a GPU.
        ended_K.copy_(torch.where(bad_K & (ended_K < 0), self.state.steps_K, ended_K))

    def _look(self, losses_K: Tensor, gradient_KP: Tensor, walltime_s: float | None) -> Rows:
        """Settle lanes that ended, record those at a recorded step; return who goes on."""
        recorder = self._recorder
        rows_K = self.state.trials.lanes[: self.n_lanes]
        steps_K = self.state.host_steps_K[: self.n_lanes]
        ended_K = self.state.ended_at_K[: self.n_lanes].cpu().numpy()
        live_K = ended_K < 0
        if not live_K.all():
            recorder.settle(rows_K[~live_K], Outcome.DIVERGED, ended_K[~live_K])
        steps = sorted(set(steps_K[live_K].tolist()))  # one, mostly: all entered together
        together: dict[frozenset[str], list[int]] = {}
        for step in steps:
            together.setdefault(recorder.wanted(step), []).append(step)
        for wanted, at in together.items():
            if wanted:
                chosen_K = live_K if at == steps else live_K & np.isin(steps_K, at)
                measured = np.flatnonzero(chosen_K)
                values = self._values(wanted, measured, losses_K, gradient_KP)
                for step in at:
                    self._record(step, measured, values, live_K, losses_K, gradient_KP)
        for step in steps:
            if step != self.n_steps and step not in recorder.rungs:
                continue
            here = np.flatnonzero(live_K & (steps_K == step))
            outcome = Outcome.DONE
            if step != self.n_steps:
                here, outcome = here[recorder.pruned(step, rows_K[here])], Outcome.PRUNED
            recorder.settle(rows_K[here], outcome, step)
            live_K[here] = False
        if walltime_s is not None:
            late_K = live_K & (time.monotonic() - self._entered_s_K > walltime_s)
            recorder.settle(rows_K[late_K], Outcome.TIMED_OUT, steps_K[late_K])
            live_K &= ~late_K
        return np.flatnonzero(live_K)

    def _record(
        self,
        step: int,
        measured: Rows,
        values: dict[str, np.ndarray],
        live_K: np.ndarray,
        losses_K: Tensor,
        gradient_KP: Tensor,
    ) -> None:
        """Write what the lanes at `step` measured; settle those whose target is reached."""
        recorder, rows_K = self._recorder, self.state.trials.lanes
        of_step = self.state.host_steps_K[measured] == step
        places = measured
        if not of_step.all():
            places = measured[of_step]
            values = {name: v[of_step] for name, v in values.items()}
        reached = places[recorder.write(step, rows_K[places], values)]
        if not len(reached):
            return
        left_out = recorder.left_out(step)
        if left_out:  # this is their last step
            more = self._values(left_out, reached, losses_K, gradient_KP)
            recorder.keep(step, rows_K[reached], more)
        recorder.settle(rows_K[reached], Outcome.DONE, step)
        live_K[reached] = False

    def _values(
        self, wanted: frozenset[str], places: Rows, losses_K: Tensor, gradient_KP: Tensor
    ) -> dict[str, np.ndarray]:
        """Return the wanted measures of the lanes at `places`."""
        found = engine_values(wanted, losses_K, gradient_KP, self.state.weights_KP)
        values = {name: value.cpu().numpy()[places] for name, value in found.items()}
        own = wanted.difference(ENGINE_MEASURES)
        if own:
            reads = reads_update(self._experiment, own)
            update_KP = self._descent.update(self._engine, gradient_KP) if reads else None
            if len(places) == self.n_lanes:
                found = self._engine.measure(own, gradient_KP, update_KP)
            else:
                # Measures may cost many steps: of these lanes only, in company enough.
                some = with_spare(replace(self._choice, compiled=False), places)
                index = torch.from_numpy(some).to(gradient_KP.device)
                update_KP = None if update_KP is None else update_KP[index]
                found = self._engine.measure(
                    own, gradient_KP[index], update_KP, self.state.take(some)
                )
            n = len(places)
            values |= {name: value[:n].cpu().numpy() for name, value in found.items()}
        return values
