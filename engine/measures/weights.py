"""Sizes of the weights, of their gradients and of the coming update, one number a tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from phasecube.engine.experiment import Experiment, Trial
from phasecube.engine.measures.activations import rms


def rms_per_weight(
    experiment: Experiment[Any],  # noqa: ARG001 what every general measure is given
    trial: Trial,
    wanted: frozenset[str],
) -> dict[str, Tensor]:
    """Return the root mean square of each trained tensor, of its gradient, of its update."""
    found = {}
    if "weight_rms_per_weight" in wanted:
        found["weight_rms_per_weight"] = _rms(trial.weights)
    if "gradient_rms_per_weight" in wanted:
        found["gradient_rms_per_weight"] = _rms(trial.gradient)
    if "update_rms_per_weight" in wanted:
        found["update_rms_per_weight"] = _rms(trial.update)
    return found


def weight_names(experiment: Experiment[Any], params: Any) -> tuple[str, ...]:
    """Return the names of the trained weights, in their order; no memory is taken for them."""
    with torch.device("meta"):
        model = experiment.model(params)
    return tuple(name for name, weight in model.named_parameters() if weight.requires_grad)


def _rms(tensors: Any) -> Tensor:
    # float64: squares of a large float32 gradient overflow before the loss does.
    return torch.stack([rms(t.double()) for t in tensors.values()])
