from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from engine_cases import Mlp, NoisyMlp, Quadratic, every_step, make_trials, run
from torch import Tensor, nn
from torch.func import grad

from phasecube.engine.admission import choose_engine
from phasecube.engine.choice import EngineChoice
from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment
from phasecube.engine.place_rounding import spare_lanes
from phasecube.engine.record import Engine, PackRecord


def choose(experiment: Experiment[Any], requested: Any = "auto", **more: Any) -> EngineChoice:
    activation = more.pop("activation", None)
    static = {} if activation is None else {"activation": activation}
    trials = make_trials(experiment, 8, {"seed": list(range(8))}, **static)
    return choose_engine(experiment, trials, "cpu", requested, **more)


class Branching(Mlp):
    """Asks for a number in the middle of the loss, which no lane of a pack has."""

    def loss(self, trial: Any) -> Tensor:
        loss = super().loss(trial)
        return loss if loss.item() > -1 else -loss


class Recurrent(Mlp):
    """An LSTM: its forward pass has no batching rule outside a gradient transform."""

    def model(self, params: Any) -> nn.Module:
        return nn.LSTM(1, 3)

    def loss(self, trial: Any) -> Tensor:
        output_R3, _ = trial.model(trial.data["x"])
        return output_R3.square().mean()

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        return {name: torch.zeros(()) for name in wanted}


class GradientInside(Mlp):
    """Takes a gradient of its own inside the loss, as a penalty on the slope does."""

    def loss(self, trial: Any) -> Tensor:
        x_R1 = trial.data["x"]
        slope = grad(lambda scale: trial.model(scale * x_R1).mean())(torch.ones_like(x_R1[0, 0]))
        return super().loss(trial) + slope.square()


class Counting(Mlp):
    """Replaces a buffer instead of writing into it: lost under functional_call."""

    def model(self, params: Any) -> nn.Module:
        class Counter(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = nn.Linear(1, 1)
                self.register_buffer("count", torch.zeros(()))

            def forward(self, x_R1: Tensor) -> Tensor:
                self.count = self.count + 1
                return self.inner(x_R1)

        return Counter()


class Normalised(Mlp):
    """Batch normalisation: buffers written in place."""

    def model(self, params: Any) -> nn.Module:
        return nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


class Dropping(Mlp):
    """nn.Dropout draws from torch's generator, which lanes do not have."""

    def model(self, params: Any) -> nn.Module:
        return nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1))


class Broken(Mlp):
    def loss(self, trial: Any) -> Tensor:
        raise ValueError("not written yet")


@pytest.mark.parametrize("requested", ["vmap", "vmap_gradient"])
def test_a_loss_with_a_gradient_inside_is_probed_like_any_other(requested: str) -> None:
    assert "lanes train" in choose(GradientInside(), requested).reason


@pytest.mark.parametrize(
    "experiment", [Mlp(), NoisyMlp(), Normalised()], ids=lambda e: type(e).__name__
)
def test_an_ordinary_module_is_admitted_to_the_vmapped_forward_pass(experiment) -> None:
    assert choose(experiment, "vmap").engine is Engine.VMAP_FORWARD


@pytest.mark.parametrize(
    ("experiment", "reason"),
    [(Branching(), "item"), (Counting(), "buffer count"), (Dropping(), "random")],
    ids=lambda e: type(e).__name__,
)
def test_what_no_pack_can_run_is_run_one_after_another_and_why_is_said(experiment, reason) -> None:
    choice = choose(experiment)
    assert choice.engine is Engine.SEQUENTIAL
    assert reason in choice.reason


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_operations_that_round_by_place_get_spare_lanes(activation: str) -> None:
    # 21 rows of 13 units, 273 numbers a lane: one spare lane holds the 31 of a scalar rest.
    choice = choose(Mlp(), "vmap", activation=activation)
    assert choice.engine is Engine.VMAP_FORWARD
    assert choice.spare == 1
    assert choose(Mlp(), "vmap").spare == 0


class RoundedByPlace(Mlp):
    """Measures what torch rounds otherwise at the end of a tensor than before it."""

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        found = super().measure(trial, wanted)
        return {name: value.abs() ** 1.7 for name, value in found.items()}


def test_measures_that_round_by_place_get_spare_lanes_too() -> None:
    # One number a lane: all 31 of a scalar rest may be lanes.
    assert choose(RoundedByPlace(), "vmap").spare == 31


def test_a_requested_engine_that_cannot_run_is_an_error_with_the_reason() -> None:
    with pytest.raises(ExperimentError, match=r"engine = 'vmap' cannot run.*item"):
        choose(Branching(), "vmap")


def test_code_that_fails_alone_is_left_to_fail_trial_by_trial() -> None:
    choice = choose(Broken())
    assert choice.engine is Engine.SEQUENTIAL
    assert "not written yet" in choice.reason


def test_the_requested_lanes_are_kept() -> None:
    assert choose(Quadratic(), "vmap", lanes=5).lanes == 5


def test_a_sequential_run_needs_no_trial() -> None:
    assert choose(Broken(), "sequential").engine is Engine.SEQUENTIAL


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_pack_is_the_eager_one_to_rounding_and_its_lanes_are_their_own() -> None:
    experiment = NoisyMlp()
    columns = {"seed": [i % 3 for i in range(8)], "lr": np.linspace(1e-3, 0.05, 8).tolist()}
    trials = make_trials(experiment, 8, columns, dtype="float64")
    choice = choose_engine(experiment, trials, requested="vmap", lanes=8, compile=True)
    assert choice.compiled, choice.reason
    rule = every_step(experiment, 20)
    records = [
        run(experiment, some, rule=rule, choice=one, record=PackRecord.empty(8, rule))
        for some, one in (
            (trials, choice),
            (trials.take([5, 2]), choice),
            (trials, replace(choice, compiled=False)),
        )
    ]
    compiled, few, eager = (record.scalars_RMS for record in records)
    assert np.array_equal(few[[5, 2]], compiled[[5, 2]])
    # As for the other engines: 20 steps of some 10^3 operations of 1e-16.
    np.testing.assert_allclose(compiled, eager, rtol=1e-9)


@pytest.mark.parametrize(
    ("operation", "n", "spare"),
    [
        (torch.tanh, 40, 0),
        (torch.sigmoid, 40, 1),
        (lambda x: x.sigmoid(), 10, 4),
        (nn.functional.silu, 31, 1),
        (nn.GELU(), 1, 31),
        (lambda x: x**2, 1, 0),
        (lambda x: x.abs() ** 1.5, 20, 2),
        (lambda x: 2**x, 40, 1),
    ],
)
def test_a_scalar_rest_falls_into_spare_lanes_only(operation, n: int, spare: int) -> None:
    x_Kn = torch.randn(4, n)
    assert spare_lanes(lambda: torch.func.vmap(operation)(x_Kn)) == spare
