"""A tangent vector that is trained along: exact growth, growth by hand, no chaos."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from packs import assert_same_bits_alone, grid, train
from torch import nn
from torch.func import functional_call

from phasecube.engine.errors import SpecError
from phasecube.engine.experiment import Experiment, Measure, Params
from phasecube.engine.experiments.mlp_regression import MlpRegression
from phasecube.engine.experiments.scalar_quartic import ScalarQuartic
from phasecube.engine.experiments.training_lyapunov import TrainingLyapunov, TrainingLyapunovParams
from phasecube.engine.measures.tangent import (
    add_tangent,
    carried_loss,
    fill_tangent,
    log_tangent,
    tangent_name,
)
from phasecube.sweeps.plan import expand
from phasecube.sweeps.sweep import parse_sweep

CURVATURE = (0.3, 1.0, 2.5)


class Bowl(Experiment[Params]):
    """sum h w^2 / 2, from (1, 1, 1), with a tangent."""

    name = "bowl"
    params_type = Params
    defaults: ClassVar[dict[str, Any]] = {"dtype": "float64"}
    measures: ClassVar[dict[str, Measure]] = {"log_tangent": Measure("log |v|")}

    def model(self, params: Params) -> nn.Module:
        model = nn.Module()
        model.w = nn.Parameter(torch.ones(3))
        add_tangent(model)
        return model

    def init(self, model: nn.Module, params: Params, stream: Any) -> None:
        with torch.no_grad():
            model.get_parameter("tangent_w").fill_(3**-0.5)

    def data(self, params: Params, stream: Any) -> dict[str, torch.Tensor]:
        return {"curvature": torch.tensor(CURVATURE, dtype=torch.float64)}

    def loss(self, trial: Any) -> torch.Tensor:
        return carried_loss(
            lambda w: (trial.data["curvature"] * w["w"].square()).sum() / 2, trial.weights
        )

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        return {"log_tangent": log_tangent(trial.weights)}


class QuarticTangent(ScalarQuartic):
    """The scalar quartic with a tangent."""

    name = "quartic_tangent"
    measures: ClassVar[dict[str, Measure]] = {
        **ScalarQuartic.measures,
        "log_tangent": Measure("log |v|"),
    }

    def model(self, params: Any) -> nn.Module:
        model = super().model(params)
        add_tangent(model)
        return model

    def init(self, model: nn.Module, params: Any, stream: Any) -> None:
        super().init(model, params, stream)
        fill_tangent(model, stream)

    def loss(self, trial: Any) -> torch.Tensor:
        plain = super().loss
        return carried_loss(lambda w: plain(trial.at(w)), trial.weights)

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        return super().measure(trial, wanted) | {"log_tangent": log_tangent(trial.weights)}


@pytest.mark.parametrize("lr", [0.1, 0.7, 0.85])
def test_on_a_quadratic_the_exponent_is_that_of_the_fastest_mode(lr: float) -> None:
    steps, found = train(Bowl(), [{"lr": lr}], 200)
    factor = np.abs(1 - lr * np.array(CURVATURE))
    length = np.log(np.sqrt((factor ** (2 * steps[:, None]) / 3).sum(-1)))
    np.testing.assert_allclose(found["log_tangent"][0], length, atol=1e-11)
    slope = np.diff(found["log_tangent"][0])[-1]
    # What is left of the second mode after 200 steps, squared.
    second = np.sort(factor)[-2] / factor.max()
    assert slope == pytest.approx(math.log(factor.max()), abs=second**400 + 1e-12)


def test_on_a_quadratic_heavy_ball_moves_the_tangent_by_its_own_map() -> None:
    lr, momentum = 0.3, 0.6
    _, found = train(Bowl(), [{"lr": lr}], 30, momentum=momentum)
    tangent, velocity = np.full(3, 3**-0.5), np.zeros(3)
    lengths = [0.0]
    for _ in range(30):
        velocity = momentum * velocity + np.array(CURVATURE) * tangent
        tangent = tangent - lr * velocity
        lengths.append(math.log(np.linalg.norm(tangent)))
    np.testing.assert_allclose(found["log_tangent"][0], lengths, atol=1e-11)


def test_in_one_weight_the_tangent_grows_by_the_slope_of_the_map() -> None:
    """At lr = 2 the map is the Chebyshev cubic: the sum telescopes to ln 3 but for its ends."""
    steps = 300
    _, found = train(QuarticTangent(), grid(seed=range(4)), steps, lr=2.0)
    grown = found["log_tangent"]
    np.testing.assert_allclose(grown[:, -1], found["stretch"][:, :-1].sum(-1), atol=1e-9)
    log_sine = np.log1p(-(found["position"] ** 2) / 2) / 2
    exponent = (grown[:, -1] - log_sine[:, -1] + log_sine[:, 0]) / steps
    np.testing.assert_allclose(exponent, math.log(3), atol=1e-7)


def test_a_tangent_that_overflows_ends_its_trial_as_diverged() -> None:
    _, found = train(QuarticTangent(), [{"seed": 1}], 700, lr=2.0)
    last = np.flatnonzero(np.isfinite(found["train_loss"][0]))[-1]
    # v.Hv passes 1e308 where |v| is 1e154, up to the swing of log |dx'/dx|.
    assert last == pytest.approx(354 / math.log(3), abs=12)
    assert last < 700


def by_hand(seed: int, lr: float, steps: int, momentum: float) -> np.ndarray:
    """Return log |v| by two backward passes a step, outside the engine."""
    from phasecube.engine.streams import Stream

    experiment, params = TrainingLyapunov(), TrainingLyapunovParams(width=7)
    model = experiment.model(params).double()
    experiment.init(model, params, Stream(seed))
    start = {n: w.detach().clone() for n, w in model.named_parameters()}
    data = experiment.data(params, Stream(seed))
    names = [n for n in start if not n.startswith("tangent_")]
    weights = [start[n] for n in names]
    tangent = [start["tangent_" + n.replace(".", "_")] for n in names]
    speed = [torch.zeros_like(w) for w in [*weights, *tangent]]
    lengths = []
    for _ in range(steps + 1):
        lengths.append(float(torch.cat([v.flatten() for v in tangent]).norm().log()))
        leaves = [w.requires_grad_() for w in weights]
        error = functional_call(model, dict(zip(names, leaves, strict=True)), (data["x"],))
        loss = (error - data["y"]).square().mean() / 2
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        along = sum((g * v).sum() for g, v in zip(first, tangent, strict=True))
        second = torch.autograd.grad(along, leaves)
        gradient = [g.detach() for g in (*first, *second)]
        speed = [momentum * s + g for s, g in zip(speed, gradient, strict=True)]
        both = [w.detach() - lr * s for w, s in zip([*weights, *tangent], speed, strict=True)]
        weights, tangent = both[: len(names)], both[len(names) :]
    return np.array(lengths)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_the_tangent_of_a_perceptron_is_that_of_two_backward_passes(momentum: float) -> None:
    lrs, steps = [0.1, 0.4], 60
    trials = grid(lr=lrs, seed=[2])
    _, found = train(TrainingLyapunov(), trials, steps, width=7, momentum=momentum)
    for row, lr in enumerate(lrs):
        expected = by_hand(2, lr, steps, momentum)
        np.testing.assert_allclose(found["log_tangent"][row], expected, atol=1e-9)


def test_training_itself_is_that_of_mlp_regression() -> None:
    trials, fixed = grid(lr=[0.1, 0.4], seed=[0, 2]), {"width": 7, "dtype": "float64"}
    _, plain = train(MlpRegression(), trials, 40, **fixed)
    _, found = train(TrainingLyapunov(), trials, 40, **fixed)
    for measure in ("train_loss", "test_loss"):
        # Of the same operations, maybe in another order.
        np.testing.assert_allclose(found[measure], plain[measure], rtol=1e-11)


@pytest.mark.slow
def test_training_on_the_edge_of_stability_is_marginal_and_not_chaotic() -> None:
    """Over the last 4000 of 6000 steps log |v| of most runs changes by less than 1, so the
    exponent is 0 to 1 / steps, up to the learning rates at which training is lost. It swings
    with the sharpness: a run caught in a swing is off by at most 4, a thousandth a step."""
    lrs = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9]
    steps, found = train(TrainingLyapunov(), grid(lr=lrs, seed=range(3)), 6000, 100, width=16)
    late = found["log_tangent"][:, steps >= 2000].reshape(len(lrs), 3, -1)
    change = np.abs(late[:-1, :, -1] - late[:-1, :, 0])
    assert (np.median(change, 1) < 1).all() and (change < 4).all()
    assert np.isnan(late[-1, :, -1]).all()
    # It does grow on the way there: the sharpness rises and directions are not yet settled.
    assert (found["log_tangent"].reshape(len(lrs), 3, -1)[:-1, :, -1] > 0.5).all()


def test_a_trial_has_the_same_bits_alone_and_in_company() -> None:
    trials = grid(lr=[0.1, 0.3, 0.6], seed=[0, 3])
    fixed = {"width": 9, "momentum": 0.5}
    assert_same_bits_alone(TrainingLyapunov(), trials, (0, 3, 5), 20, **fixed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", '"adamw"'),
        ("clip_norm", "1.0"),
        ("sam_rho", "0.1"),
        ("gradient_projection", '"orthogonal"'),
    ],
)
def test_an_optimizer_that_the_tangent_does_not_follow_is_a_fault(
    name: str, value: str, tmp_path: Path
) -> None:
    text = f'name = "x"\nexperiment = "training_lyapunov"\n[fixed]\n{name} = {value}\n'
    with pytest.raises(SpecError, match=f"fixed.{name}.*tangent"):
        expand(parse_sweep(text, tmp_path))


def test_a_tangent_that_is_forgotten_in_one_step_has_length_zero() -> None:
    """x = 1 of the quartic has curvature 2: at lr = 1/2 the map is flat there."""
    _, found = train(QuarticTangent(), [{"seed": 0}], 2, lr=0.5, start="minimum", kick=1e-300)
    assert found["log_tangent"][0].tolist() == [0.0, -math.inf, -math.inf]


def test_a_tangent_has_the_learning_rate_of_its_weight() -> None:
    params = TrainingLyapunovParams(width=64, parametrization="mup_sgd")
    found = TrainingLyapunov().lr_factor(params)
    plain = MlpRegression().lr_factor(params)
    assert plain and {n: f for n, f in found.items() if n in plain} == plain
    trained = dict(TrainingLyapunov().model(params).named_parameters())
    for name, factor in plain.items():
        assert found[tangent_name(name)] == factor and tangent_name(name) in trained
    assert len(found) == 2 * len(plain)


def test_two_weights_whose_tangents_would_share_a_name_are_refused() -> None:
    model = nn.Module()
    model.a_b = nn.Parameter(torch.zeros(()))
    model.a = nn.Module()
    model.a.b = nn.Parameter(torch.zeros(()))
    with pytest.raises(ValueError, match="tangent_a_b"):
        add_tangent(model)
