"""From a trial's run parameters to its update rule."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from phasecube.engine.errors import ExperimentError
from phasecube.engine.optimizers import OPTIMIZERS
from phasecube.engine.optimizers.projection import OrthogonalGradient
from phasecube.engine.optimizers.rule import Hyperparameters, UpdateRule

if TYPE_CHECKING:
    from phasecube.engine.trials import Trials


def update_rule(
    trials: Trials, slices: Sequence[slice], dtype: torch.dtype, device: torch.device
) -> UpdateRule:
    """Return the rule that `trials` ask for; `slices` are the places of the weight tensors."""
    name = trials.static["optimizer"]
    if name not in OPTIMIZERS:
        known = ", ".join(sorted(OPTIMIZERS))
        raise ExperimentError(f"optimizer: {name!r} is unknown; choose one of {known}")
    module, _, attribute = OPTIMIZERS[name].path.partition(":")
    rule: UpdateRule = getattr(importlib.import_module(module), attribute)(
        Hyperparameters(trials, dtype, device)
    )
    if trials.static["gradient_projection"] == "orthogonal":
        return OrthogonalGradient(rule, slices)
    return rule
