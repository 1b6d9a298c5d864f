"""At which scale an instability will appear, told from smaller models that have none yet.

Attention logits grow with scale like a power; training was seen to diverge where they pass
some 10^4. Extrapolating the power to that value predicted an instability of a 4.8B model
before it was trained (Wortsman et al. 2023, arXiv:2309.14322, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
CRITICAL = 1e4


class Crossing(IntEnum):
    """What is known of the scale at which the critical value is passed."""

    UNKNOWN = 0  # fewer than 2 scales or 3 positive values
    FORECAST = 1  # beyond the largest scale that was tried
    REACHED = 2  # at or below the largest scale that was tried
    NEVER = 3  # the values do not grow with scale


@dataclass(frozen=True)
class Forecast:
    """The law value = factor * scale^exponent and where it passes the critical value.

    `scale` is NaN unless `state` is FORECAST or REACHED. `low` and `high` hold the scale with
    the stated confidence; `high` is infinite where the growth is not certain, and both are
    where even growth at the fastest likely rate never gets there.
    """

    state: Crossing
    scale: float
    low: float
    high: float
    exponent: float
    exponent_low: float
    exponent_high: float
    factor: float
    n: int


def forecast(
    values: npt.ArrayLike,
    scales: npt.ArrayLike,
    *,
    critical: float = CRITICAL,
    confidence: float = 0.95,
) -> Forecast:
    """Return the scale at which a power law through `values` (S, N) passes `critical`.

    Row s holds the N members (seeds) at scales[s]; NaN and values <= 0 do not count. The law
    is fitted by least squares in logarithms. The interval is Fieller's: all x at which the
    law's value may be the critical one. The law's error at x is the larger of two: that of
    the residuals, which is large where the points bend away from a power law, and that of
    the members' own laws, each of which may lie high or low at all scales. A bootstrap
    over the members would be too narrow for the few there are.

    Reference: Fieller 1954, J. R. Stat. Soc. B 16, 175-185. Raises ValueError where shapes do
    not fit or a scale is not above 0.
    """
    values_SN, scale_S = np.asarray(values, np.float64), np.asarray(scales, np.float64)
    if values_SN.ndim != 2 or scale_S.shape != values_SN.shape[:1]:
        raise ValueError(
            f"values (S, N) need scales (S,), got {values_SN.shape} and {scale_S.shape}"
        )
    if not (scale_S > 0).all() or critical <= 0:
        raise ValueError("a power law needs scales and a critical value above 0")
    with np.errstate(invalid="ignore"):
        used_SN = np.isfinite(values_SN) & (values_SN > 0)
    n = int(used_SN.sum())
    if n < 3 or len(np.unique(scale_S[used_SN.any(1)])) < 2:
        nan = float("nan")
        return Forecast(Crossing.UNKNOWN, nan, nan, nan, nan, nan, nan, nan, n)
    log_SN = np.log(np.where(used_SN, values_SN, 1.0))
    x_SN = np.broadcast_to(np.log(scale_S)[:, None], used_SN.shape)
    law = _Law.through(x_SN[used_SN], log_SN[used_SN])
    errors = [(law.error, stats.t.ppf(0.5 + confidence / 2, n - 2))]
    whole = used_SN.all(0)
    if whole.sum() > 1:
        errors.append(_members(x_SN[:, whole], log_SN[:, whole], law.middle, confidence))
    level = np.log(critical)
    low, high = law.where(level, errors)
    half = float(max(t * error[1, 1] ** 0.5 for error, t in errors))
    at = law.middle + (level - law.height) / law.slope if law.slope > 0 else np.nan
    if law.slope <= 0:
        state = Crossing.NEVER
    else:
        largest = np.log(scale_S[used_SN.any(1)].max())
        state = Crossing.REACHED if at <= largest else Crossing.FORECAST
    with np.errstate(over="ignore"):
        at, low, high = (float(np.exp(place)) for place in (at, low, high))
    return Forecast(
        state,
        at,
        low,
        high,
        law.slope,
        law.slope - half,
        law.slope + half,
        float(np.exp(law.height - law.slope * law.middle)),
        n,
    )


@dataclass(frozen=True)
class _Law:
    """y = height + slope * (x - middle); `error` is the covariance of (height, slope)."""

    height: float
    slope: float
    middle: float
    error: Floats

    @classmethod
    def through(cls, x: Floats, y: Floats) -> _Law:
        middle = float(x.mean())
        found, rest, *_ = np.linalg.lstsq(np.stack([np.ones_like(x), x - middle], 1), y, rcond=None)
        variance = float(rest[0]) / (len(x) - 2) if rest.size else 0.0
        spread = float(((x - middle) ** 2).sum())
        error = variance * np.diag([1 / len(x), 1 / spread])
        return cls(float(found[0]), float(found[1]), middle, error)

    def where(self, level: float, errors: list[tuple[Floats, float]]) -> tuple[float, float]:
        """Return between which x the law may pass `level` from below for good."""
        low, high = np.inf, -np.inf
        for error, t in errors:
            first, last = self._passed(level, error, t)
            low, high = min(low, first), max(high, last)
        return low, high

    def _passed(self, level: float, error: Floats, t: float) -> tuple[float, float]:
        """Return where the upper and the lower edge of a band around the law pass `level`.

        Both edges solve (gap + slope d)^2 = t^2 var(gap + slope d), a square in d = x - middle.
        """
        gap, slope = self.height - level, self.slope
        (v_gg, v_gs), (_, v_ss) = t**2 * error
        bend = slope**2 - v_ss
        # A quarter of the discriminant, in a form without cancellation.
        under_root = (
            slope**2 * v_gg + gap**2 * v_ss - 2 * gap * slope * v_gs - (v_gg * v_ss - v_gs**2)
        )
        if bend > 0 and slope > 0:  # growth is certain: each edge passes once
            centre, half = v_gs - gap * slope, max(under_root, 0.0) ** 0.5
            return self.middle + (centre - half) / bend, self.middle + (centre + half) / bend
        if bend >= 0:  # decline is certain, or there is neither growth nor doubt
            return np.inf, np.inf
        if under_root < 0:
            return -np.inf, np.inf
        last = (v_gs - gap * slope - under_root**0.5) / bend
        # Below the level the upper edge stands there; above it, it never comes down so far.
        return (self.middle + last if gap + slope * last < 0 else -np.inf), np.inf


def _members(x_SM: Floats, y_SM: Floats, middle: float, confidence: float) -> tuple[Floats, float]:
    """Return the covariance of the mean of the members' own laws, and Student's t for it."""
    n = x_SM.shape[1]
    laws = [_Law.through(x, y) for x, y in zip(x_SM.T, y_SM.T, strict=True)]
    both_2M = np.array(
        [[one.height + one.slope * (middle - one.middle), one.slope] for one in laws]
    ).T
    return np.cov(both_2M) / n, float(stats.t.ppf(0.5 + confidence / 2, n - 1))
