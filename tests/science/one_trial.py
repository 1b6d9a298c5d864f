"""One trial at its start, outside of any engine: what `loss`, `collect` and `measure` see."""

from __future__ import annotations

from typing import Any

import torch
from torch.func import functional_call

from phasecube.engine.experiment import Experiment
from phasecube.engine.lane_trial import LaneParams, LaneTrial
from phasecube.engine.params import parameters
from phasecube.engine.streams import Stream, key_words


def one_trial(experiment: Experiment[Any], *, seed: int = 0, step: int = 0, **own: Any) -> Any:
    """Return the trial in float64 at its initial weights, with defaults beside `own`."""
    kind = experiment.params_type
    known = {n: v for n, v in experiment.defaults.items() if n in kind.model_fields}
    params = kind(**{**known, **own})
    assert params.faults() == []
    values = params.model_dump()
    model = experiment.model(params).double().eval()
    experiment.init(model, params, Stream(seed))
    buffers = dict(model.named_buffers())

    def call(weights: Any, inputs: Any) -> Any:
        return functional_call(model, {**weights, **buffers}, inputs)

    at = torch.tensor(step)
    rng = Stream.traced(torch.tensor(key_words(seed)), at, torch.float64)
    data = {
        name: tensor.double() if tensor.is_floating_point() else tensor
        for name, tensor in experiment.data(params, Stream(seed)).items()
    }
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    floats = [name for name in values if not parameters(experiment)[name].static]
    vector = torch.tensor([float(getattr(params, name)) for name in floats], dtype=torch.float64)
    seen = LaneParams(values, {name: i for i, name in enumerate(floats)}, vector)
    return LaneTrial(seen, data, weights, rng, at, call, buffers)
