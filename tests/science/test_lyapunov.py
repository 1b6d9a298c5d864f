"""Exponents of systems that are known: exact sums, published leading exponents; forcing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasecube.engine.measures.lyapunov import (
    Exponents,
    Floats,
    exponents_of_flow,
    exponents_of_map,
    forced_exponent,
    least_forcing,
    sufficient_forcing,
)

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3  # Lorenz 1963


def rows(*entries: Floats) -> Floats:
    """Return (B, 3, 3) from nine arrays (B,) or numbers."""
    return np.stack(np.broadcast_arrays(*entries), -1).reshape(-1, 3, 3)


def lorenz(x_BD: Floats) -> Floats:
    x, y, z = x_BD.T
    return np.stack([SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z], -1)


def lorenz_jacobian(x_BD: Floats) -> Floats:
    x, y, z = x_BD.T
    return rows(-SIGMA, SIGMA, 0.0, RHO - z, -1.0, -x, y, x, -BETA)


def rossler(x_BD: Floats) -> Floats:
    x, y, z = x_BD.T
    return np.stack([-y - z, x + 0.2 * y, 0.2 + z * (x - 5.7)], -1)


def rossler_jacobian(x_BD: Floats) -> Floats:
    x, _, z = x_BD.T
    return rows(0.0, -1.0, -1.0, 1.0, 0.2, 0.0, z, 0.0, x - 5.7)


def henon(x_BD: Floats) -> Floats:
    x, y = x_BD.T
    return np.stack([1 - 1.4 * x**2 + y, 0.3 * x], -1)


def henon_jacobian(x_BD: Floats) -> Floats:
    x = x_BD[:, 0]
    return np.stack(np.broadcast_arrays(-2.8 * x, 1.0, 0.3, 0.0), -1).reshape(-1, 2, 2)


def starts(n: int, dimension: int, scale: float = 1.0) -> Floats:
    return scale * np.random.default_rng(0).uniform(-1, 1, (n, dimension))


def lorenz_exponents(trajectories: int, time: float, dt: float, settle: float) -> Exponents:
    start = np.array([0, 0, 25]) + starts(trajectories, 3, 5.0)
    steps, settled = round(time / dt), round(settle / dt)
    return exponents_of_flow(lorenz, lorenz_jacobian, start, steps, dt, settle=settled)


def test_the_exponents_of_lorenz_sum_to_its_divergence() -> None:
    """The step's error in one decay of rate 14.6 is 14.6^5 dt^4 / 120: 3e-6."""
    found = lorenz_exponents(4, 5.0, 0.005, 2.0)
    np.testing.assert_allclose(found.each_BD.sum(-1), -(SIGMA + 1 + BETA), atol=1e-4)


def test_the_leading_exponent_of_lorenz_is_the_known_one() -> None:
    """256 trajectories of 20 time units, after 15 to settle: two percent are three errors."""
    found = lorenz_exponents(256, 20.0, 0.01, 15.0)
    assert 3 * found.standard_error[0] < 0.02 * 0.9056
    assert found.mean[0] == pytest.approx(0.9056, rel=0.02)


@pytest.mark.slow
def test_all_exponents_of_lorenz_are_the_known_ones() -> None:
    found = lorenz_exponents(256, 150.0, 0.005, 20.0)
    assert 4 * found.standard_error.max() < 4e-3
    np.testing.assert_allclose(found.mean, [0.9056, 0, -14.5723], atol=4e-3)
    np.testing.assert_allclose(found.each_BD.sum(-1), -(SIGMA + 1 + BETA), atol=1e-4)


@pytest.mark.slow
def test_the_exponents_of_rossler_are_the_known_ones() -> None:
    found = exponents_of_flow(
        rossler, rossler_jacobian, starts(256, 3), 30_000, 0.02, settle=5000, every=10
    )
    assert (4 * found.standard_error < [0.03 * 0.0714, 0.03 * 0.0714, 0.02]).all()
    np.testing.assert_allclose(found.mean[:2], [0.0714, 0], atol=0.03 * 0.0714)
    assert found.mean[2] == pytest.approx(-5.394, abs=0.02)


