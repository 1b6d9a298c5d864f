"""What an experiment answers of one trial, held to the contract: loss, measures, buffers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phasecube.engine.draws import own_params
from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment
from phasecube.engine.lane_trial import LaneTrial
from phasecube.engine.measures import general_values, split
from phasecube.engine.pack_state import PackState

Tensors = Mapping[str, Tensor]


def scalar_loss(experiment: Experiment[Any], trial: LaneTrial) -> Tensor:
    """Return the experiment's loss; raise ExperimentError where it is no scalar."""
    loss = experiment.loss(trial)
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ExperimentError(
            f"{experiment.name}: loss() must return a tensor without dims, got {got}; "
            "reduce it, for example by .mean()"
        )
    return loss


def chosen_measures(
    experiment: Experiment[Any], trial: LaneTrial, wanted: frozenset[str]
) -> dict[str, Tensor]:
    """Return exactly the wanted measures; raise ExperimentError for one that is not given."""
    own, general = split(experiment, wanted)
    found = dict(experiment.measure(trial, own)) if own else {}
    found |= general_values(experiment, trial, general)
    missing = sorted(wanted - found.keys())
    if missing:
        raise ExperimentError(
            f"{experiment.name}: measure() gave no {', '.join(missing)}; it must return every "
            "wanted measure"
        )
    return {name: torch.as_tensor(found[name]) for name in sorted(wanted)}


class Due:
    """Which lanes of a state stand at a step at which their experiment collects."""

    def __init__(self, experiment: Experiment[Any], state: PackState) -> None:
        self._state = state
        self._every = experiment.collect_every(own_params(experiment, state.trials, 0))

    def lanes(self) -> npt.NDArray[np.bool_]:
        """Return the lanes, [K]."""
        steps_K = self._state.host_steps_K
        due_K: npt.NDArray[np.bool_] = (
            steps_K % self._every == 0 if self._every else np.zeros(len(steps_K), bool)
        )
        return due_K


def collected(experiment: Experiment[Any], trial: LaneTrial) -> Tensors:
    """Return what `collect` gives; raise ExperimentError where it fits no buffer."""
    found = experiment.collect(trial)
    for name, tensor in found.items():
        kept = trial.buffers.get(name)
        if kept is None:
            raise ExperimentError(
                f"{experiment.name}: collect() returned {name!r}, which is no buffer of the "
                f"module; there are: {', '.join(trial.buffers) or 'none'}"
            )
        if (tensor.shape, tensor.dtype) != (kept.shape, kept.dtype):
            raise ExperimentError(
                f"{experiment.name}: collect() must return {name} as the buffer is, "
                f"{tuple(kept.shape)} of {kept.dtype}, got {tuple(tensor.shape)} of {tensor.dtype}"
            )
    return found
