"""From a trial's run parameters to its update rule."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import torch

from phasecube.engine.errors import ExperimentError
from phasecube.engine.optimizers import OPTIMIZERS
from phasecube.engine.optimizers.clipping import ClippedGradient
from phasecube.engine.optimizers.projection import OrthogonalGradient
from phasecube.engine.optimizers.rule import Hyperparameters, UpdateRule

if TYPE_CHECKING:
    from phasecube.engine.trials import Trials
    from phasecube.engine.weights import WeightLayout


def hyperparameters(
    trials: Trials, layout: WeightLayout, dtype: torch.dtype, device: torch.device
) -> Hyperparameters:
    """Return what rules read of `trials`; raise ExperimentError where the optimizer is unknown."""
    name = trials.static["optimizer"]
    if name not in OPTIMIZERS:
        known = ", ".join(sorted(OPTIMIZERS))
        raise ExperimentError(f"optimizer: {name!r} is unknown; choose one of {known}")
    return Hyperparameters(trials, layout, dtype, device)


def update_rule(hyper: Hyperparameters) -> UpdateRule:
    """Return the rule that the trials ask for."""
    module, _, attribute = OPTIMIZERS[hyper.static("optimizer")].path.partition(":")
    rule: UpdateRule = getattr(importlib.import_module(module), attribute)(hyper)
    if hyper.static("gradient_projection") == "orthogonal":
        rule = OrthogonalGradient(rule, hyper.layout.slices)
    if hyper.lanes("clip_norm").any():  # clipped before it is projected, which keeps its length
        rule = ClippedGradient(rule, hyper)
    return rule
