"""Exact learning rates at which SGD on an interpolating linear model loses its stability.

A step is theta <- (I - lr A) theta, A = 1/B sum a a' over B examples drawn with
replacement. Two boundaries: of the mean square (E |theta|^2 stays bounded) and of almost
every run (|theta| shrinks with probability 1), the top Lyapunov exponent of the random
product. Between the two, runs shrink one by one while their mean square grows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MAX_DIMENSION = 40  # the operator on symmetric matrices is d (d + 1) / 2 square
CONFIDENCE = 0.999  # of the intervals of Monte Carlo roots


@dataclass(frozen=True)
class Moments:
    """E aa' and E aa' (x) aa' of one example: second_DD, fourth_DDDD."""

    second_DD: Floats
    fourth_DDDD: Floats

    @classmethod
    def of_rows(cls, rows_RD: Floats) -> Moments:
        """Return the moments of a finite data set, each row as likely as another."""
        n = len(rows_RD)
        outer_RP = np.einsum("ri,rj->rij", rows_RD, rows_RD).reshape(n, -1)
        d = rows_RD.shape[1]
        return cls(rows_RD.T @ rows_RD / n, (outer_RP.T @ outer_RP / n).reshape(d, d, d, d))

    @classmethod
    def gaussian(cls, dimension: int) -> Moments:
        """Return the moments of a ~ N(0, I), by Isserlis' theorem."""
        eye = np.eye(dimension)
        pairs = (("ij", "kl"), ("ik", "jl"), ("il", "jk"))
        return cls(eye, sum(np.einsum(f"{p},{q}->ijkl", eye, eye) for p, q in pairs))

    @classmethod
    def sphere(cls, dimension: int) -> Moments:
        """Return the moments of a uniform on the sphere of radius sqrt(d)."""
        gaussian = cls.gaussian(dimension)
        return cls(gaussian.second_DD, gaussian.fourth_DDDD * (dimension / (dimension + 2)))


def gaussian_mean_square_lr(batch: float, dimension: float) -> float:
    """Return 2B / (d + 1 + B): the mean square is stable below, for a ~ N(0, I)."""
    return 2 * batch / (dimension + 1 + batch)


def sphere_mean_square_lr(batch: float, dimension: float) -> float:
    """Return 2B / (d - 1 + B): the same for features of constant norm sqrt(d), E aa' = I.

    At B = 1 it is 2 / tr(H), which holds for every law of constant norm.
    """
    return 2 * batch / (dimension - 1 + batch)


def mean_square_operator(moments: Moments, lr: float, batch: int) -> Floats:
    """Return the map E theta theta' -> its value a step later, on symmetric matrices."""
    pull, push = _pull_and_push(moments, batch)
    return np.eye(len(pull)) - lr * pull + lr**2 * push


def mean_square_lr(moments: Moments, batch: int) -> float:
    """Return the learning rate at which the spectral radius of that map passes 1.

    The map is 1 - lr P + lr^2 Q; P^-1 and Q keep matrices positive, so the largest
    eigenvalue of P^-1 Q has a positive matrix for which it turns marginal first, at its
    inverse. Directions that no example has never move; they are left out.
    Raises ValueError where the dimension is above MAX_DIMENSION.
    """
    moments = _seen_directions(moments)
    pull, push = _pull_and_push(moments, batch)
    found = np.linalg.eigvals(np.linalg.solve(pull, push))
    return float(1 / np.abs(found).max())


def gradient_descent_lr(moments: Moments) -> float:
    """Return 2 / lambda_max(H), the boundary of an infinite batch."""
    return float(2 / np.linalg.eigvalsh(moments.second_DD)[-1])


