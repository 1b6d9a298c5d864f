"""`trial.at(weights)`: the step's loss as a function of the weights, inside `measure`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from engine_cases import MlpParams, NoisyMlp, every_step, make_trials, run, scalar
from torch import Tensor, nn
from torch.func import grad, jvp, vjp

from phasecube.engine.experiment import Measure
from phasecube.engine.record import Engine

ENGINES = {Engine.VMAP_FORWARD: 3, Engine.VMAP_GRADIENT: 3, Engine.SEQUENTIAL: 1}


class Probed(NoisyMlp):
    """Minibatches and dropout from the trial's stream, so equal losses need equal draws."""

    name = "probed"
    measures: ClassVar[dict[str, Measure]] = {
        "here": Measure("loss at the trial's own weights"),
        "shrunk": Measure("loss at half the weights"),
        "first": Measure("loss at half the first weight"),
        "gradient_gap": Measure("largest difference from trial.gradient"),
        "curvature": Measure("g' H g by forward over reverse"),
        "curvature_reverse": Measure("g' H g by reverse over reverse"),
    }

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        def loss(weights: dict[str, Tensor]) -> Tensor:
            return self.loss(trial.at(weights))

        w, g = dict(trial.weights), dict(trial.gradient)
        found = grad(loss)(w)
        _, forward = jvp(grad(loss), (w,), (g,))
        _, pull = vjp(grad(loss), w)
        return {
            "here": self.loss(trial),
            "shrunk": loss({n: t / 2 for n, t in w.items()}),
            "first": loss({"0.weight": w["0.weight"] / 2}),
            "gradient_gap": torch.stack([(found[n] - g[n]).abs().max() for n in g]).max(),
            "curvature": sum((forward[n] * g[n]).sum() for n in g),
            "curvature_reverse": sum((pull(g)[0][n] * g[n]).sum() for n in g),
        }


@pytest.mark.parametrize("engine", ENGINES)
def test_the_loss_at_other_weights_and_its_derivatives_are_those_of_the_step(
    engine: Engine,
) -> None:
    experiment = Probed()
    trials = make_trials(experiment, 3, {"seed": [0, 1, 2]}, dtype="float64", steps=4)
    rule = every_step(experiment, 4)
    record = run(experiment, trials, engine=engine, lanes=ENGINES[engine], rule=rule)

    def of(name: str) -> np.ndarray:
        return scalar(record, rule, name)

    # eval() changes nothing in this model, and the draws are those of the step.
    np.testing.assert_allclose(of("here"), of("train_loss"), rtol=1e-14)
    assert of("gradient_gap").max() < 1e-14
    assert (of("shrunk") != of("here")).all() and (of("first") != of("shrunk")).all()
    np.testing.assert_allclose(of("curvature"), of("curvature_reverse"), rtol=1e-9)


class Normed(Probed):
    """A buffer and a frozen weight: they stay the trial's own at other weights."""

    name = "normed"

    def model(self, params: MlpParams) -> nn.Module:
        model = nn.Sequential(nn.Linear(1, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 1))
        model[3].bias.requires_grad_(False)
        return model

    def loss(self, trial: Any) -> Tensor:
        return (trial.model(trial.data["x"]) - trial.data["y"]).square().mean()

    measures: ClassVar[dict[str, Measure]] = {"gap": Measure("from the loss by hand")}

    def labels(self, measure: str, params: MlpParams) -> tuple[str, ...]:
        raise NotImplementedError

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        half = {n: t / 2 for n, t in trial.weights.items()}
        same = trial.at(half).at(dict(trial.weights))
        return {"gap": (self.loss(same) - self.loss(trial)).abs()}


@pytest.mark.parametrize("engine", ENGINES)
def test_buffers_and_frozen_weights_stay_at_other_weights(engine: Engine) -> None:
    experiment = Normed()
    trials = make_trials(experiment, 3, {"seed": [0, 1, 2]}, dtype="float64", steps=3)
    rule = every_step(experiment, 3)
    record = run(experiment, trials, engine=engine, lanes=ENGINES[engine], rule=rule)
    assert scalar(record, rule, "gap").max() == 0


def test_weights_of_another_name_or_shape_are_refused_by_name() -> None:
    class Wrong(NoisyMlp):
        given: ClassVar[dict[str, Tensor]] = {}

        def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
            return {"error": self.loss(trial.at(self.given))}

    for given, said in (
        ({"9.weight": torch.zeros(1)}, "no trained weight '9.weight'; there are: 0.weight"),
        ({"0.bias": torch.zeros(2)}, r"0.bias must have shape \(13,\), got \(2,\)"),
    ):
        Wrong.given = given
        with pytest.raises(AssertionError, match=said):
            run(Wrong(), make_trials(Wrong(), 1, steps=1))
