"""Deep linear networks against the closed form of Saxe, McClelland & Ganguli 2013."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from packs import assert_same_bits_alone, grid, train
from scipy.integrate import solve_ivp

from phasecube.engine.experiments.deep_linear import DeepLinear, DeepLinearParams
from phasecube.engine.streams import Stream
from phasecube.engine.tasks.deep_linear import mode_strength, time_to
from phasecube.engine.tasks.whitened import orthogonal, whitened_rows

STRENGTHS = np.array([3.0, 2.0, 1.0, 0.5])


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8])
def test_the_closed_form_solves_its_equation(depth: int) -> None:
    """Against scipy's integration of du/dt = L u^(2 - 2/L) (s - u)."""
    target, start, times = 2.0, 0.05, np.linspace(0, 4, 41)

    def slope(_: float, u: np.ndarray) -> np.ndarray:
        return depth * u ** (2 - 2 / depth) * (target - u)

    found = solve_ivp(slope, (0, 4), [start], "DOP853", times, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(mode_strength(times, target, start, depth), found.y[0], rtol=1e-10)
    rising = found.y[0] < 1.9
    passed = time_to(found.y[0][rising], target, start, depth)
    np.testing.assert_allclose(passed, times[rising], atol=1e-10)


@pytest.mark.parametrize("depth", [3, 5, 8, 12])
@pytest.mark.parametrize("start", [1e-6, 1e-3, 0.5, 1.5])
def test_strength_and_time_are_each_others_inverse(depth: int, start: float) -> None:
    strength = 2 * np.array([1e-5, 1e-3, 0.01, 0.1, 0.3, 0.7, 0.9, 0.99, 0.999999])
    strength = strength[strength > start]
    found = mode_strength(time_to(strength, 2.0, start, depth), 2.0, start, depth)
    # Long plateaus are ill conditioned: time is 1e5 there, so its rounding tells.
    np.testing.assert_allclose(found, strength, rtol=1e-10)
    ends = mode_strength(np.array([0.0, 1e9]), 2.0, start, depth)
    np.testing.assert_allclose(ends, [start, 2.0], rtol=1e-11)


def test_half_times_of_two_matrices_are_the_published_numbers() -> None:
    half = time_to(STRENGTHS / 2, STRENGTHS, 1e-3, 2)
    np.testing.assert_allclose(half, [1.3343, 1.9001, 3.4534, 6.2126], atol=5e-5)
    np.testing.assert_allclose(half, np.log(STRENGTHS / 1e-3 - 1) / (2 * STRENGTHS), rtol=1e-12)


def test_torch_and_numpy_share_the_closed_form() -> None:
    times, targets = np.linspace(0, 9, 7)[:, None], STRENGTHS
    for depth in (2, 5):
        one = mode_strength(times, targets, 1e-2, depth)
        two = mode_strength(torch.tensor(times), torch.tensor(targets), 1e-2, depth, torch)
        np.testing.assert_allclose(two.numpy(), one, rtol=1e-11)


def test_whitened_rows_have_the_identity_as_their_sum_and_bases_are_orthogonal() -> None:
    rng = np.random.default_rng(0)
    rows_RD = whitened_rows(rng.standard_normal((20, 8)))
    np.testing.assert_allclose(rows_RD.T @ rows_RD, np.eye(8), atol=1e-14)
    basis_DD = orthogonal(rng.standard_normal((8, 8)))
    np.testing.assert_allclose(basis_DD.T @ basis_DD, np.eye(8), atol=1e-14)


def slope_of(error_L: np.ndarray, lrs: list[float]) -> float:
    return float(np.polyfit(np.log(lrs), np.log(error_L), 1)[0])


def test_the_distance_from_the_closed_form_is_first_order_in_the_learning_rate() -> None:
    """Up to time 1.75, when the mode of strength 3 has risen; the slope is 1 + O(lr)."""
    lrs, steps = [0.01, 0.005, 0.0025], 700
    fixed = {"singular_values": "3", "inputs": "identity", "width": 1}
    _, found = train(DeepLinear(), grid(lr=lrs), steps, 3, **fixed)
    error_L = found["mode_error"].max(1)
    assert slope_of(error_L, lrs) == pytest.approx(1, abs=0.03)
    # The card's mode of strength 3 leads its error: 6.70 lr.
    np.testing.assert_allclose(error_L / lrs, 6.70, rtol=0.03)


@pytest.mark.slow
def test_four_modes_keep_first_order_down_to_a_thousandth() -> None:
    ratio = {}
    for lr, steps, every in ((0.1, 80, 1), (0.01, 800, 1), (0.001, 8000, 5)):
        _, found = train(DeepLinear(), grid(seed=[0, 1]), steps, every, lr=lr)
        ratio[lr] = found["mode_error"].max(1) / lr
    for lr, expected in {0.1: 6.57, 0.01: 6.70, 0.001: 6.70}.items():
        np.testing.assert_allclose(ratio[lr], expected, atol=0.01)
    error = [float((ratio[lr] * lr).mean()) for lr in ratio]
    assert slope_of(np.array(error), list(ratio)) == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(ratio[0.01], ratio[0.001], rtol=0.03)


def deviation(depth: int, lrs: list[float]) -> float:
    """Return the largest error over lr, s = 2 from .05, at lr = 0: error / lr is c + O(lr)."""
    fixed = {"singular_values": "2", "start": 0.05, "depth": depth, "inputs": "identity"}
    steps = int(2 / lrs[1])
    _, found = train(DeepLinear(), grid(lr=lrs), steps, steps // 100, width=1, **fixed)
    ratio = found["mode_error"].max(1) / lrs
    return float(2 * ratio[1] - ratio[0])


def test_three_matrices_deviate_twice_as_much_as_two() -> None:
    """Published at lr 1e-4: 8.7e-5 and 2.0e-4. The error is looked at each .02 of time."""
    assert deviation(2, [0.02, 0.01]) == pytest.approx(0.87, rel=0.02)
    assert deviation(3, [0.02, 0.01]) == pytest.approx(2.0, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "expected"), [(2, 0.87), (3, 2.0), (5, 4.5), (8, 8.2)])
def test_deeper_networks_deviate_as_published(depth: int, expected: float) -> None:
    assert deviation(depth, [0.002, 0.001]) == pytest.approx(expected, rel=0.02)


def test_modes_rise_in_stages_in_the_order_of_their_strength_and_in_time_one_over_it() -> None:
    """From random weights of 1e-3, where no closed form holds: s t_half is constant in 10 %."""
    lr, fixed = 0.035, {"init": "random", "scale": 1e-3, "inputs": "identity"}
    names = ["mode_strength"]
    at, found = train(DeepLinear(), grid(seed=range(8)), 480, 4, vectors=names, lr=lr, **fixed)
    times, strength_NSM = lr * at, found["mode_strength"]
    half_NM = np.array(
        [
            [np.interp(s / 2, u_SM[:, m], times) for m, s in enumerate(STRENGTHS)]
            for u_SM in strength_NSM
        ]
    )
    assert (np.diff(half_NM, axis=1) > 0).all()
    constant_M = (STRENGTHS * half_NM).mean(0)
    assert (np.abs(constant_M / constant_M.mean() - 1) < 0.1).all()


def test_an_aligned_start_stays_balanced_and_gradient_flow_keeps_any_balance() -> None:
    lrs = [0.04, 0.02, 0.01]
    fixed = {"singular_values": "3, 2", "inputs": "identity"}
    _, aligned = train(DeepLinear(), grid(lr=lrs), 100, 10, depth=3, **fixed)
    assert aligned["balance_drift"].max() < 1e-13
    fixed |= {"init": "random", "scale": 0.3}
    drift_L = []
    for lr in lrs:
        _, found = train(DeepLinear(), grid(seed=[0]), int(2 / lr), 10, lr=lr, **fixed)
        drift_L.append(found["balance_drift"][0, -1])
    # Each of T / lr steps adds a term of lr^2.
    assert slope_of(np.array(drift_L), lrs) == pytest.approx(1, abs=0.15)
    assert drift_L[-1] > 1e-4


def test_without_an_aligned_start_there_is_no_distance_from_a_closed_form() -> None:
    _, found = train(DeepLinear(), grid(seed=[0]), 1, init="random")
    assert np.isnan(found["mode_error"]).all() and np.isfinite(found["train_loss"]).all()


@pytest.mark.parametrize("inputs", ["whitened", "identity"])
def test_rows_of_every_kind_carry_the_same_task(inputs: str) -> None:
    """With sum x x' = I the loss is |U diag(s) V' - W|^2 / 2, whatever the rows."""
    params = DeepLinearParams(inputs=inputs)
    data = {name: t.numpy() for name, t in DeepLinear().data(params, Stream(3)).items()}
    teacher_DO = data["x"].T @ data["y"]
    expected = data["right"] @ np.diag(STRENGTHS) @ data["left"].T
    np.testing.assert_allclose(teacher_DO, expected, atol=1e-13)


@pytest.mark.parametrize(
    ("wrong", "parameter"),
    [
        ({"singular_values": "3, two"}, "singular_values"),
        ({"singular_values": "3, -1"}, "singular_values"),
        ({"singular_values": ""}, "singular_values"),
        ({"singular_values": "2, 2.0"}, "singular_values"),
        ({"width": 3}, "singular_values"),
        ({"start": 0.7}, "start"),
        ({"rows": 5}, "rows"),
    ],
)
def test_what_has_no_solution_is_a_fault(wrong: dict[str, object], parameter: str) -> None:
    assert [name for name, _ in DeepLinearParams(**wrong).faults()] == [parameter]


@pytest.mark.parametrize("depth", [2, 5])
@pytest.mark.parametrize("init", ["aligned", "random"])
def test_a_trial_has_the_same_bits_alone_and_in_company(depth: int, init: str) -> None:
    trials = grid(lr=[0.01, 0.02, 0.1], seed=[0, 1, 7])
    fixed = {"depth": depth, "init": init, "scale": 0.3, "dtype": "float32"}
    assert_same_bits_alone(DeepLinear(), trials, (0, 4, 8), 12, 3, **fixed)