def _pull_and_push(moments: Moments, batch: int) -> tuple[Floats, Floats]:
    """Return P: S -> HS + SH and Q: S -> E[A S A] on symmetric matrices as square arrays."""
    h_DD, d = moments.second_DD, len(moments.second_DD)
    if d > MAX_DIMENSION:
        raise ValueError(f"the exact operator takes at most {MAX_DIMENSION} dimensions, got {d}")
    rows, columns = np.triu_indices(d)
    # Coordinates on symmetric matrices that keep lengths: off the diagonal times sqrt(2).
    weight_S = np.where(rows == columns, 1.0, np.sqrt(2.0))
    eye = np.eye(d)
    # E[(a a' S a a')_ij] = sum_kl E[a_i a_k a_j a_l] S_kl; two different examples give HSH.
    full_push = moments.fourth_DDDD.transpose(0, 2, 1, 3) / batch
    full_push = full_push + (1 - 1 / batch) * np.einsum("ik,jl->ijkl", h_DD, h_DD)
    full_pull = np.einsum("ik,jl->ijkl", h_DD, eye) + np.einsum("ik,jl->ijkl", eye, h_DD)

    def on_symmetric(full_DDDD: Floats) -> Floats:
        both = (full_DDDD + full_DDDD.transpose(0, 1, 3, 2)) / 2
        part: Floats = both[rows, columns][:, rows, columns]
        return part * weight_S[:, None] * weight_S

    return on_symmetric(full_pull), on_symmetric(full_push)


def _seen_directions(moments: Moments) -> Moments:
    values, vectors = np.linalg.eigh(moments.second_DD)
    seen = vectors[:, values > values[-1] * len(values) * np.finfo(float).eps]
    rotated = moments.fourth_DDDD
    for axis in range(4):
        rotated = np.moveaxis(np.tensordot(rotated, seen, (axis, 0)), -1, axis)
    return Moments(seen.T @ moments.second_DD @ seen, rotated)


@dataclass(frozen=True)
class Growth:
    """log |theta| gains `mean` a step, with variance `variance` a step; `error` of the mean."""

    mean: float
    variance: float
    error: float


