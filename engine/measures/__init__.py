"""General measures: what every Experiment class has beside its own, asked for by name.

One line each: name -> (Measure, "module:function"). `function(experiment, trial, wanted)`
returns at least the `wanted` measures of one trial; `trial.at(weights)` makes
`experiment.loss` a function of the weights. A measure of the same name that an experiment
declares itself stands before it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from phasecube.engine.experiment import Measure

_HERE = "phasecube.engine.measures"
_OF_WEIGHTS = f"{_HERE}.weights:rms_per_weight"
WEIGHT_DIM = "weight"  # its labels are the names of the trained weights


_CURVATURE = f"{_HERE}.curvature:curvature"
_LANCZOS, _PROBES, _BATCHES = 40, 32, 32  # gradients that cost about as much
_OF_ADAM: dict[str, Any] = {"optimizers": ("adam", "adamw")}  # what they divide by is known


def _rms(of: str, **more: Any) -> Measure:
    return Measure(f"root mean square of the {of} of each weight", "1", WEIGHT_DIM, False, **more)


def _costly(long_name: str, gradients: float, **more: Any) -> Measure:
    return Measure(long_name, recorded=False, cost=gradients, **more)


GENERAL_MEASURES: Mapping[str, tuple[Measure, str]] = {
    "weight_rms_per_weight": (_rms("entries"), _OF_WEIGHTS),
    "gradient_rms_per_weight": (_rms("gradient"), _OF_WEIGHTS),
    "update_rms_per_weight": (_rms("coming update", cost=1, of_update=True), _OF_WEIGHTS),
    "sharpness": (_costly("sharpness: largest eigenvalue of the Hessian", _LANCZOS), _CURVATURE),
    "sharpness_residual": (
        _costly("distance of the sharpness to an eigenvalue, at most", _LANCZOS),
        _CURVATURE,
    ),
    "preconditioned_sharpness": (
        _costly("largest eigenvalue of Adam's P^-1 times the Hessian", _LANCZOS, **_OF_ADAM),
        _CURVATURE,
    ),
    "preconditioned_sharpness_residual": (
        _costly(
            "distance of the preconditioned sharpness to an eigenvalue, at most",
            _LANCZOS,
            **_OF_ADAM,
        ),
        _CURVATURE,
    ),
    "hessian_trace": (_costly("trace of the Hessian", _PROBES), _CURVATURE),
    "hessian_trace_error": (
        _costly("standard error of the trace of the Hessian", _PROBES),
        _CURVATURE,
    ),
    "batch_sharpness": (
        _costly("curvature along the gradient of a batch, mean over batches", _BATCHES),
        f"{_HERE}.curvature:batch_sharpness",
    ),
}


def is_general(experiment: Any, name: str) -> bool:
    """Return whether `name` is a general measure and none of the experiment's own."""
    return name in GENERAL_MEASURES and name not in experiment.measures


def split(experiment: Any, wanted: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the experiment's own of the wanted measures, and the general ones."""
    general = frozenset(name for name in wanted if is_general(experiment, name))
    return wanted - general, general


def reads_update(experiment: Any, wanted: frozenset[str]) -> bool:
    """Return whether one of the wanted measures reads `trial.update`."""
    own, general = split(experiment, wanted)
    return any(GENERAL_MEASURES[name][0].of_update for name in general) or any(
        experiment.measures[name].of_update for name in own if name in experiment.measures
    )


def general_values(experiment: Any, trial: Any, wanted: frozenset[str]) -> dict[str, Any]:
    """Return the wanted general measures of one trial; each function is called once."""
    by_function: dict[str, set[str]] = {}
    for name in sorted(wanted):
        by_function.setdefault(GENERAL_MEASURES[name][1], set()).add(name)
    found: dict[str, Any] = {}
    for path, names in by_function.items():
        module, _, attribute = path.partition(":")
        function = getattr(importlib.import_module(module), attribute)
        found |= function(experiment, trial, frozenset(names))
    return found


def labels(experiment: Any, name: str, params: Any) -> tuple[str, ...]:
    """Return the labels of a vector measure, general or the experiment's own."""
    if is_general(experiment, name):
        from phasecube.engine.measures.weights import weight_names

        return weight_names(experiment, params)
    found: tuple[str, ...] = experiment.labels(name, params)
    return found
