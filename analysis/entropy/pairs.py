"""Two methods on the same seeds: how much later, higher or better, censored times included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phasecube.analysis.estimates.intervals import resample_counts, survival_median, widened

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """A paired difference with its interval: infinite where most pairs only bound it.

    `n_pairs` of them are known, `n_bounds` of these as a bound, `n_left_out` not at all.
    """

    value: float
    low: float
    high: float
    n_pairs: int
    n_bounds: int
    n_left_out: int


def mean_difference(
    one_N: npt.ArrayLike,
    other_N: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Difference:
    """Return the mean of one - other over seeds known for both, with a bootstrap of pairs.

    The interval is widened for few pairs (`intervals.widened`); one pair has none.
    """
    gap_N = np.asarray(one_N, np.float64) - np.asarray(other_N, np.float64)
    known = gap_N[np.isfinite(gap_N)]
    n = len(known)
    if not n:
        return Difference(np.nan, np.nan, np.nan, 0, 0, len(gap_N))
    counts_BN = resample_counts(n, resamples)
    mean_B = counts_BN @ known / n
    low, high = widened(mean_B, n, confidence=confidence) if n > 1 else (np.nan, np.nan)
    return Difference(float(mean_B[0]), low, high, n, 0, len(gap_N) - n)


def time_difference(
    one_N: npt.ArrayLike,
    one_seen_N: npt.ArrayLike,
    other_N: npt.ArrayLike,
    other_seen_N: npt.ArrayLike,
    *,
    confidence: float = 0.95,
) -> Difference:
    """Return the median of one - other over seeds, for times that may be right-censored.

    Times (N,) hold the onset where seen and else the last time without it; NaN: no trial.
    Where `one` was not seen the difference is larger than its bound: right-censored, as the
    Kaplan-Meier median takes it. Where `other` was not seen it is smaller than its bound and
    stands at -inf, which is exact as long as the median lies above those bounds. Pairs in
    which neither was seen say nothing and are left out.
    """
    one, other = np.asarray(one_N, np.float64), np.asarray(other_N, np.float64)
    one_seen, other_seen = np.asarray(one_seen_N, bool), np.asarray(other_seen_N, bool)
    gap_N = one - other
    used_N: Bools = np.isfinite(gap_N) & (one_seen | other_seen)
    times_N = np.where(used_N, np.where(other_seen, gap_N, -np.inf), np.nan)
    found = survival_median(times_N, one_seen, confidence=confidence)
    return Difference(
        *(float(found.value), float(found.low), float(found.high)),
        n_pairs=int(used_N.sum()),
        n_bounds=int((used_N & ~(one_seen & other_seen)).sum()),
        n_left_out=len(gap_N) - int(used_N.sum()),
    )
