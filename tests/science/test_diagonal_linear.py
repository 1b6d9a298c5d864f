"""Diagonal linear networks under SGD: the trace of the Hessian and what large steps find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from packs import assert_same_bits_alone, grid, train

from phasecube.engine.experiments.diagonal_linear import DiagonalLinear, DiagonalLinearParams
from phasecube.engine.models.diagonal_linear import DiagonalLinear as Model
from phasecube.engine.streams import Stream


def test_the_trace_is_that_of_autograds_hessian_away_from_any_minimum() -> None:
    params = DiagonalLinearParams(dimension=4, rows=6, sparsity=2)
    data = DiagonalLinear().data(params, Stream(0))
    rng = np.random.default_rng(1)
    both = torch.as_tensor(rng.standard_normal(8))

    def loss(weights: torch.Tensor) -> torch.Tensor:
        model = Model(4).double()
        named = {"u": weights[:4], "v": weights[4:]}
        output_R = torch.func.functional_call(model, named, (data["x"],))
        return (output_R - data["y"]).square().mean() / 2

    hessian = torch.autograd.functional.hessian(loss, both)
    expected = 4 * (data["x"].square().mean(0) * (both[:4] ** 2 + both[4:] ** 2)).sum()
    assert float(hessian.trace()) == pytest.approx(float(expected), rel=1e-12)


def test_measures_are_those_of_numpy() -> None:
    scale, lr = 0.4, 0.02
    _, found = train(DiagonalLinear(), [{"scale": scale, "lr": lr, "seed": 3}], 1)
    data = DiagonalLinear().data(DiagonalLinearParams(scale=scale), Stream(3))
    x_RD, y_R, teacher_D = (data[name].numpy() for name in ("x", "y", "teacher"))
    first = {name: values[0, 0] for name, values in found.items()}
    assert first["full_loss"] == pytest.approx((y_R**2).mean() / 2, rel=1e-12)
    assert first["test_error"] == 1 and np.abs(teacher_D).sum() == 5
    assert first["norm"] == pytest.approx(200 * scale**2, rel=1e-12)
    trace = 8 * scale**2 * (x_RD**2).mean(0).sum()
    assert first["hessian_trace"] == pytest.approx(trace, rel=1e-12)
    assert first["trace_ratio"] == pytest.approx(lr * trace / 2, rel=1e-12)


def test_training_is_gradient_descent_on_both_factors() -> None:
    """Against the chain rule by hand, full batch: du = 2 u g, dv = -2 v g."""
    params = DiagonalLinearParams(dimension=6, rows=4, sparsity=2, batch=0, scale=0.3)
    data = DiagonalLinear().data(params, Stream(5))
    x_RD, y_R = data["x"].numpy(), data["y"].numpy()
    fixed = {"dimension": 6, "rows": 4, "sparsity": 2, "batch": 0, "scale": 0.3}
    _, found = train(DiagonalLinear(), [{"seed": 5, "lr": 0.05}], 20, **fixed)
    u_D, v_D = np.full(6, 0.3), np.full(6, 0.3)
    for step in range(21):
        apart_R = x_RD @ (u_D**2 - v_D**2) - y_R
        assert found["train_loss"][0, step] == pytest.approx((apart_R**2).mean() / 2, rel=1e-9)
        g_D = x_RD.T @ apart_R / 4
        u_D, v_D = u_D - 0.05 * 2 * u_D * g_D, v_D + 0.05 * 2 * v_D * g_D


def test_large_steps_find_solutions_of_smaller_norm_that_are_nearer_to_the_teacher() -> None:
    """Small sibling of the ready study: 40 inputs, so that few steps converge."""
    lrs, n = [0.02, 0.05, 0.08], 6
    fixed = {"dimension": 40, "rows": 16, "sparsity": 2}
    _, found = train(DiagonalLinear(), grid(lr=lrs, seed=range(n)), 1200, 1200, **fixed)
    last = {name: values[:, -1].reshape(3, n) for name, values in found.items()}
    assert (last["full_loss"] < 1e-4).all()
    error_LN, norm_LN = last["test_error"], last["norm"]
    assert (np.diff(norm_LN, axis=0) < 0).all()
    assert (np.diff(np.median(error_LN, 1)) < 0).all()
    assert (last["trace_ratio"] <= 1).all()


@pytest.mark.slow
def test_the_cards_network_learns_its_teacher_near_divergence_with_sgd_and_not_with_all_rows() -> (
    None
):
    """100 inputs, 40 examples, 5 entries: SGD's error falls over lr, gradient descent's rises."""
    lrs, n = [0.008, 0.016, 0.032, 0.0453], 8
    _, sgd = train(DiagonalLinear(), grid(lr=lrs, seed=range(n)), 5000, 5000)
    _, full = train(DiagonalLinear(), grid(lr=lrs, seed=range(n)), 5000, 5000, batch=0)
    last = {name: values[:, -1].reshape(4, n) for name, values in sgd.items()}
    assert (last["full_loss"] < 1e-4).all() and (last["trace_ratio"] < 1).all()
    error_L = np.median(last["test_error"], 1)
    assert (np.diff(error_L) < 0).all() and error_L[-1] < error_L[0] / 4
    assert (np.diff(np.median(full["test_error"][:, -1].reshape(4, n), 1)) > 0).all()
    assert full["trace_ratio"][:, -1].max() > 1


def test_a_teacher_without_room_is_a_fault() -> None:
    assert [n for n, _ in DiagonalLinearParams(sparsity=101).faults()] == ["sparsity"]


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_a_trial_has_the_same_bits_alone_and_in_company(batch: int) -> None:
    trials = grid(lr=[0.003, 0.01, 0.02], scale=[0.1, 0.3], seed=[0, 7])
    fixed = {"batch": batch, "dimension": 13, "rows": 7, "dtype": "float32"}
    assert_same_bits_alone(DiagonalLinear(), trials, (0, 5, 11), 15, 3, **fixed)
