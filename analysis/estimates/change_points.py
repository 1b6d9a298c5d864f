"""Where a curve jumps from one level to another: its onset, without a threshold to choose.

The levels are fitted by least squares over all places of the jumps at once, by dynamic
programming (Auger & Lawrence 1989, Bull. Math. Biol. 51, 39), so nothing depends on a start. Their
number is told, or is where Schwarz' criterion is least (Yao 1988, Stat. Probab. Lett. 6, 181),
in the likelihood of noise that may last over records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from phasecube.analysis.caution import Caution
from phasecube.analysis.estimates.estimated import Estimated
from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MOST_RECORDS = 2000  # all pairs of records are tried: 200 MB, and 20 s with 200 resamples
SHORTEST = 2  # records: a single one is no level but an outlier
_ROUNDING = 1e-12  # of the curve's spread, squared: what least squares of an exact level leaves


@dataclass(frozen=True)
class LevelShifts:
    """Jumps of a curve: `index_K` is the first record of each new level, `onsets` the step of
    each with its interval, `level_L` the K + 1 levels, `noise` the standard deviation about
    them, `correlation` that of a record's noise with the next one's."""

    index_K: Ints
    onsets: tuple[Estimated, ...]
    level_L: Floats
    noise: float
    correlation: float
    cautions: tuple[Caution, ...]

    def first(self, direction: Literal["up", "down"]) -> Estimated | None:
        """Return the first onset of a jump in a direction, None where there is none."""
        rises_K = np.diff(self.level_L) * (1 if direction == "up" else -1) > 0
        return self.onsets[int(rises_K.argmax())] if rises_K.any() else None


def level_shifts(
    curve: npt.ArrayLike,
    step: npt.ArrayLike | None = None,
    *,
    count: int | None = None,
    most: int = 8,
    scale: Literal["step", "log_step"] = "step",
    confidence: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> LevelShifts:
    """Return the jumps of a curve of N records at rising steps (0, 1, ... where not given).

    `count` is their number; where it is None it is chosen among 0 to `most`. On "log_step" a
    record counts with the share of ln step that it stands for, so that the many late records do
    not drown the early ones; an onset lies half way between two records on that scale, and steps
    must be above 0. Records of NaN are left out with a caution.

    An interval is that of `confidence` of curves made of the levels and blocks of N^(1/3)
    residuals, drawn with replacement and refitted with the same number, and never narrower than
    the two records that the jump lies between. A curve that rises slowly has no levels: to the
    criterion it is noise that lasts ("no_shift", "correlated_noise"), or a staircase
    ("many_shifts"). Raises StudyError for unequal
    lengths, steps that do not rise, too few or more than 2,000 records.
    """
    curve_N, step_N, cautions = _read(curve, step, scale)
    place_N = np.log(step_N) if scale == "log_step" else step_N
    weight_N = np.ones(len(curve_N))
    if scale == "log_step":
        weight_N = np.gradient(place_N)
        weight_N /= weight_N.mean()
    tried = _most(len(curve_N), most if count is None else count)
    if tried < (count or 0):
        raise StudyError(
            f"{len(curve_N)} records hold no {count} jumps between levels of {SHORTEST} records"
        )
    ends = _segmented(curve_N, weight_N, tried)
    found = _fewest(curve_N, weight_N, ends) if count is None else count
    index_K = _indices(ends, found)
    level_L = _levels(curve_N, weight_N, index_K)
    fitted_N = _fitted(curve_N, weight_N, index_K)
    residual_N = curve_N - fitted_N
    noise = float(np.sqrt((residual_N**2).sum() / max(len(curve_N) - len(level_L), 1)))
    correlation = _correlation(residual_N, curve_N)
    cautions += _told(found, count, most, correlation, len(curve_N), noise)
    drawn_RK = _resampled(fitted_N, residual_N, weight_N, found, resamples, seed)
    onsets = tuple(
        _onset(place_N, int(index), drawn_RK[:, k], confidence, log=scale == "log_step")
        for k, index in enumerate(index_K)
    )
    return LevelShifts(index_K, onsets, level_L, noise, correlation, tuple(cautions))


def _read(
    curve: npt.ArrayLike, step: npt.ArrayLike | None, scale: str
) -> tuple[Floats, Floats, list[Caution]]:
    curve_N = np.asarray(curve, np.float64).ravel()
    step_N = np.asarray(range(len(curve_N)) if step is None else step, np.float64).ravel()
    if len(step_N) != len(curve_N):
        raise StudyError(f"a curve of {len(curve_N)} records has {len(step_N)} steps")
    known_N = np.isfinite(curve_N)
    cautions = []
    if not known_N.all():
        left = (~known_N).sum()
        cautions.append(Caution("records_without_a_number", f"{left} of {len(curve_N)} left out"))
    curve_N, step_N = curve_N[known_N], step_N[known_N]
    if not SHORTEST < len(curve_N) <= MOST_RECORDS:
        raise StudyError(
            f"jumps are looked for in {SHORTEST + 1} to {MOST_RECORDS} records; there are "
            f"{len(curve_N)}; take every n-th, or means of equal parts of the axis"
        )
    if not (np.diff(step_N) > 0).all():
        raise StudyError("steps must rise from record to record; sort them")
    if scale == "log_step" and step_N[0] <= 0:
        raise StudyError(f"on log_step the first step must be above 0; it is {step_N[0]:g}")
    return curve_N, step_N, cautions


def _most(n: int, asked: int) -> int:
    return min(asked, n // SHORTEST - 1)


def _segmented(curve_N: Floats, weight_N: Floats, most: int) -> list[Ints]:
    """Return where the jumps stand that leave the least sum of squares, for 1 to `most` of them.

    ends[k][j] is the last of k + 1 jumps in the first j records.
    """
    n = len(curve_N)
    centred_N = curve_N - curve_N.mean()
    one_T, first_T, second_T = (
        np.concatenate([[0.0], np.cumsum(weight_N * centred_N**p)]) for p in (0, 1, 2)
    )
    # cost[i, j] is that of one level from record i to before j.
    length_TT = np.arange(n + 1)[None, :] - np.arange(n + 1)[:, None]
    weight_TT = one_T[None, :] - one_T[:, None]
    sum_TT = first_T[None, :] - first_T[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        cost_TT = second_T[None, :] - second_T[:, None] - sum_TT**2 / weight_TT
    cost_TT = np.where(length_TT >= SHORTEST, np.maximum(cost_TT, 0.0), np.inf)
    best_T = cost_TT[0]
    ends = []
    for _ in range(most):
        total_TT = best_T[:, None] + cost_TT
        ends.append(total_TT.argmin(0))
        best_T = total_TT.min(0)
    return ends


def _fewest(curve_N: Floats, weight_N: Floats, ends: list[Ints]) -> int:
    """Return the number of jumps k with the least -2 ln L + 2 k ln n, L that of the noise.

    The noise is one whose records each keep a share of the one before (AR(1), its likelihood
    with share and variance fitted): with independent noise taken for granted, curves with a
    share of .5 are cut into four pieces too many.
    """
    least = _ROUNDING * float(np.ptp(curve_N)) ** 2 + np.finfo(np.float64).tiny
    n = weight_N.sum() ** 2 / (weight_N**2).sum()
    criterion_K = np.empty(len(ends) + 1)
    for k in range(len(criterion_K)):
        residual_N = np.sqrt(weight_N) * (curve_N - _fitted(curve_N, weight_N, _indices(ends, k)))
        kept = float(np.clip(_correlation(residual_N, curve_N), -0.99, 0.99))
        new_N = residual_N[1:] - kept * residual_N[:-1]
        squares = float((new_N**2).sum()) + (1 - kept**2) * residual_N[0] ** 2
        surprise = n * np.log(max(squares, least)) - np.log(1 - kept**2)
        criterion_K[k] = surprise + 2 * k * np.log(n)
    return int(criterion_K.argmin())


def _fitted(curve_N: Floats, weight_N: Floats, index_K: Ints) -> Floats:
    lengths_L = np.diff([0, *index_K, len(curve_N)])
    return np.repeat(_levels(curve_N, weight_N, index_K), lengths_L)


def _indices(ends: list[Ints], count: int) -> Ints:
    found, end = [], len(ends[0]) - 1 if ends else 0
    for k in range(count - 1, -1, -1):
        end = int(ends[k][end])
        found.append(end)
    return np.array(found[::-1], np.int64)


def _levels(curve_N: Floats, weight_N: Floats, index_K: Ints) -> Floats:
    parts = zip(np.split(curve_N, index_K), np.split(weight_N, index_K), strict=True)
    return np.array([np.average(values, weights=weights) for values, weights in parts])


def _correlation(residual_N: Floats, curve_N: Floats) -> float:
    squares = float((residual_N**2).sum())
    if squares <= _ROUNDING * float(np.ptp(curve_N)) ** 2:
        return 0.0
    return float((residual_N[1:] * residual_N[:-1]).sum() / squares)


def _told(
    found: int, count: int | None, most: int, correlation: float, n: int, noise: float
) -> list[Caution]:
    cautions = []
    if found == 0:
        cautions.append(Caution("no_shift", f"one level with noise of {noise:.3g} fits best"))
    elif count is None and found == most:
        cautions.append(
            Caution("many_shifts", f"{found}, as many as were tried: no levels, or a higher most")
        )
    if correlation > 2 / np.sqrt(n):
        cautions.append(
            Caution(
                "correlated_noise",
                f"a record's noise goes with the next one's by {correlation:.2f}: intervals "
                "are too narrow, and from .5 jumps too many are found; take means of parts",
            )
        )
    return cautions


def _resampled(
    fitted_N: Floats, residual_N: Floats, weight_N: Floats, count: int, resamples: int, seed: int
) -> Ints:
    """Return the places of the jumps of curves with redrawn residuals, [resamples, count]."""
    n = len(fitted_N)
    block = max(1, round(n ** (1 / 3)))
    rng = np.random.default_rng(seed)
    found = np.empty((resamples if count else 0, count), np.int64)
    for row in found:
        starts = rng.integers(0, n, -(-n // block))
        taken_N = (starts[:, None] + np.arange(block)).ravel()[:n] % n
        ends = _segmented(fitted_N + residual_N[taken_N], weight_N, count)
        row[:] = _indices(ends, count)
    return found


def _onset(
    place_N: Floats, index: int, drawn_R: Ints, confidence: float, *, log: bool
) -> Estimated:
    """Return the step half way between the two records, and what resamples put before and
    after it; the widest of both."""
    tail = (1 - confidence) / 2
    first, last = index, index
    if len(drawn_R):
        first = min(index, int(np.quantile(drawn_R, tail, method="lower")))
        last = max(index, int(np.quantile(drawn_R, 1 - tail, method="higher")))
    middle = 0.5 * (place_N[index - 1] + place_N[index])
    ends = np.array([middle, place_N[first - 1], place_N[last]])
    value, low, high = np.exp(ends) if log else ends
    return Estimated(float(value), float(low), float(high))
