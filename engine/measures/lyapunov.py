"""Lyapunov exponents of maps and flows, and the forcing that holds chaos down.

Benettin's method: a frame of tangent vectors is carried beside the state and made
orthonormal again every few steps; the logarithms of what QR takes out, over time, are
the exponents. Functions take and return arrays with any number of trajectories in front,
state (..., D) and Jacobian (..., D, D): many short ones cost what one costs, and say how
sure their mean is.

Reference: Benettin et al. 1980, Meccanica 15:9; Hess et al. 2023, arXiv:2306.04406 (forcing).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
VectorField = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Exponents:
    """Exponents of each trajectory, largest first, per unit of time: each_BD."""

    each_BD: Floats

    @property
    def mean(self) -> Floats:
        """Return the mean over trajectories, shape (D,)."""
        found: Floats = self.each_BD.mean(0)
        return found

    @property
    def standard_error(self) -> Floats:
        """Return the standard error of that mean, shape (D,); NaN for one trajectory."""
        n = len(self.each_BD)
        if n < 2:
            return np.full(self.each_BD.shape[1:], np.nan)
        found: Floats = self.each_BD.std(0, ddof=1) / math.sqrt(n)
        return found


def exponents_of_map(
    step: VectorField,
    jacobian: VectorField,
    start_BD: Floats,
    steps: int,
    *,
    settle: int = 0,
) -> Exponents:
    """Return the exponents per step of x -> step(x), from the states start_BD.

    The first `settle` steps let state and frame find their way and are not counted.
    """
    x_BD = np.asarray(start_BD, np.float64)
    frame_BDD = _frames(x_BD)
    total_BD = np.zeros_like(x_BD)
    for place in range(settle + steps):
        frame_BDD, stretch_BD = _orthonormal(jacobian(x_BD) @ frame_BDD)
        x_BD = step(x_BD)
        if place >= settle:
            total_BD += stretch_BD
    return _exponents(total_BD, float(steps))


def exponents_of_flow(
    field: VectorField,
    jacobian: VectorField,
    start_BD: Floats,
    steps: int,
    dt: float,
    *,
    settle: int = 0,
    every: int = 5,
) -> Exponents:
    """Return the exponents per unit of time of dx/dt = field(x), by Runge-Kutta steps of 4th order.

    State and frame take the same steps of `dt`; the frame is made orthonormal after `every`
    of them. `settle` steps are not counted; it and `steps` are rounded up to multiples of
    `every`. The sum of the exponents is the mean divergence of the field to O(dt^4).
    """
    x_BD = np.asarray(start_BD, np.float64)
    frame_BDD = _frames(x_BD)
    total_BD = np.zeros_like(x_BD)
    n_settle, n_counted = -(-settle // every), -(-steps // every)
    for place in range(n_settle + n_counted):
        for _ in range(every):
            x_BD, frame_BDD = _runge_kutta(field, jacobian, x_BD, frame_BDD, dt)
        frame_BDD, stretch_BD = _orthonormal(frame_BDD)
        if place >= n_settle:
            total_BD += stretch_BD
    return _exponents(total_BD, n_counted * every * dt)


def forced_exponent(exponent: float, forcing: float) -> float:
    """Return the exponent per step under generalized teacher forcing: exponent + ln(1 - forcing).

    Before each step the state is replaced by (1 - forcing) x + forcing * data, so each
    Jacobian is multiplied by 1 - forcing. forcing in [0, 1]; 1 gives -inf.
    """
    if not 0 <= forcing <= 1:
        raise ValueError(f"forcing must lie in [0, 1], got {forcing}")
    return exponent + math.log1p(-forcing) if forcing < 1 else -math.inf


def least_forcing(exponent: float) -> float:
    """Return max(0, 1 - exp(-exponent)): the least forcing that lets no difference grow."""
    return max(0.0, -math.expm1(-exponent))


def sufficient_forcing(jacobians_TDD: Floats) -> float:
    """Return a forcing that is enough, from the Jacobians of one run: max(0, 1 - 1 / sigma).

    sigma is the geometric mean of their largest singular values, a bound of the growth per
    step that needs no exponent.
    """
    largest_T = np.linalg.norm(jacobians_TDD, ord=2, axis=(-2, -1))
    return least_forcing(float(np.log(largest_T).mean()))


def _runge_kutta(
    field: VectorField, jacobian: VectorField, x_BD: Floats, frame_BDD: Floats, dt: float
) -> tuple[Floats, Floats]:
    slope_1, turn_1 = field(x_BD), jacobian(x_BD) @ frame_BDD
    x_2 = x_BD + dt / 2 * slope_1
    slope_2, turn_2 = field(x_2), jacobian(x_2) @ (frame_BDD + dt / 2 * turn_1)
    x_3 = x_BD + dt / 2 * slope_2
    slope_3, turn_3 = field(x_3), jacobian(x_3) @ (frame_BDD + dt / 2 * turn_2)
    x_4 = x_BD + dt * slope_3
    slope_4, turn_4 = field(x_4), jacobian(x_4) @ (frame_BDD + dt * turn_3)
    return (
        x_BD + dt / 6 * (slope_1 + 2 * slope_2 + 2 * slope_3 + slope_4),
        frame_BDD + dt / 6 * (turn_1 + 2 * turn_2 + 2 * turn_3 + turn_4),
    )


def _frames(x_BD: Floats) -> Floats:
    if x_BD.ndim != 2:
        raise ValueError(
            f"start must hold one row for each trajectory, shape (B, D), got {x_BD.shape}"
        )
    return np.broadcast_to(np.eye(x_BD.shape[1]), (*x_BD.shape, x_BD.shape[1])).copy()


def _orthonormal(frame_BDD: Floats) -> tuple[Floats, Floats]:
    """Return the frame's Q and log |diagonal of R|."""
    q_BDD, r_BDD = np.linalg.qr(frame_BDD)
    # A direction that is lost altogether has the exponent -inf, which is no mistake.
    with np.errstate(divide="ignore"):
        return q_BDD, np.log(np.abs(np.diagonal(r_BDD, axis1=-2, axis2=-1)))


def _exponents(total_BD: Floats, time: float) -> Exponents:
    return Exponents(-np.sort(-total_BD / time, axis=-1))
