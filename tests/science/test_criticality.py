"""Signals in wide and narrow networks at their start: limits, exact moments, the edge of chaos."""

from __future__ import annotations

import math

import numpy as np
import pytest
from at_start import measured
from packs import grid, train

from phasecube.engine.experiments.criticality import Criticality
from phasecube.engine.tasks.criticality import (
    edge_of_chaos,
    log_mean_square,
    mean_square_moment,
    parallel_susceptibility,
    perpendicular_susceptibility,
    slope_square_mean,
    square_mean,
    variances,
)


def errors(wide: list[float], **fixed: object) -> np.ndarray:
    """Return log_q_last of 16 nets less its limit, mean over nets, for each weight variance."""
    trials = grid(weight_variance=wide, seed=range(16))
    found = measured(Criticality(), trials, **fixed)["log_q_excess"]
    return found.reshape(len(wide), 16, -1)[..., -1].mean(1)


@pytest.mark.parametrize(
    ("layers", "expected"), [(10, 1.0440), (100, 1.01380), (1000, 1.00233), (10000, 1.00033)]
)
def test_the_critical_tanh_network_loses_length_as_one_over_twice_the_depth(
    layers: int, expected: float
) -> None:
    found = variances("tanh", 1.0, layers + 1, weight_variance=1.0, bias_variance=0.0)[-1]
    assert 2 * layers * found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("variance", "weights", "biases"),
    [(0.5, 1.68798, 0.038041), (1.0, 2.15330, 0.150965), (2.0, 2.86116, 0.512265)],
)
def test_the_edge_of_chaos_of_tanh_is_the_known_one(
    variance: float, weights: float, biases: float
) -> None:
    found = edge_of_chaos("tanh", variance)
    assert found == pytest.approx((weights, biases), abs=5e-6)
    assert variances("tanh", variance, 9, *found)[-1] == pytest.approx(variance, rel=1e-12)
    assert perpendicular_susceptibility("tanh", variance, found[0]) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("variance", [0.01, 0.5, 1.0])
def test_expectations_under_the_normal_law_agree_with_gauss_hermite(variance: float) -> None:
    node_N, weight_N = np.polynomial.hermite_e.hermegauss(201)
    z_N, weight_N = math.sqrt(variance) * node_N, weight_N / weight_N.sum()
    # 201 nodes themselves are good to 1e-13 up to variance 1.
    assert square_mean("tanh", variance) == pytest.approx(weight_N @ np.tanh(z_N) ** 2, abs=1e-12)
    slope = weight_N @ np.cosh(z_N) ** -4.0
    assert slope_square_mean("tanh", variance) == pytest.approx(slope, abs=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_the_parallel_susceptibility_is_the_slope_of_the_variance_map(activation) -> None:
    after = [variances(activation, k, 2, 1.3, 0.2)[1] for k in (0.7 + 1e-5, 0.7 - 1e-5)]
    slope = (after[0] - after[1]) / 2e-5  # good to 1e-10 by the third derivative
    assert parallel_susceptibility(activation, 0.7, 1.3) == pytest.approx(slope, abs=1e-8)


def test_relu_and_linear_networks_are_critical_at_two_and_one() -> None:
    for activation, weights in (("relu", 2.0), ("linear", 1.0)):
        assert parallel_susceptibility(activation, 0.3, weights) == 1
        assert perpendicular_susceptibility(activation, 0.3, weights) == 1


@pytest.mark.parametrize(("width", "layers"), [(32, 8), (8, 2), (5, 1)])
def test_second_moments_are_the_closed_forms(width: int, layers: int) -> None:
    linear = mean_square_moment("linear", width, layers, 2)
    relu = mean_square_moment("relu", width, layers, 2)
    assert linear == pytest.approx((1 + 2 / width) ** layers, rel=1e-12)
    expected = (1 + 2 / width) * (1 + 5 / width) ** (layers - 1)
    assert relu == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [512, pytest.param(16384, marks=pytest.mark.slow)])
