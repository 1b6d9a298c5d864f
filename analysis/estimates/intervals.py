"""How sure a summary over seeds is: survival medians, shares, bootstrap. Arrays in, arrays out.

The last axis of every input is the sample (seeds, N); the axes before it are cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Statistic = Literal["mean", "median"]

_SAME = 1e-9  # survival products of n <= 1e6 factors err by less; two levels differ by >= 1/n^2


@dataclass(frozen=True)
class Estimate:
    """A summary per cell with its interval; NaN where there is no sample to draw it from."""

    value: Floats
    low: Floats
    high: Floats


def two_sided_z(confidence: float) -> float:
    """Return the normal quantile that leaves (1 - confidence) / 2 on each side."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def survival_median(
    times: npt.ArrayLike, observed: npt.ArrayLike, *, confidence: float = 0.95
) -> Estimate:
    """Return the Kaplan-Meier median of right-censored times, with its interval.

    `times` (..., N) holds the onset where `observed` (..., N) is true and else the last
    time at which it had not come; NaN marks members that do not count. The median is the
    first time at which survival is at most 1/2 (the middle of the flat part where it is
    exactly 1/2 and falls later), `inf` where survival never falls so far. The interval
    holds every time at which the log-log Greenwood interval of survival contains 1/2;
    it needs two members. It begins at the last time that was watched, not beyond, where
    survival is surely above 1/2 until then, as where all are censored.

    Reference: Brookmeyer & Crowley 1982, Biometrics 38, 29-41.
    """
    times_N = np.asarray(times, np.float64)
    order_N = np.argsort(times_N, axis=-1, kind="stable")  # NaN sorts last
    times_N = np.take_along_axis(times_N, order_N, -1)
    counts_N = ~np.isnan(times_N)
    events_N = np.take_along_axis(np.asarray(observed, bool), order_N, -1) & counts_N
    n = counts_N.sum(-1, keepdims=True)
    # Members at risk at a time are those not before it: ties share the risk set of the first.
    position_N = np.arange(times_N.shape[-1])
    starts_N = np.ones(times_N.shape, bool)
    starts_N[..., 1:] = times_N[..., 1:] != times_N[..., :-1]
    first_N = np.maximum.accumulate(np.where(starts_N, position_N, 0), axis=-1)
    risk_N = np.where(counts_N, n - first_N, 1)
    # Within one tie the factors telescope when the risk falls by one per event before.
    seen_N = np.cumsum(events_N, axis=-1)
    seen_before_tie_N: npt.NDArray[np.int64] = np.take_along_axis(seen_N - events_N, first_N, -1)
    left_N = np.maximum(risk_N - (seen_N - events_N - seen_before_tie_N), 1)
    survival_N = np.cumprod(np.where(events_N, 1 - 1 / left_N, 1.0), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms_N = np.where(events_N, 1 / (left_N * np.maximum(left_N - 1.0, 0.0)), 0.0)
        log_N = np.log(survival_N)
        spread_N = two_sided_z(confidence) * np.sqrt(np.cumsum(terms_N, axis=-1)) / log_N
        low_N = np.where(survival_N < 1, survival_N ** np.exp(-spread_N), 1.0)
        high_N = np.where(survival_N < 1, survival_N ** np.exp(spread_N), 1.0)
    at_zero_N = survival_N <= _SAME
    # Only the last member of a tie stands after all of its events.
    ends_N = np.ones(times_N.shape, bool)
    ends_N[..., :-1] = starts_N[..., 1:]
    level_N = np.where(ends_N & counts_N, survival_N, np.inf)
    low_N = np.where(ends_N & counts_N, np.where(at_zero_N, 0.0, low_N), np.inf)
    high_N = np.where(ends_N & counts_N, np.where(at_zero_N, 0.0, high_N), np.inf)

    reached = _first_time(times_N, level_N <= 0.5 + _SAME)
    below = _first_time(times_N, level_N < 0.5 - _SAME)
    flat = np.isclose(_first_value(level_N, level_N <= 0.5 + _SAME), 0.5, rtol=0, atol=_SAME)
    middle = np.where(flat & np.isfinite(below), (reached + below) / 2, reached)
    empty, single = n[..., 0] == 0, n[..., 0] < 2
    watched = np.max(times_N, axis=-1, initial=-np.inf, where=counts_N)
    return Estimate(
        np.where(empty, np.nan, middle),
        np.where(single, np.nan, np.minimum(_first_time(times_N, low_N <= 0.5), watched)),
        np.where(single, np.nan, _first_time(times_N, high_N < 0.5)),
    )


def _first_time(times_N: Floats, where_N: npt.NDArray[np.bool_]) -> Floats:
    return _first_value(times_N, where_N)


def _first_value(values_N: Floats, where_N: npt.NDArray[np.bool_]) -> Floats:
    first = where_N.argmax(-1)[..., None]
    return np.where(where_N.any(-1), np.take_along_axis(values_N, first, -1)[..., 0], np.inf)


def wilson(hits: npt.ArrayLike, n: npt.ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Return the share hits / n with its Wilson score interval; NaN where n is 0.

    Reference: Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.
    """
    hits_C, n_C = np.asarray(hits, np.float64), np.asarray(n, np.float64)
    z2 = two_sided_z(confidence) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = hits_C / n_C
        centre = (share + z2 / (2 * n_C)) / (1 + z2 / n_C)
        half = np.sqrt(z2 * (share * (1 - share) / n_C + z2 / (4 * n_C**2))) / (1 + z2 / n_C)
        # Rounding must not push an end past the share itself.
        return Estimate(share, np.minimum(centre - half, share), np.maximum(centre + half, share))


def bootstrap(
    values: npt.ArrayLike,
    statistic: Statistic,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return the mean or median of the finite members of each cell with a percentile interval.

    `values` (..., N), NaN for members that do not count. The resampling is seeded, so a
    report is the same each time. An interval needs two members; with fewer than about
    eight it is too narrow (docs/analysis.md).
    """
    values_N = np.asarray(values, np.float64)
    cells = values_N.shape[:-1]
    values_CN = values_N.reshape(-1, values_N.shape[-1])
    sorted_CN = np.sort(values_CN, axis=-1)  # the finite members come first, NaN last
    n_C = (~np.isnan(values_CN)).sum(-1)
    value_C, low_C, high_C = np.full((3, len(values_CN)), np.nan)
    of = np.mean if statistic == "mean" else np.median
    quantiles = [(1 - confidence) / 2, (1 + confidence) / 2]
    for n in np.unique(n_C[n_C > 0]):
        same = np.flatnonzero(n_C == n)
        members_Cn = sorted_CN[same, :n]
        value_C[same] = of(members_Cn, axis=-1)
        if n < 2:
            continue
        draws_Bn = np.random.default_rng(seed).integers(n, size=(resamples, n))
        step = max(1, 4_000_000 // draws_Bn.size)  # at most 32 MB of resamples at once
        for start in range(0, len(same), step):
            block = slice(start, start + step)
            drawn_CB = of(members_Cn[block][:, draws_Bn], axis=-1)
            low_C[same[block]], high_C[same[block]] = np.quantile(drawn_CB, quantiles, axis=-1)
    return Estimate(value_C.reshape(cells), low_C.reshape(cells), high_C.reshape(cells))


def resample_counts(n: int, resamples: int, *, seed: int = 0) -> Floats:
    """Return how often each of n members stands in each resample; the first row is all once."""
    drawn_BN = np.random.default_rng(seed).integers(n, size=(resamples, n))
    counts_BN = np.stack([np.bincount(row, minlength=n) for row in drawn_BN])
    return np.concatenate([np.ones((1, n)), counts_BN]).astype(np.float64)


def widened(value_B: Floats, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of resamples about the first value, widened for n members.

    Percentiles are moved outwards by t / z sqrt(n / (n - 1)), without which intervals of few
    members are too narrow (Hesterberg 2015, arXiv:1411.5279, section 5.3).
    """
    from scipy import stats

    value, drawn_B = float(value_B[0]), value_B[1:][~np.isnan(value_B[1:])]
    if np.isnan(value) or n < 2 or not len(drawn_B):
        return value, value
    tail = (1 - confidence) / 2
    low = float(np.quantile(drawn_B, tail, method="lower"))
    high = float(np.quantile(drawn_B, 1 - tail, method="higher"))
    if np.isinf(value):
        return low, high
    wide = stats.t.ppf(1 - tail, n - 1) / stats.norm.ppf(1 - tail) * (n / (n - 1)) ** 0.5
    return value - wide * max(value - low, 0.0), value + wide * max(high - value, 0.0)