def test_the_exponents_of_henon_sum_to_its_contraction() -> None:
    """Its Jacobian has the determinant -.3 everywhere."""
    found = exponents_of_map(henon, henon_jacobian, starts(64, 2, 0.1), 3000, settle=100)
    np.testing.assert_allclose(found.each_BD.sum(-1), math.log(0.3), atol=1e-10)
    assert 4 * found.standard_error[0] < 0.01 * 0.4192
    np.testing.assert_allclose(found.mean, [0.4192, -1.6232], rtol=0.01)


def test_the_logistic_map_at_four_has_the_exponent_ln_2() -> None:
    found = exponents_of_map(
        lambda x: 4 * x * (1 - x),
        lambda x: (4 - 8 * x)[..., None],
        np.random.default_rng(1).uniform(0.1, 0.9, (256, 1)),
        2000,
    )
    # 256 sums of 2000 steps that telescope but for their ends, of order 1.
    assert found.mean[0] == pytest.approx(math.log(2), abs=1e-3)


def test_exponents_of_a_linear_flow_are_the_real_parts_of_its_eigenvalues() -> None:
    matrix = np.array([[-0.1, 2.0, 0.3], [-2.0, -0.1, 0.7], [0.0, 0.0, 0.4]])
    found = exponents_of_flow(
        lambda x: x @ matrix.T,
        lambda x: np.broadcast_to(matrix, (len(x), 3, 3)),
        np.zeros((1, 3)),
        3000,
        0.01,
        settle=1000,
    )
    # The frame turns with the rotating pair: the two exponents are known to some 1 / time.
    np.testing.assert_allclose(found.mean, [0.4, -0.1, -0.1], atol=2 / 30)
    assert found.mean[0] == pytest.approx(0.4, abs=1e-6)
    assert found.mean.sum() == pytest.approx(0.2, abs=1e-8)


def test_a_start_without_trajectories_in_front_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(B, D\)"):
        exponents_of_map(henon, henon_jacobian, np.zeros(2), 10)


def _product_growth(jacobians_TDD: Floats, forcing: float) -> float:
    """Return the leading exponent of the product of (1 - forcing) J_t, made by hand."""
    vector, total = np.ones(jacobians_TDD.shape[-1]), 0.0
    for jacobian in jacobians_TDD:
        vector = (1 - forcing) * jacobian @ vector
        total += math.log(np.linalg.norm(vector))
        vector /= np.linalg.norm(vector)
    return total / len(jacobians_TDD)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 3.0), st.floats(0.0, 0.99))
def test_forcing_lowers_the_exponent_by_ln_one_less_forcing(
    seed: int, scale: float, forcing: float
) -> None:
    jacobians = scale * np.random.default_rng(seed).standard_normal((200, 3, 3))
    free = _product_growth(jacobians, 0.0)
    forced = _product_growth(jacobians, forcing)
    assert forced == pytest.approx(forced_exponent(free, forcing), abs=1e-10)
    least = least_forcing(free)
    assert _product_growth(jacobians, least) == pytest.approx(min(free, 0.0), abs=1e-10)
    # What needs no exponent is never less, but for the growth of the first vector.
    assert _product_growth(jacobians, sufficient_forcing(jacobians)) <= 1e-2


def test_a_chaotic_map_follows_its_teacher_from_the_least_forcing_on() -> None:
    """Two copies of Henon's map are forced by one run of it: their distance, started at
    1e-9, grows per step by the forced exponent."""
    free = 0.41922
    for forcing in (0.5 * least_forcing(free), 1.2 * least_forcing(free)):
        teacher, gap, total = starts(64, 2, 0.1), np.full((64, 2), 1e-9), np.zeros(64)
        for _ in range(100):
            teacher = henon(teacher)
        for _ in range(2000):
            near = teacher + (1 - forcing) * gap
            teacher, near = henon(teacher), henon(near)
            gap = near - teacher
            length = np.linalg.norm(gap, axis=-1, keepdims=True)
            total += np.log(length[:, 0] / 1e-9)
            gap *= 1e-9 / length
        assert total.mean() / 2000 == pytest.approx(forced_exponent(free, forcing), abs=5e-3)


def test_forcing_of_one_forgets_everything_and_more_is_refused() -> None:
    assert forced_exponent(2.0, 1.0) == -math.inf
    assert least_forcing(-0.3) == 0
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        forced_exponent(0.0, 1.5)
