"""Curvature of the step's loss, against dense Hessians and closed forms."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from engine_cases import NoisyMlp, Quadratic, make_trials, run, scalar
from test_pack_independence import RULES, company, same_rows
from torch import Tensor, nn
from torch.func import hessian, vmap

from phasecube.engine.experiment import Measure, Params
from phasecube.engine.experiments.sgd_quadratic import SgdQuadratic
from phasecube.engine.measures.curvature import (
    BATCHES,
    LANCZOS_ITERATIONS,
    TRACE_PROBES,
    adam_diagonal,
    flat,
)
from phasecube.engine.measures.lanczos import top_eigenvalue
from phasecube.engine.record import Engine, RecordRule

CURVATURE = (
    *("sharpness", "sharpness_residual", "hessian_trace", "hessian_trace_error"),
    "batch_sharpness",
)
ADAM = ("preconditioned_sharpness", "preconditioned_sharpness_residual")


def recorded(
    experiment: Any, trials: Any, names: tuple[str, ...], **options: Any
) -> dict[str, np.ndarray]:
    rule = RecordRule(np.arange(trials.static["steps"] + 1), names, dtype="float64")
    record = run(experiment, trials, rule=rule, **options)
    return {name: scalar(record, rule, name) for name in names}


class Dense(NoisyMlp):
    """Its own measures form the whole Hessian: minibatch, dropout and all."""

    name = "dense"
    measures: ClassVar[dict[str, Measure]] = {
        "top": Measure("largest eigenvalue"),
        "trace": Measure("trace"),
        "spread": Measure("squares off the diagonal"),
        "top_adam": Measure("largest eigenvalue of P^-1 H"),
        "adam_gap": Measure("largest difference of P update from -lr m"),
        "along": Measure("g'Hg / |g|^2", of_update=True),
    }

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        weights = dict(trial.weights)
        blocks = hessian(lambda w: self.loss(trial.at(w)))(weights)
        rows = [
            torch.cat([blocks[a][b].reshape(weights[a].numel(), -1) for b in weights], 1)
            for a in weights
        ]
        h_PP = torch.cat(rows)
        g_P = flat(trial.gradient)
        found = {
            "top": torch.linalg.eigvalsh(h_PP)[-1],
            "trace": h_PP.diagonal().sum(),
            "spread": h_PP.square().sum() - h_PP.diagonal().square().sum(),
            "along": g_P @ h_PP @ g_P / (g_P @ g_P),
        }
        if trial.moments:
            p = adam_diagonal(trial)
            first = {
                n: trial.params.beta1 * m + (1 - trial.params.beta1) * trial.gradient[n]
                for n, m in trial.moments["first"].items()
            }
            gap = [(p[n] * trial.update[n] + trial.params.lr * first[n]).abs().max() for n in p]
            root_P = flat(p).rsqrt()
            found["top_adam"] = torch.linalg.eigvalsh(root_P[:, None] * h_PP * root_P)[-1]
            found["adam_gap"] = torch.stack(gap).max()
        return found


def dense_trials(n: int = 3, **more: Any) -> Any:
    options = {"dtype": "float64", "steps": 6, "width": 4, **more}
    return make_trials(Dense(), n, {"seed": list(range(n))}, **options)


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
@pytest.mark.parametrize("engine", [Engine.VMAP_FORWARD, Engine.VMAP_GRADIENT, Engine.SEQUENTIAL])
def test_sharpness_is_the_largest_eigenvalue_of_the_hessian(
    engine: Engine, activation: str
) -> None:
    lanes = 1 if engine is Engine.SEQUENTIAL else 3
    found = recorded(
        Dense(),
        dense_trials(activation=activation),
        ("sharpness", "sharpness_residual", "top"),
        engine=engine,
        lanes=lanes,
    )
    residual = found["sharpness_residual"]
    assert (residual <= 1e-5 * found["top"]).all()
    # From below, and by residual^2 / gap: 1e-10 of the spectrum here, rounding beside it.
    np.testing.assert_allclose(found["sharpness"], found["top"], rtol=1e-8)


def test_preconditioned_sharpness_is_that_of_what_adam_divides_by() -> None:
    trials = dense_trials(optimizer="adam", lr=1e-2)
    found = recorded(Dense(), trials, (*ADAM, "top_adam", "adam_gap", "along"))
    assert found["adam_gap"].max() < 1e-15
    np.testing.assert_allclose(found[ADAM[0]], found["top_adam"], rtol=1e-8)


def test_adams_diagonal_holds_for_coupled_decay_and_adamw() -> None:
    for more in ({"optimizer": "adamw"}, {"optimizer": "adam", "l2": 0.0}):
        found = recorded(Dense(), dense_trials(lr=1e-3, **more), ("adam_gap", "along"))
        assert found["adam_gap"].max() < 1e-15


def test_preconditioned_sharpness_is_refused_where_nothing_is_divided_by() -> None:
    with pytest.raises(AssertionError, match="optimizer = 'sgd' has no such diagonal"):
        recorded(Dense(), dense_trials(1), ADAM)


def test_the_trace_has_the_error_it_states() -> None:
    trials = dense_trials(24, dropout=0.0)
    found = recorded(Dense(), trials, ("hessian_trace", "hessian_trace_error", "trace", "spread"))
    # Random signs have Var v'Hv = 2 sum of squares off the diagonal (Hutchinson 1990).
    exact = np.sqrt(2 * found["spread"] / TRACE_PROBES)
    z = (found["hessian_trace"] - found["trace"]) / exact
    # 24 x 7 values; steps of one trial draw other signs. Mean 0, rms 1, each to 4 errors.
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs((z**2).mean() - 1) < 4 * np.sqrt(3 / z.size)
    ratio = (found["hessian_trace_error"] / exact) ** 2
    assert abs(ratio.mean() - 1) < 4 * np.sqrt(2 / (TRACE_PROBES - 1) / z.size) + 0.2


def test_batch_sharpness_of_a_loss_without_draws_is_the_quotient_of_its_gradient() -> None:
    class Full(Dense):
        def loss(self, trial: Any) -> Tensor:
            return (trial.model(trial.data["x"]) - trial.data["y"]).square().mean()

    found = recorded(Full(), dense_trials(), ("batch_sharpness", "along"))
    np.testing.assert_allclose(found["batch_sharpness"], found["along"], rtol=1e-10)


def test_one_example_of_norm_d_has_sharpness_trace_and_batch_sharpness_d() -> None:
    experiment = SgdQuadratic()
    options = {"features": "sphere", "dimension": 7, "steps": 3}
    trials = make_trials(experiment, 4, {"seed": [0, 1, 2, 3]}, **options)
    found = recorded(experiment, trials, CURVATURE)
    for name in ("sharpness", "batch_sharpness"):
        np.testing.assert_allclose(found[name], 7, rtol=1e-12)
    # Var v'aa'v = 2 (|a|^4 - sum a_i^4) <= 2 * 49.
    assert (abs(found["hessian_trace"] - 7) <= 4 * np.sqrt(98 / TRACE_PROBES)).all()


def test_batches_of_batch_sharpness_are_drawn_apart() -> None:
    experiment = SgdQuadratic()  # normal features: the quotient of one example is |a|^2
    trials = make_trials(experiment, 60, {"seed": list(range(60))}, dimension=7, steps=1)
    found = recorded(experiment, trials, ("batch_sharpness",))["batch_sharpness"]
    # chi^2 of 7: mean 7, variance 14.
    assert abs(found.mean() - 7) < 4 * np.sqrt(14 / BATCHES / found.size)
    assert abs(found.var() / (14 / BATCHES) - 1) < 0.8


def test_the_sharpness_of_2_w_squared_is_4_and_known_without_error() -> None:
    trials = make_trials(Quadratic(), 2, dtype="float64", steps=3)
    found = recorded(Quadratic(), trials, CURVATURE)
    assert (found["sharpness"] == 4).all() and (found["sharpness_residual"] == 0).all()
    assert (found["hessian_trace"] == 4).all() and (found["batch_sharpness"] == 4).all()


class Saddle(Quadratic):
    """sum of a w^2 / 2 with curvatures below zero, and a weight that the loss does not read."""

    name = "saddle"

    def model(self, params: Params) -> nn.Module:
        module = nn.Module()
        module.w = nn.Parameter(torch.ones(3))
        module.unread = nn.Parameter(torch.ones(2))
        return module

    def loss(self, trial: Any) -> Tensor:
        curvature = torch.tensor([-5.0, -3.0, 2.0], dtype=trial.weights["w"].dtype)
        return (curvature * trial.weights["w"].square()).sum() / 2

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        return {}


def test_weights_that_the_loss_does_not_read_have_no_curvature() -> None:
    trials = make_trials(Saddle(), 2, dtype="float64", steps=1)
    found = recorded(Saddle(), trials, CURVATURE)
    np.testing.assert_allclose(found["sharpness"], 2, rtol=1e-12)
    assert (found["hessian_trace"] == -6).all() and (found["hessian_trace_error"] == 0).all()


def symmetric(eigenvalues: np.ndarray, seed: int = 0) -> Tensor:
    n = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    return torch.from_numpy(q @ np.diag(eigenvalues) @ q.T)


def top(matrix: Tensor, iterations: int, seed: int = 1) -> tuple[float, float]:
    start = torch.from_numpy(np.random.default_rng(seed).normal(size=len(matrix)))
    value, bound = top_eigenvalue(lambda v: matrix @ v, start, iterations)
    return float(value), float(bound)


@pytest.mark.parametrize("iterations", [1, 2, 5, 12, 20])
def test_the_value_is_from_below_and_an_eigenvalue_lies_within_the_bound(iterations: int) -> None:
    for seed in range(10):
        eigenvalues = np.random.default_rng(seed).normal(size=40)
        value, bound = top(symmetric(eigenvalues, seed), iterations)
        assert value <= eigenvalues.max() + 1e-13
        assert np.abs(eigenvalues - value).min() <= bound + 1e-13


def test_as_many_iterations_as_numbers_are_exact() -> None:
    eigenvalues = np.random.default_rng(3).normal(size=30)
    assert top(symmetric(eigenvalues), 30)[0] == pytest.approx(eigenvalues.max(), rel=1e-12)


@pytest.mark.parametrize(
    "eigenvalues",
    [[-1.0] * 9, [-5.0, -1.0, -1.0, -2.0] * 5, [3.0] * 2 + [0.0] * 20, [0.0] * 4, [1e-200, 1.0]],
    ids=str,
)
def test_few_distinct_eigenvalues_end_the_search_early_and_exactly(eigenvalues: list) -> None:
    value, bound = top(symmetric(np.array(eigenvalues)), 20)
    assert value == pytest.approx(max(eigenvalues), abs=1e-12)
    assert bound <= 1e-12


def test_a_lane_that_is_not_finite_is_nan_and_touches_no_other() -> None:
    matrices = torch.stack([symmetric(np.arange(1.0, 9)), torch.full((8, 8), torch.inf).double()])
    start = torch.ones(2, 8, dtype=torch.float64) + torch.arange(8)
    lanes = vmap(lambda m, s: top_eigenvalue(lambda v: m @ v, s, 8))
    value, bound = lanes(matrices, start)
    assert value[0] == pytest.approx(8, rel=1e-12)
    assert value[1].isnan() and bound[1].isnan()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_curvature_has_the_same_bits_alone_and_in_company(dtype: str) -> None:
    experiment = NoisyMlp()
    trials = company(experiment, 17, dtype, RULES["adamw"])
    rule = RecordRule(np.array([0, 3, 20]), (*CURVATURE, *ADAM), dtype="float64")
    together = run(experiment, trials, rule=rule)
    for row in (0, 8, 16):
        alone = run(experiment, trials.take([row]), rule=rule)
        assert same_rows(alone, [row], together, [row])


def test_more_iterations_change_little() -> None:
    assert LANCZOS_ITERATIONS < 40
    eigenvalues = np.concatenate([[10.0], np.random.default_rng(0).uniform(0, 8, 199)])
    value, bound = top(symmetric(eigenvalues), LANCZOS_ITERATIONS)
    assert value == pytest.approx(10, rel=1e-6) and bound < 0.02
