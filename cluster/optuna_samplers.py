"""The samplers of Optuna by phasecube's names, or by module:Class, with the sweep's options."""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from phasecube.cluster.optuna_trials import distribution
from phasecube.engine.errors import Fault, SpecError
from phasecube.sweeps.faults import suggest

if TYPE_CHECKING:
    import optuna

    from phasecube.sweeps.sweep import Sweep

CLASSES = {
    "tpe": "optuna.samplers:TPESampler",
    "gp": "optuna.samplers:GPSampler",
    "cmaes": "optuna.samplers:CmaEsSampler",
    "nsga2": "optuna.samplers:NSGAIISampler",
}
# What they know is in the values of the trials alone. All others note at every trial where they
# stand, and are asked again for the trials of before, batch by batch.
MEMORYLESS = ("tpe", "gp")
BATCH = 16  # points asked for at once where neither the sweep nor the sampler says


def batch_size(sweep: Sweep) -> int:
    """Return how many points are asked for at once, unless the budget ends before."""
    sampler = sweep.sampler
    assert sampler is not None
    if sampler.batch is not None:
        return sampler.batch
    if sampler.kind in ("grid", "random", "sobol"):
        return sampler.points  # they wait for no result
    if sampler.kind == "cmaes":  # a generation; of this size unless said otherwise
        generation = sampler.options.get("popsize", 4 + int(3 * math.log(len(sweep.searched))))
    elif sampler.kind == "nsga2":
        generation = sampler.options.get("population_size", 50)
    else:
        return BATCH
    return generation if isinstance(generation, int) and generation > 0 else BATCH


def make_sampler(sweep: Sweep, n_tried: int) -> optuna.samplers.BaseSampler:
    """Return the sweep's sampler, seeded by the sweep's seed and the number of points tried.

    Raises SpecError that names the option it does not take.
    """
    assert sweep.sampler is not None
    kind, options = sweep.sampler.kind, dict(sweep.sampler.options)
    made = _class(sweep)
    taken = inspect.signature(made).parameters
    faults = [_unknown(made, name, taken) for name in options if name not in taken]
    if "seed" in options:
        faults = [Fault("sampler.options.seed", "give it as sampler.seed"), *faults]
    if faults:
        raise SpecError(faults, sweep.name)
    if "seed" in taken:
        seeds = np.random.SeedSequence((sweep.sampler.seed, n_tried))
        options["seed"] = int(seeds.generate_state(1)[0])
    if kind == "tpe" and any(axis.condition for axis in sweep.searched):
        options = {"multivariate": True, "group": True, **options}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an option is experimental: the user chose it
            sampler: optuna.samplers.BaseSampler = made(**options)
    except (TypeError, ValueError) as error:
        raise SpecError([Fault("sampler.options", f"{made.__name__}: {error}")]) from error
    if kind == "cmaes":
        # Known from the start: the first generation is the sampler's own, not random points.
        space = {axis.name: distribution(axis) for axis in sweep.searched}
        known = {name: one for name, one in space.items() if not one.single()}
        sampler.__dict__["infer_relative_search_space"] = lambda study, trial: known  # noqa: ARG005
    return sampler


def _class(sweep: Sweep) -> Any:
    import optuna

    assert sweep.sampler is not None
    kind = sweep.sampler.kind
    module, _, name = CLASSES.get(kind, kind).partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"{kind!r} cannot be imported: {error}; give module:Class as Python finds it"
        raise SpecError([Fault("sampler.kind", message)], sweep.name) from error
    if not (isinstance(found, type) and issubclass(found, optuna.samplers.BaseSampler)):
        message = f"{kind!r} is no sampler of Optuna: derive it from optuna.samplers.BaseSampler"
        raise SpecError([Fault("sampler.kind", message)], sweep.name)
    return found


def _unknown(made: type, name: str, known: Any) -> Fault:
    names = [n for n in known if n != "seed"]
    return Fault(
        f"sampler.options.{name}", f"{made.__name__} takes no such option; {suggest(name, names)}"
    )
