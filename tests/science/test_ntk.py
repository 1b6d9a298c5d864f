"""The tangent kernel: its limit, how a finite width approaches it, and training under it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from at_start import measured
from packs import assert_same_bits_alone, grid, train
from scipy.integrate import quad
from torch import nn
from torch.func import functional_call

from phasecube.engine.experiments.ntk import Ntk
from phasecube.engine.measures.ntk import tangent_kernel
from phasecube.engine.models.two_layer_ntk import TwoLayerNtk
from phasecube.engine.tasks.ntk import Modes, limit_kernel, linear_residual

WIDTHS = [128, 256, 512, 1024, 2048]
SEEDS = 16


def slope(values_W: list[float], widths: list[int] = WIDTHS) -> float:
    """Return the exponent of a power law in the width, by least squares in logarithms."""
    return float(np.polyfit(np.log(widths), np.log(values_W), 1)[0])


def after(steps: int, widths: list[int] = WIDTHS, seeds: int = SEEDS, **fixed: object):
    """Return the mean over seeds of each measure at the last step, for each width."""
    found: dict[str, list[float]] = {}
    for width in widths:
        _, curves = train(Ntk(), grid(seed=range(seeds)), steps, steps, width=width, **fixed)
        for name, curve_RS in curves.items():
            found.setdefault(name, []).append(float(curve_RS[:, -1].mean()))
    return found


@pytest.fixture(scope="module")
def trained() -> dict[str, list[float]]:
    return after(400)


def test_the_limit_kernel_is_the_expectation_over_one_unit() -> None:
    """In two dimensions the direction of a unit's weights is an angle, and E |w|^2 = 2."""
    x_RD = np.array([[1.0, 0.0], [0.3, 1.1], [-2.0, 0.4]])
    angle_R, length_R = np.arctan2(x_RD[:, 1], x_RD[:, 0]), np.linalg.norm(x_RD, axis=1)
    found_RR = limit_kernel(x_RD)
    for i in range(3):
        for j in range(3):

            def both(a: float, i: int = i, j: int = j) -> float:
                one, other = (max(math.cos(a - angle_R[k]), 0.0) for k in (i, j))
                gates = float(one > 0 and other > 0)
                return 2 * length_R[i] * length_R[j] * one * other + gates * x_RD[i] @ x_RD[j]

            ends = [(angle_R[k] + s * math.pi / 2) % (2 * math.pi) for k in (i, j) for s in (-1, 1)]
            exact = quad(both, 0, 2 * math.pi, points=ends, limit=200)[0] / (2 * math.pi)
            assert found_RR[i, j] == pytest.approx(exact, rel=1e-8)


def test_the_limit_kernel_of_a_row_with_itself_is_its_squared_length() -> None:
    x_RD = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(np.diag(limit_kernel(x_RD)), (x_RD**2).sum(1), rtol=1e-7)
    np.testing.assert_allclose(limit_kernel(x_RD, x_RD[:2]), limit_kernel(x_RD)[:, :2])


def test_the_kernel_of_two_layers_is_the_sum_over_their_derivatives() -> None:
    """df/da_i = relu(w_i.x) / sqrt(n), df/dw_i = a_i [w_i.x > 0] x / sqrt(n), by hand."""
    rng = np.random.default_rng(1)
    x_RD, first_DN, second_N = (rng.normal(size=s) for s in ((4, 3), (3, 7), (7,)))
    model = TwoLayerNtk(3, 7).double()
    weights = {"first": torch.tensor(first_DN), "second": torch.tensor(second_N)}
    x = torch.tensor(x_RD)
    found = tangent_kernel(lambda w: functional_call(model, dict(w), (x,)), weights).numpy()
    h_RN = x_RD @ first_DN
    hidden_RN, gate_RN = np.maximum(h_RN, 0), (h_RN > 0) * second_N
    expected = (hidden_RN @ hidden_RN.T + (gate_RN @ gate_RN.T) * (x_RD @ x_RD.T)) / 7
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_kernel_of_any_model_is_that_of_its_gradients_output_by_output() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    x_RD = torch.randn(4, 3, dtype=torch.float64)
    weights = {name: w.detach() for name, w in model.named_parameters()}
    found = tangent_kernel(lambda w: functional_call(model, dict(w), (x_RD,)), weights)
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(f, list(model.parameters()))])
        for f in [model(x_RD)[r, c] for r in range(4) for c in range(2)]
    ]
    jacobian_RP = torch.stack(rows)
    torch.testing.assert_close(found, jacobian_RP @ jacobian_RP.T)


def test_the_linear_residual_is_the_kernel_applied_step_by_step() -> None:
    rng = np.random.default_rng(2)
    kernel = limit_kernel(rng.normal(size=(6, 4)))
    residual = rng.normal(size=6)
    expected = residual
    for _ in range(7):
        expected = expected - 0.1 * kernel @ expected
    np.testing.assert_allclose(linear_residual(kernel, residual, 0.1, 7), expected, rtol=1e-12)
    assert Modes.of(kernel).largest_lr == pytest.approx(2 / np.linalg.norm(kernel, 2))


def test_the_kernel_at_the_start_approaches_its_limit_as_one_over_the_root_of_the_width() -> None:
    errors = [measured(Ntk(), grid(seed=range(32)), width=w)["kernel_error"].mean() for w in WIDTHS]
    assert slope(errors) == pytest.approx(-0.5, abs=0.08)


def test_weights_move_as_one_over_the_root_of_the_width(trained) -> None:
    assert slope(trained["weight_change"]) == pytest.approx(-0.5, abs=0.05)


def test_the_kernel_moves_by_nearly_one_over_the_width(trained) -> None:
    assert -1.05 < slope(trained["kernel_change"]) < -0.7


def test_every_width_fits_its_labels(trained) -> None:
    assert max(trained["train_loss"]) < 1e-4


def test_outputs_depart_from_linear_training_as_one_over_the_root_of_the_width() -> None:
    """At step 10, where lr times the kernel's eigenvalues times steps passes 1."""
    found = after(10)
    assert slope(found["linear_deviation"]) == pytest.approx(-0.5, abs=0.08)
    assert max(found["linear_deviation"]) < 0.1


def test_the_first_step_is_that_of_the_kernel_but_for_the_square_of_the_learning_rate() -> None:
    lrs = [4e-4, 2e-4, 1e-4]
    _, found = train(Ntk(), grid(lr=lrs, seed=range(4)), 1, width=4096)
    deviation = found["frozen_deviation"][:, 1].reshape(3, 4)
    # ReLU units that change sides in the step add parts that are not smooth.
    ratio = deviation[:-1].mean(1) / deviation[1:].mean(1)
    np.testing.assert_allclose(ratio, 4, rtol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("points", ["sphere", "normal"])
def test_the_laws_hold_up_to_a_width_of_8192(points: str) -> None:
    widths = [128, 512, 2048, 8192]
    found = after(400, widths, seeds=32, points=points)
    assert slope(found["weight_change"], widths) == pytest.approx(-0.5, abs=0.05)
    assert -1.05 < slope(found["kernel_change"], widths) < -0.7
    start = after(1, widths, seeds=32, points=points, lr=0.0)
    assert slope(start["kernel_error"], widths) == pytest.approx(-0.5, abs=0.08)


def test_a_trial_has_the_same_bits_alone_and_in_company() -> None:
    trials = grid(lr=[0.05, 0.2, 0.3], seed=[0, 3])
    assert_same_bits_alone(Ntk(), trials, (0, 3, 5), 20, 5, width=37)
