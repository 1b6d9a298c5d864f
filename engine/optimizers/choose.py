"""From a trial's run parameters to its update rule."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from phasecube.engine.errors import ExperimentError
from phasecube.engine.optimizers import OPTIMIZERS
from phasecube.engine.optimizers.clipping import ClippedGradient
from phasecube.engine.optimizers.per_weight import PerWeight
from phasecube.engine.optimizers.projection import OrthogonalGradient
from phasecube.engine.optimizers.rule import Hyperparameters, UpdateRule
from phasecube.engine.schedules import Lanes, Steps

if TYPE_CHECKING:
    from phasecube.engine.trials import Trials
    from phasecube.engine.weights import WeightLayout


def hyperparameters(
    trials: Trials,
    layout: WeightLayout,
    dtype: torch.dtype,
    device: torch.device,
    from_K: Steps | None = None,
) -> Hyperparameters:
    """Return what rules read of `trials`, which have made `from_K` steps (by default none).

    Raises ExperimentError where the optimizer is unknown.
    """
    name = trials.static["optimizer"]
    if name not in OPTIMIZERS:
        known = ", ".join(sorted(OPTIMIZERS))
        raise ExperimentError(f"optimizer: {name!r} is unknown; choose one of {known}")
    return Hyperparameters(trials, layout, dtype, device, from_K=from_K)


def update_rule(
    hyper: Hyperparameters, lr_factors: Mapping[str, Lanes] | None = None
) -> UpdateRule:
    """Return the rule that the trials ask for; `lr_factors` as `PerWeight` takes them."""
    module, _, attribute = OPTIMIZERS[hyper.static("optimizer")].path.partition(":")
    make: Callable[[Hyperparameters], UpdateRule] = getattr(
        importlib.import_module(module), attribute
    )
    rule = PerWeight(make, hyper, lr_factors) if lr_factors else make(hyper)
    if hyper.static("gradient_projection") == "orthogonal":
        rule = OrthogonalGradient(rule, hyper.layout.slices)
    if hyper.lanes("clip_norm").any():  # clipped before it is projected, which keeps its length
        rule = ClippedGradient(rule, hyper)
    return rule
