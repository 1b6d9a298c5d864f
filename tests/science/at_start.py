"""Measure trials at their start, before any step: scalars and vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phasecube.engine.choice import EngineChoice
from phasecube.engine.experiment import Experiment
from phasecube.engine.pack_state import build_state
from phasecube.engine.params import parameters
from phasecube.engine.record import Engine
from phasecube.engine.step import step_engine
from phasecube.engine.trials import Trials


def measured(
    experiment: Experiment[Any], rows: list[dict[str, Any]], **fixed: Any
) -> dict[str, npt.NDArray[np.floating]]:
    """Return every measure of the experiment as [trials] or [trials, labels]."""
    known = parameters(experiment)
    values = {name: p.default for name, p in known.items()} | fixed
    static = {name: values[name] for name, p in known.items() if p.static}
    varying = {n: [{**values, **row}[n] for row in rows] for n, p in known.items() if not p.static}
    trials = Trials(np.arange(len(rows)), static, varying)
    state, model = build_state(experiment, trials, torch.device("cpu"))
    choice = EngineChoice(Engine.VMAP_FORWARD, len(rows), False, "asked for by a test")
    engine = step_engine(choice, experiment, model, state)
    engine.collect()
    _, gradient_KP = engine.gradient()
    found = engine.measure(frozenset(experiment.measures), gradient_KP)
    return {name: value.numpy() for name, value in found.items()}
