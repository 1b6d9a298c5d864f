"""How wide networks pass signals on at their start: variance maps, criticality, exact moments.

A deep MLP z_1 = W_1 x + b_1, z_(l+1) = W phi(z_l) + b, weights N(0, C_W / inputs), biases
N(0, C_b). K_l is the limit of the mean square of z_l at infinite width.

Reference: Roberts, Yaida & Hanin 2021, arXiv:2106.10165; Schoenholz et al. 2016,
arXiv:1611.01232.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, polygamma
from scipy.stats import binom

Floats = npt.NDArray[np.float64]
Activation = Literal["relu", "tanh", "linear"]
# Equal steps over z / sqrt(K): the error is exp(-pi^2 / (SPACING sqrt K)), as tanh is analytic
# up to pi / 2 i. Gauss-Hermite with as many nodes is off by 1e-4 at K = 10.
SPACING = 0.05
FURTHEST = 12.0


def square_mean(activation: Activation, variance: float) -> float:
    """Return E phi(z)^2 for z ~ N(0, variance)."""
    if activation == "tanh":
        return _expected(lambda z: np.tanh(z) ** 2, variance)
    return variance / 2 if activation == "relu" else variance


def slope_square_mean(activation: Activation, variance: float) -> float:
    """Return E phi'(z)^2 for z ~ N(0, variance)."""
    if activation == "tanh":
        return _expected(lambda z: np.cosh(z) ** -4.0, variance)
    return 0.5 if activation == "relu" else 1.0


def variances(
    activation: Activation, first: float, layers: int, weight_variance: float, bias_variance: float
) -> Floats:
    """Return K_1 .. K_layers, shape (layers,), from K_1 = first: K' = C_b + C_W E phi(z)^2."""
    found = np.empty(layers)
    found[0] = first
    for place in range(1, layers):
        found[place] = bias_variance + weight_variance * square_mean(activation, found[place - 1])
    return found


def parallel_susceptibility(
    activation: Activation, variance: float, weight_variance: float
) -> float:
    """Return dK' / dK: how a small difference in length grows in one layer."""
    if activation != "tanh":
        return weight_variance * square_mean(activation, 1.0)

    def slope(z_N: Floats) -> Floats:  # of phi(z)^2 by K, by parts: E (phi^2)'' / 2
        tanh_N = np.tanh(z_N)
        found_N: Floats = (1 - tanh_N**2) * (1 - 3 * tanh_N**2)
        return found_N

    return weight_variance * _expected(slope, variance)


def perpendicular_susceptibility(
    activation: Activation, variance: float, weight_variance: float
) -> float:
    """Return chi = C_W E phi'(z)^2: what a small turn, or a gradient, grows by in one layer.

    Both are meant squared.
    """
    return weight_variance * slope_square_mean(activation, variance)


def edge_of_chaos(activation: Activation, variance: float) -> tuple[float, float]:
    """Return (C_W, C_b) for which `variance` is a fixed point of the map with chi = 1."""
    weight_variance = 1 / slope_square_mean(activation, variance)
    return weight_variance, variance - weight_variance * square_mean(activation, variance)


def mean_square_moment(
    activation: Literal["relu", "linear"], width: int, layers: int, order: int
) -> float:
    """Return E[q^order] / E[q]^order of q, the mean square of z_L over `width` units, C_b = 0.

    Exact at every width, over weights, for one input: given z_l, the next layer is normal
    of variance C_W / n sum phi(z_l)^2, so q is a product of independent factors. The second
    moment is (1 + 2/n)^L for linear units and (1 + 2/n)(1 + 5/n)^(L - 1) for ReLU.
    """
    last = _mean_moment([_double_factorial(2 * k - 1) for k in range(order + 1)], width)
    if activation == "linear":
        return last**layers
    # u = 2 relu(g)^2 is 0 or, with probability 1/2, 2 g^2: of mean 1.
    of_unit = [1.0] + [2.0**k * _double_factorial(2 * k - 1) / 2 for k in range(1, order + 1)]
    return last * _mean_moment(of_unit, width) ** (layers - 1)


@dataclass(frozen=True)
class LogMoments:
    """Mean and variance of a logarithm."""

    mean: float
    variance: float


def log_mean_square(activation: Literal["relu", "linear"], width: int, layers: int) -> LogMoments:
    """Return mean and variance of log(q / E q), q as in `mean_square_moment`, exact.

    For ReLU given that no layer before the last is dead as a whole, which has probability
    (1 - 2^-width)^(layers - 1). Unlike q itself its logarithm has no heavy tail.
    """
    last = _log_chi_square(np.array([width]), np.ones(1), width)
    if activation == "linear":
        return LogMoments(layers * last.mean, layers * last.variance)
    alive_K = np.arange(1, width + 1)
    chance_K = binom.pmf(alive_K, width, 0.5)
    # 2 / n sum relu(g)^2 is chi^2 with as many degrees of freedom as units are alive.
    step = _log_chi_square(alive_K, chance_K / chance_K.sum(), width / 2)
    return LogMoments(
        last.mean + (layers - 1) * step.mean, last.variance + (layers - 1) * step.variance
    )


def _log_chi_square(freedom_K: npt.NDArray[np.int64], chance_K: Floats, scale: float) -> LogMoments:
    """Return the moments of log(chi^2 / scale), degrees of freedom drawn with `chance_K`."""
    mean_K = digamma(freedom_K / 2) + math.log(2 / scale)
    mean = float(chance_K @ mean_K)
    inner = float(chance_K @ polygamma(1, freedom_K / 2))
    return LogMoments(mean, inner + float(chance_K @ (mean_K - mean) ** 2))


def _mean_moment(of_unit: list[float], n: int) -> float:
    """Return E[(mean of n)^k] from moments 0 .. k of one, by a power of their series."""
    order = len(of_unit) - 1
    series = np.array([m / math.factorial(k) for k, m in enumerate(of_unit)])
    power = np.zeros(order + 1)
    power[0] = 1.0
    for _ in range(n):
        power = np.convolve(power, series)[: order + 1]
    return float(power[order]) * math.factorial(order) / float(n) ** order


def _double_factorial(n: int) -> float:
    return float(math.prod(range(n, 0, -2)))


def _expected(function: Callable[[Floats], Floats], variance: float) -> float:
    node_N, weight_N = _normal_nodes()
    return float(weight_N @ function(math.sqrt(variance) * node_N))


@lru_cache(maxsize=1)
def _normal_nodes() -> tuple[Floats, Floats]:
    half = round(FURTHEST / SPACING)
    node_N: Floats = SPACING * np.arange(-half, half + 1, dtype=np.float64)
    weight_N: Floats = np.exp(-(node_N**2) / 2)
    return node_N, weight_N / weight_N.sum()