def gaussian_growth(lr: float, batch: int, dimension: int, nodes: int = 160) -> Growth:
    """Return the exact law of log |theta| for a ~ N(0, I), by quadrature.

    The law of A has no direction, so the gains of log |theta| are independent and each is
    distributed as log |(I - lr A) e| for a fixed unit vector e. With s ~ chi^2 of B and
    q ~ chi^2 of d - 1 degrees, independent,
    |(I - lr A) e|^2 = (1 - lr s / B)^2 + (lr / B)^2 s q. `error`: against half the nodes.
    """
    fine, coarse = (_gaussian_growth(lr, batch, dimension, n) for n in (nodes, nodes // 2))
    return Growth(*fine, abs(fine[0] - coarse[0]))


def _gaussian_growth(lr: float, batch: int, dimension: int, nodes: int) -> tuple[float, float]:
    if lr == 0:
        return 0.0, 0.0
    # The integrand is singular at s = B / lr, q = 0: both rules crowd their nodes there.
    r_N, r_weight_N = _chi_rule(batch, np.sqrt(batch / lr), nodes)
    if dimension == 1:
        q_M, q_weight_M = np.zeros(1), np.ones(1)
    else:
        root_M, q_weight_M = _chi_rule(dimension - 1, 0.0, nodes)
        q_M = root_M**2
    s_N = r_N**2
    square_NM = (1 - lr * s_N / batch)[:, None] ** 2 + (lr / batch) ** 2 * s_N[:, None] * q_M
    gain_NM = np.log(np.maximum(square_NM, np.finfo(float).tiny)) / 2
    weight_NM = r_weight_N[:, None] * q_weight_M
    mean = float((weight_NM * gain_NM).sum())
    return mean, float((weight_NM * (gain_NM - mean) ** 2).sum())


def _chi_rule(degrees: int, special: float, nodes: int) -> tuple[Floats, Floats]:
    """Return nodes and weights of a chi law, crowded on both sides of `special`."""
    from scipy import stats

    law = stats.chi(degrees)
    low, high = float(law.ppf(1e-18)), float(law.isf(1e-18))
    ends = [low, special, high] if low < special < high else [low, high]
    x, w = _legendre(nodes)
    places, weights = [], []
    for a, b in pairwise(ends):
        # u^3 toward the special end: a logarithm there becomes smooth.
        u = (x + 1) / 2
        toward_a = a == special or (special <= a)
        share = u**3 if toward_a else 1 - u**3
        places.append(a + (b - a) * share)
        weights.append(w / 2 * (b - a) * 3 * u**2)
    place = np.concatenate(places)
    weight = np.concatenate(weights) * law.pdf(place)
    return place, weight / weight.sum()


@lru_cache(maxsize=8)
def _legendre(nodes: int) -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(nodes)  # an eigenvalue problem each time


def product_growth(
    draw: Callable[[np.random.Generator, int], Floats],
    lr: float,
    batch: int,
    *,
    chains: int = 256,
    steps: int = 2000,
    skip: int = 200,
    seed: int = 0,
) -> Growth:
    """Return the top Lyapunov exponent of the random product by simulation.

    `draw(rng, n)` returns n examples (n, d). Chains are independent, so the standard error
    comes from their spread; the first `skip` steps, in which the direction settles, do not
    count.
    """
    rng = np.random.default_rng(seed)
    d = draw(rng, 1).shape[1]
    theta_CD = rng.standard_normal((chains, d))
    theta_CD /= np.linalg.norm(theta_CD, axis=1, keepdims=True)
    gain_C = np.zeros(chains)
    for step in range(skip + steps):
        a_CBD = draw(rng, chains * batch).reshape(chains, batch, d)
        along_CB = np.einsum("cbd,cd->cb", a_CBD, theta_CD)
        theta_CD = theta_CD - lr / batch * np.einsum("cb,cbd->cd", along_CB, a_CBD)
        length_C = np.linalg.norm(theta_CD, axis=1)
        theta_CD /= length_C[:, None]
        if step >= skip:
            gain_C += np.log(length_C)
    rate_C = gain_C / steps
    variance = float(rate_C.var(ddof=1))
    return Growth(float(rate_C.mean()), variance * steps, float(np.sqrt(variance / chains)))


def rows_of(rows_RD: Floats) -> Callable[[np.random.Generator, int], Floats]:
    """Return the `draw` of a finite data set: rows with replacement."""

    def draw(rng: np.random.Generator, n: int) -> Floats:
        found: Floats = rows_RD[rng.integers(len(rows_RD), size=n)]
        return found

    return draw


@dataclass(frozen=True)
class Root:
    """A learning rate at which growth is 0, and the interval that surely holds it."""

    value: float
    low: float
    high: float


def almost_sure_lr(growth: Callable[[float], Growth], low: float, high: float) -> Root:
    """Return where the Lyapunov exponent passes 0 upwards between `low` and `high`.

    The interval holds every learning rate at which the exponent is within its error
    (CONFIDENCE) of 0, the slope taken at the root. With `gaussian_growth` the error is
    that of quadrature; `product_growth` must keep its seed, so that the exponent is a
    smooth function of the learning rate. Raises ValueError where it does not pass 0.
    """
    from scipy import optimize

    def mean(lr: float) -> float:
        return growth(lr).mean

    if not mean(low) < 0 < mean(high):
        raise ValueError(
            f"the exponent is {mean(low):.3g} at lr {low:g} and {mean(high):.3g} at {high:g}; "
            "a root needs it below 0 at the first and above 0 at the second"
        )
    value = float(optimize.brentq(mean, low, high, xtol=1e-12, rtol=1e-12))
    h = 1e-3 * value
    slope = (mean(value + h) - mean(value - h)) / (2 * h)
    half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * growth(value).error / slope + 1e-12
    return Root(value, value - half, value + half)


def gaussian_almost_sure_lr(batch: int, dimension: int) -> Root:
    """Return the boundary of almost every run for a ~ N(0, I), d >= 2, by quadrature."""
    below = gaussian_mean_square_lr(batch, dimension)
    high = 2 * below
    while gaussian_growth(high, batch, dimension).mean <= 0:
        high *= 2
    # The mean square bounds the mean of the logarithm (Jensen), so the root lies above it.
    return almost_sure_lr(lambda lr: gaussian_growth(lr, batch, dimension), 0.99 * below, high)