@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_moments_of_networks_are_exact_at_a_depth_of_a_quarter_of_the_width(
    activation, n: int
) -> None:
    """8 units, 2 layers: mean, second moment and logarithm of q over n networks."""
    weights = 1.0 if activation == "linear" else 2.0
    trials = [{"seed": seed} for seed in range(n)]
    fixed = {"width": 8, "depth": 2, "weight_variance": weights, "input_square": 1 / weights}
    log_q = measured(Criticality(), trials, activation=activation, **fixed)["log_q_last"]
    q = np.exp(log_q)
    moment = [1.0, 1.0, *(mean_square_moment(activation, 8, 2, k) for k in (2, 3, 4))]
    # Four standard errors, from the exact higher moments.
    assert abs(q.mean() - 1) < 4 * math.sqrt((moment[2] - 1) / n)
    assert abs((q**2).mean() - moment[2]) < 4 * math.sqrt((moment[4] - moment[2] ** 2) / n)
    exact = log_mean_square(activation, 8, 2)
    alive = log_q[np.isfinite(log_q)]  # 1 of 256 ReLU networks is dead in its first layer
    assert abs(alive.mean() - exact.mean) < 4 * math.sqrt(exact.variance / n)


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_second_moments_of_deep_networks_drawn_by_hand_are_exact_to_five_percent(
    activation,
) -> None:
    """32 units, 8 layers. Given one layer the next is normal, so a network costs 8 x 32 numbers.

    The tolerance of 5 % asks for networks enough that it is four standard errors."""
    width, layers = 32, 8
    second, fourth = (mean_square_moment(activation, width, layers, k) for k in (2, 4))
    n = math.ceil((4 / 0.05) ** 2 * (fourth / second**2 - 1))
    rng, total = np.random.default_rng(0), 0.0
    for part in np.array_split(np.arange(n), math.ceil(n / 20_000)):
        k_R = np.ones(len(part))
        for _ in range(layers - 1):
            z_RN = rng.standard_normal((len(part), width))
            k_R *= (z_RN**2 if activation == "linear" else 2 * np.maximum(z_RN, 0) ** 2).mean(1)
        total += float((k_R**2 * (rng.chisquare(width, len(part)) / width) ** 2).sum())
    assert total / n == pytest.approx(second, rel=0.05)


def test_a_relu_network_blows_up_above_two_and_fades_below() -> None:
    """log q_L is its limit L log(C_W / 2), and a mean over nets that C_W does not move."""
    wide = [1.9, 2.0, 2.1]
    depth, width = 16, 64
    trials = grid(weight_variance=wide, seed=range(64))
    log_q = measured(Criticality(), trials, width=width, depth=depth)["log_q_last"]
    log_q = log_q.reshape(3, 64)
    # The nets of a seed are the same but for their scale: the difference is exact.
    steps = np.log(np.array(wide) / 2) * depth
    np.testing.assert_allclose(log_q - log_q[1], steps[:, None] * np.ones(64), atol=1e-9)
    exact = log_mean_square("relu", width, depth)
    # E q_1 is C_W and not 1: the first layer reads the input itself.
    assert abs(log_q[1].mean() - math.log(2) - exact.mean) < 4 * math.sqrt(exact.variance / 64)


def test_a_wide_tanh_network_follows_the_variance_map() -> None:
    """The error of log q is of order depth / width, and of its mean over nets too."""
    layers, width = 8, 256
    found = errors([0.8, 1.0, 2.0], activation="tanh", width=width, depth=layers)
    # Below criticality each layer adds a variance of 2 / n to log q at most, above less.
    spread = math.sqrt(2 * layers / width / 16)
    np.testing.assert_allclose(found, 0, atol=4 * spread + layers / width)


def log_growth(chi_weights: float, variance: float, width: int) -> tuple[float, float]:
    """Return mean and variance of log |g_l|^2 / |g_(l+1)|^2 in a layer of tanh, to order 1 / n.

    |g_l|^2 is a sum over n units of phi'^2 times the square of a normal number, so its
    relative variance is (3 E phi'^4 / (E phi'^2)^2 - 1) / n, of which the log loses half."""
    node_N, weight_N = np.polynomial.hermite_e.hermegauss(101)
    square_N = np.cosh(math.sqrt(variance) * node_N) ** -4.0
    first, second = (weight_N @ square_N**k / weight_N.sum() for k in (1, 2))
    spread = (3 * second / first**2 - 1) / width
    return math.log(chi_weights * first) - spread / 2, spread


@pytest.mark.parametrize("share", [0.7, 1.0, 1.5])
def test_gradients_grow_by_the_perpendicular_susceptibility(share: float) -> None:
    layers, width, nets = 12, 256, 16
    weights, biases = edge_of_chaos("tanh", 0.5)
    weights *= share
    trials = grid(weight_variance=[weights], bias_variance=[biases], seed=range(nets))
    found = measured(Criticality(), trials, activation="tanh", width=width, depth=layers)
    limit = variances("tanh", weights + biases, layers, weights, biases)
    mean_L, spread_L = np.array([log_growth(weights, k, width) for k in limit[:-1]]).T
    error = math.sqrt(spread_L.sum() / nets) / (layers - 1)
    assert abs(found["log_chi"].mean() - mean_L.mean()) < 4 * error


def test_a_trial_has_the_same_bits_alone_and_in_company() -> None:
    trials = grid(weight_variance=[1.0, 2.5], bias_variance=[0.0, 0.3], seed=[0, 3])
    for activation in ("relu", "tanh", "linear"):
        fixed = {"activation": activation, "width": 13, "depth": 5}
        together = measured(Criticality(), trials, **fixed)
        for row in (0, 3, 7):
            _, alone = train(Criticality(), [trials[row]], 1, **fixed)
            for measure in ("log_q_last", "log_chi"):
                assert alone[measure][0, 0] == together[measure][row], (activation, measure)


def test_nothing_is_trained() -> None:
    _, found = train(Criticality(), grid(seed=range(3)), 1, width=8, depth=3)
    assert (found["weight_norm"][:, 0] == found["weight_norm"][:, 1]).all()
