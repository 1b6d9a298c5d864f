"""How many trials to train at once: timed steps of 1, 2, 4, … lanes and of one plain trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from phasecube.engine.choice import EngineChoice, with_spare
from phasecube.engine.descent import Descent
from phasecube.engine.experiment import Experiment
from phasecube.engine.measures import reads_update
from phasecube.engine.out_of_memory import is_out_of_memory
from phasecube.engine.pack_state import build_state
from phasecube.engine.record import Engine
from phasecube.engine.step import step_engine
from phasecube.engine.trials import Trials

GAIN = 1.10  # twice the lanes must train this much faster to be worth their memory
MISSES = 2  # in a row, because a busy machine may spoil one timing
TIMED_S = 0.03  # of steps for each number of lanes, after one that is not timed
MIN_STEPS = 3
N_TURNS = 3
WORTHWHILE = 1.05  # below, one plain trial after another is as fast and needs less memory
ONE_PLAIN = EngineChoice(Engine.SEQUENTIAL, 1, False, "one plain trial after another")
MEMORY_SHARE = 0.25  # of what is free: other workers of this machine take their part
MEMORY_FACTOR = 2.0  # measured use over predicted: 1.4 to 3.7 (allocator, temporaries)


class TrialSteps:
    """Lanes that train from step 0, recording nothing."""

    def __init__(
        self,
        experiment: Experiment[Any],
        trials: Trials,
        choice: EngineChoice,
        device: torch.device,
    ) -> None:
        self._experiment = experiment
        self.n_lanes = len(trials)
        trials = trials.take(with_spare(choice, np.arange(len(trials))))
        self.state, model = build_state(experiment, trials, device)
        state = self.state
        self.engine = step_engine(choice, experiment, model, state)
        self._descent = Descent(state)

    def step(self, keep: Callable[[Tensor], None] = lambda gradient_KP: None) -> Tensor:  # noqa: ARG005
        """Train one step and return the losses [K] it started from; `keep` sees the gradient."""
        self.engine.collect()
        losses_K, gradient_KP = self.engine.gradient()
        keep(gradient_KP)
        self._descent.step(self.engine, gradient_KP)
        return losses_K

    def measure(self, wanted: frozenset[str], gradient_KP: Tensor) -> dict[str, Tensor]:
        """Return the wanted measures at the lanes' step."""
        reads = reads_update(self._experiment, wanted)
        update_KP = self._descent.update(self.engine, gradient_KP) if reads else None
        return self.engine.measure(wanted, gradient_KP, update_KP)

    def rate(self) -> float:
        """Return trial-steps per second: lanes over the fastest of a few steps."""
        on_one_core = self.state.weights_KP.device.type == "cpu" and torch.get_num_threads() == 1
        # The thread's own time: on a busy machine waiting for a core would decide the probe.
        clock = time.thread_time if on_one_core else time.perf_counter
        self.step()
        fastest_s, total_s, n = float("inf"), 0.0, 0
        while n < MIN_STEPS or total_s < TIMED_S:
            began_s = clock()
            self.step().cpu()  # waits for a GPU
            step_s = clock() - began_s
            fastest_s, total_s, n = min(fastest_s, step_s), total_s + step_s, n + 1
        return self.n_lanes / fastest_s


def probe(
    experiment: Experiment[Any],
    trials: Trials,
    choice: EngineChoice,
    device: torch.device,
    *,
    may_decline: bool,
) -> tuple[int, str]:
    """Return the number of lanes for `choice` and why; 0 where plain trials are faster."""
    alone = TrialSteps(experiment, trials.take([0]), ONE_PLAIN, device)
    most = min(len(trials), _lanes_that_fit(experiment, trials, choice, device))
    best, best_rate, lanes, misses = 1, 0.0, min(2, most), 0
    while misses < MISSES:
        try:
            steps = TrialSteps(experiment, trials.take(np.arange(lanes)), choice, device)
            rate = steps.rate()
        except Exception as error:
            if is_out_of_memory(error):
                break
            raise
        if rate > GAIN * best_rate:
            best, best_rate, misses = lanes, rate, 0
        else:
            misses += 1
        if lanes == most:
            break
        lanes = min(2 * lanes, most)
    # Timed again in turns, because machines grow slower and faster while one looks.
    packed = TrialSteps(experiment, trials.take(np.arange(best)), choice, device)
    rates = [(packed.rate(), alone.rate()) for _ in range(N_TURNS)]
    gain = max(rate for rate, _ in rates) / max(rate for _, rate in rates)
    if may_decline and gain < WORTHWHILE:
        return 0, f"{best} lanes train at {gain:.2f} of the rate of one plain trial after another"
    return best, f"{best} lanes train {gain:.1f} times as fast as one plain trial after another"


def _lanes_that_fit(
    experiment: Experiment[Any], trials: Trials, choice: EngineChoice, device: torch.device
) -> int:
    """Return how many lanes the free memory holds, from what one lane keeps."""
    one = TrialSteps(experiment, trials.take([0]), choice, device)
    saved = _saved_bytes(one)
    state = one.state
    kept = [state.weights_KP] * 3 + [*state.moments.values(), *state.data.values()]
    size = sum(t.numel() * t.element_size() for t in kept) + saved
    per_lane = MEMORY_FACTOR * size / len(state)
    return max(1, int(MEMORY_SHARE * free_bytes(device) / per_lane))


def _saved_bytes(steps: TrialSteps) -> int:
    """Return the bytes that one step keeps for its backward pass."""
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    class Outputs(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            found = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(found):
                if isinstance(tensor, Tensor):
                    count(tensor)
            return found

    try:
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            steps.step()
    except RuntimeError as error:
        # torch.func.grad, in the engine or in the loss, allows no such hooks. All addresses
        # that hold a result are somewhat more than what is kept: memory is used again.
        if "saved tensor hooks" not in str(error):
            raise
        sizes.clear()
        with Outputs():  # type: ignore[no-untyped-call]
            steps.step()
    return sum(sizes.values())


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on the device or, for the CPU, on this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with Path("/proc/meminfo").open(encoding="ascii") as lines:
        found = {name: rest for name, _, rest in (line.partition(":") for line in lines)}
    return int(found["MemAvailable"].split()[0]) * 1024
