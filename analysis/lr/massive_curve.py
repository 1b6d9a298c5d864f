"""How massive activations grow and settle: a curve of five parameters, and when it peaks.

f(t) = A exp(-lam x) ln x + K with x = gamma t + t0: growth like a logarithm that decays
exponentially. It peaks at x = exp(W(1 / lam)), W Lambert's function, for there
ln x = 1 / (lam x). Where no peak is seen, lam and gamma are told by their product only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import lambertw

Floats = npt.NDArray[np.float64]
_Five = tuple[float, float, float, float, float]
# Of the logarithms of lam, gamma * (last t), t0.
_LEAST, _MOST = np.log([1e-4, 1e-2, 1e-3]), np.log([1e1, 1e4, 1e3])
_STARTS = [
    (lam, gamma, t0) for lam in (0.03, 0.3) for gamma in (3.0, 30.0, 300.0) for t0 in (1.0, 10.0)
]
_SHOWN = 2.0  # a peak is seen where the curve falls after it by more than this times the noise


class Peak(IntEnum):
    """What is known of the time of the peak."""

    FOUND = 1
    AFTER = 2  # later than the last time, or not told apart from that: t_peak is that bound
    NONE = 3  # the curve only falls, or does not change


@dataclass(frozen=True)
class MassiveCurve:
    """The fitted parameters, the peak, and standard errors by the delta method.

    `errors` holds those of (amplitude, lam, gamma, t0, level), NaN where the points do not
    tell a parameter; `peak_error` is NaN unless the peak was found. `noise` is the standard
    deviation of the residuals.
    """

    amplitude: float
    lam: float
    gamma: float
    t0: float
    level: float
    peak: Peak
    t_peak: float
    peak_error: float
    noise: float
    r2: float
    errors: tuple[float, ...]

    def at(self, t: npt.ArrayLike) -> Floats:
        """Return the curve at times t."""
        return massive_curve(t, self.amplitude, self.lam, self.gamma, self.t0, self.level)


def massive_curve(
    t: npt.ArrayLike, amplitude: float, lam: float, gamma: float, t0: float, level: float
) -> Floats:
    """Return f(t) = amplitude exp(-lam x) ln x + level, x = gamma t + t0."""
    x = gamma * np.asarray(t, np.float64) + t0
    found: Floats = amplitude * np.exp(-lam * x) * np.log(x) + level
    return found


def peak_time(lam: float, gamma: float, t0: float) -> float:
    """Return (exp(W(1 / lam)) - t0) / gamma, below 0 where the curve falls from the start."""
    return float((np.exp(lambertw(1 / lam).real) - t0) / gamma)


def fit_massive_curve(t: npt.ArrayLike, values: npt.ArrayLike) -> MassiveCurve:
    """Return the curve of least squares through `values` (T,) at times `t` (T,) >= 0.

    Amplitude and level are solved for exactly at each (lam, gamma, t0), which are searched
    within bounds from several starts. Not finite values are left out. Raises ValueError for
    fewer than 6 different times.
    """
    t_T, y_T = np.asarray(t, np.float64), np.asarray(values, np.float64)
    used_T = np.isfinite(t_T) & np.isfinite(y_T)
    t_T, y_T = t_T[used_T], y_T[used_T]
    if len(np.unique(t_T)) < 6 or (t_T < 0).any():
        raise ValueError(f"5 parameters need values at 6 times >= 0, got {len(np.unique(t_T))}")
    last, spread = float(t_T.max()), float(y_T.std()) or 1.0

    def residuals(log_3: Floats) -> Floats:
        amplitude, level = _linear(t_T / last, y_T, log_3)
        lam, gamma, t0 = np.exp(log_3)
        found: Floats = massive_curve(t_T / last, amplitude, lam, gamma, t0, level) - y_T
        return found / spread

    fits = [
        least_squares(
            residuals, np.log(start), bounds=(_LEAST, _MOST), x_scale=1.0, xtol=1e-12, ftol=1e-12
        )
        for start in _STARTS
    ]
    best = min(fits, key=lambda fit: float(fit.cost))
    lam, gamma, t0 = (float(v) for v in np.exp(best.x))
    amplitude, level = _linear(t_T / last, y_T, best.x)
    return _described(t_T, y_T, (amplitude, lam, gamma / last, t0, level))


def _linear(t_T: Floats, y_T: Floats, log_3: Floats) -> tuple[float, float]:
    """Return amplitude and level of least squares at given lam, gamma, t0."""
    lam, gamma, t0 = (float(v) for v in np.exp(log_3))
    shape_T = massive_curve(t_T, 1.0, lam, gamma, t0, 0.0)
    centred_T = shape_T - shape_T.mean()
    power = float(centred_T @ centred_T)
    amplitude = float(centred_T @ y_T) / power if power > 0 else 0.0
    return amplitude, float(y_T.mean() - amplitude * shape_T.mean())


def _described(t_T: Floats, y_T: Floats, found: _Five) -> MassiveCurve:
    amplitude, lam, gamma, t0, level = found
    rest_T = y_T - massive_curve(t_T, *found)
    noise = (float(rest_T @ rest_T) / (len(t_T) - 5)) ** 0.5
    covariance = _covariance(t_T, found) * noise**2
    last = float(t_T.max())
    t_peak, peak_error = peak_time(lam, gamma, t0), float("nan")
    ends = massive_curve([max(t_peak, 0.0), last], *found)
    if amplitude <= 0 or t_peak <= t_T.min():
        peak, t_peak = Peak.NONE, float("nan")
    elif t_peak >= last or ends[0] - ends[1] <= _SHOWN * noise:
        peak, t_peak = Peak.AFTER, min(t_peak, last)
    else:
        peak = Peak.FOUND
        # x at the peak, u, is told by lam u ln u = 1, so u' = -u ln u / (lam (1 + ln u)).
        u = gamma * t_peak + t0
        by_lam = -u * np.log(u) / (lam * (1 + np.log(u)))
        slope_5 = np.array([0.0, by_lam, -t_peak, -1.0, 0.0]) / gamma
        peak_error = float(max(slope_5 @ covariance @ slope_5, 0.0) ** 0.5)
    rest, total = float(rest_T @ rest_T), float(((y_T - y_T.mean()) ** 2).sum())
    return MassiveCurve(
        amplitude,
        lam,
        gamma,
        t0,
        level,
        peak,
        t_peak,
        peak_error,
        noise,
        1 - rest / total if total > 0 else float("nan"),
        tuple(float(v) for v in np.sqrt(np.maximum(covariance.diagonal(), 0.0))),
    )


def _covariance(t_T: Floats, found: _Five) -> Floats:
    """Return the covariance of the five parameters for noise 1, NaN where it has none."""
    amplitude, lam, gamma, t0, _ = found
    x_T = gamma * t_T + t0
    decay_T, log_T = np.exp(-lam * x_T), np.log(x_T)
    by_x_T = amplitude * decay_T * (1 / x_T - lam * log_T)
    columns = [decay_T * log_T, -amplitude * x_T * decay_T * log_T, t_T * by_x_T, by_x_T,
               np.ones_like(t_T)]  # fmt: skip
    jacobian_T5 = np.stack(columns, 1)
    size_5 = np.linalg.norm(jacobian_T5, axis=0)
    if not size_5.all() or np.linalg.matrix_rank(jacobian_T5 / size_5) < 5:
        return np.full((5, 5), np.nan)
    inverse = np.linalg.inv((jacobian_T5 / size_5).T @ (jacobian_T5 / size_5))
    covariance: Floats = inverse / np.outer(size_5, size_5)
    return covariance
