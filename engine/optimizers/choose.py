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


def update_rule(
    trials: Trials, layout: WeightLayout, dtype: torch.dtype, device: torch.device
) -> UpdateRule:
    """Return the rule that `trials` ask for; raise ExperimentError where there is none."""
    name = trials.static["optimizer"]
    if name not in OPTIMIZERS:
        known = ", ".join(sorted(OPTIMIZERS))
        raise ExperimentError(f"optimizer: {name!r} is unknown; choose one of {known}")
    hyper = Hyperparameters(trials, layout, dtype, device)
    module, _, attribute = OPTIMIZERS[name].path.partition(":")
    rule: UpdateRule = getattr(importlib.import_module(module), attribute)(hyper)
    if trials.static["gradient_projection"] == "orthogonal":
        rule = OrthogonalGradient(rule, layout.slices)
    if hyper.lanes("clip_norm").any():  # clipped before it is projected, which keeps its length
        rule = ClippedGradient(rule, hyper)
    return rule
