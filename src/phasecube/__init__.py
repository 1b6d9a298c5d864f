"""Sweeps of training dynamics: from one TOML file to a phase diagram.

import phasecube

ds = phasecube.open("studies/grokking_onset")   # xarray.Dataset over the sweep's axes
ds.val_accuracy.isel(step=-1).median("seed")
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

# Read by MKL at its first product. Without it the last bits of a lane depend on where in memory
# it stands, on some processors (docs/decisions/0007); it costs nothing measurable.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

if TYPE_CHECKING:
    from phasecube.api import open, open_tree, run  # noqa: A004 phasecube.open(study) is what a user says
    from phasecube.cluster.study import Study
    from phasecube.engine.errors import PhasecubeError, SpecError
    from phasecube.engine.experiment import Experiment, Measure, Params
    from phasecube.engine.function_trial import experiment_function
    from phasecube.engine.record import Outcome
    from phasecube.sweeps.plan import Plan, expand
    from phasecube.sweeps.sweep import Sweep, read_sweep

# Imported when first used: `phasecube --help` and `status` need none of them.
_PLACES = {
    "open": "phasecube.api",
    "open_tree": "phasecube.api",
    "run": "phasecube.api",
    "Study": "phasecube.cluster.study",
    "PhasecubeError": "phasecube.engine.errors",
    "SpecError": "phasecube.engine.errors",
    "Experiment": "phasecube.engine.experiment",
    "Measure": "phasecube.engine.experiment",
    "Params": "phasecube.engine.experiment",
    "experiment_function": "phasecube.engine.function_trial",
    "Outcome": "phasecube.engine.record",
    "Plan": "phasecube.sweeps.plan",
    "expand": "phasecube.sweeps.plan",
    "Sweep": "phasecube.sweeps.sweep",
    "read_sweep": "phasecube.sweeps.sweep",
}

__all__ = [
    "Experiment",
    "Measure",
    "Outcome",
    "Params",
    "PhasecubeError",
    "Plan",
    "SpecError",
    "Study",
    "Sweep",
    "expand",
    "experiment_function",
    "open",
    "open_tree",
    "read_sweep",
    "run",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"phasecube has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
