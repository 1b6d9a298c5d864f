"""Where a yes turns into a no along one axis, from counts or from members: one answer, three ways.

Whatever the estimator, what is reported is never narrower than the grid: the interval holds
both that of resampled members and the cell in which most members change their answer. Between
two values of an axis nothing was asked, however many members agree at both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from phasecube.analysis.boundary.curves import bracket_crossing, isotonic_fit, logistic_crossing
from phasecube.analysis.boundary.curves import isotonic_crossing as isotonic
from phasecube.analysis.caution import Caution
from phasecube.analysis.estimates.intervals import resample_counts
from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]
Method = Literal["bracket", "logistic", "isotonic"]
Crossing = Callable[[Floats, Floats, Floats], Floats]
METHODS: Mapping[str, Crossing] = {
    "bracket": bracket_crossing,
    "logistic": logistic_crossing,
    "isotonic": isotonic,
}
_NEXT_TO_NOTHING = 1e-9  # the weight of a value that no member of a resample answers at
_SURE = 0.05  # how rarely chance may contradict a falling share as much
_CHANCE = 400  # draws of that chance


@dataclass(frozen=True)
class Boundary:
    """A boundary in the unit of its axis, with the interval that it is known to lie in.

    `value` is NaN where the axis ends first; then one of `low` and `high` is the value at that
    end and the other infinite (0 below, on a logarithmic axis). `bracket` is the cell in which
    most members change their answer; it lies within `low` and `high`.
    """

    value: float
    low: float
    high: float
    bracket: tuple[float, float]
    method: Method
    cautions: tuple[Caution, ...]

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high


def boundary_of(
    x: npt.ArrayLike,
    n_yes: npt.ArrayLike,
    n_all: npt.ArrayLike,
    *,
    method: Method = "bracket",
    yes: Literal["below", "above"] = "below",
    scale: Literal["log", "linear"] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Boundary:
    """Return where the share n_yes / n_all passes 1/2 along x, from counts at each value.

    `yes` says on which side of the boundary the yes lies. Members at different values count as
    independent; where the same seeds stand at all of them take `boundary_of_members`. `scale` is
    logarithmic where all x are above 0, unless told. Methods:

    - bracket: the last value with a share of at least 1/2 and the next, interpolated;
    - logistic: -a / b of logit p = a + b x with Firth's penalty, finite where the answers are
      separated (Firth 1993, Biometrika 80, 27-38; Heinze & Schemper 2002, Stat. Med. 21, 2409);
    - isotonic: the falling shares of greatest likelihood, interpolated at 1/2.

    The interval holds `confidence` of resampled counts, moved outwards for few members
    (Hesterberg 2015, arXiv:1411.5279, section 5.3), and the bracketing cell. Raises StudyError
    for an unknown method, unequal lengths, fewer than 2 values, or counts that are none.
    """
    at_A, yes_A, all_A = _read(x, n_yes, n_all)
    rng = np.random.default_rng(seed)
    drawn_BA = rng.binomial(all_A.astype(int), yes_A / all_A, size=(resamples, len(at_A)))
    yes_BA = np.concatenate([yes_A[None], drawn_BA]).astype(np.float64)
    all_BA = np.broadcast_to(all_A, yes_BA.shape)
    n = int(np.median(all_A))
    return _found(at_A, yes_BA, all_BA, n, method, yes, scale, confidence, seed)


def boundary_of_members(
    x: npt.ArrayLike,
    holds: npt.ArrayLike,
    *,
    method: Method = "bracket",
    yes: Literal["below", "above"] = "below",
    scale: Literal["log", "linear"] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Boundary:
    """Return the same from answers [A, N] of N members at A values: 1, 0, or NaN for none.

    Whole members are resampled, so what a seed does at one value may go with what it does at
    the next. Raises StudyError as `boundary_of` does.
    """
    at_A = np.asarray(x, np.float64).ravel()
    holds_AN = np.asarray(holds, np.float64)
    if holds_AN.ndim != 2 or len(holds_AN) != len(at_A):
        raise StudyError(
            f"answers must be [values, members]; there are {len(at_A)} values and an array of "
            f"{' x '.join(map(str, holds_AN.shape))}"
        )
    known_AN = ~np.isnan(holds_AN)
    answers_AN = np.where(known_AN, holds_AN, 0.0)
    if not np.isin(answers_AN, (0, 1)).all():
        raise StudyError("an answer is 1 (it holds), 0 (it does not) or NaN (not known)")
    asked_A = known_AN.any(-1)
    _read(at_A, answers_AN.sum(-1), known_AN.sum(-1))
    weight_BN = resample_counts(holds_AN.shape[1], resamples, seed=seed)
    yes_BA = weight_BN @ answers_AN[asked_A].T
    all_BA = weight_BN @ known_AN[asked_A].T.astype(np.float64)
    n = int(known_AN.any(0).sum())
    return _found(at_A[asked_A], yes_BA, all_BA, n, method, yes, scale, confidence, seed)


def _read(
    x: npt.ArrayLike, n_yes: npt.ArrayLike, n_all: npt.ArrayLike
) -> tuple[Floats, Floats, Floats]:
    at_A, yes_A, all_A = (np.asarray(v, np.float64).ravel() for v in (x, n_yes, n_all))
    if not len(at_A) == len(yes_A) == len(all_A):
        raise StudyError(
            f"values and counts must be as many; there are {len(at_A)} values, {len(yes_A)} and "
            f"{len(all_A)} counts"
        )
    counts = np.concatenate([yes_A, all_A])
    if not (np.isfinite(counts).all() and (counts == np.round(counts)).all()):
        raise StudyError("n_yes and n_all must be whole numbers")
    if (yes_A < 0).any() or (yes_A > all_A).any():
        place = int(np.flatnonzero((yes_A < 0) | (yes_A > all_A))[0])
        raise StudyError(
            f"n_yes must lie between 0 and n_all; at x = {at_A[place]:g} it is {yes_A[place]:g} "
            f"of {all_A[place]:g}"
        )
    asked_A = all_A > 0
    if not np.isfinite(at_A).all() or len(np.unique(at_A[asked_A])) < max(2, int(asked_A.sum())):
        raise StudyError("a boundary needs at least 2 finite values with answers, all different")
    return at_A[asked_A], yes_A[asked_A], all_A[asked_A]


def _found(
    at_A: Floats,
    yes_BA: Floats,
    all_BA: Floats,
    n: int,
    method: Method,
    side: str,
    scale: str | None,
    confidence: float,
    seed: int,
) -> Boundary:
    """Return the boundary of the first row of counts, the others being resamples."""
    if method not in METHODS:
        raise StudyError(f"there is no estimator {method!r}; there are {', '.join(METHODS)}")
    if side not in ("below", "above"):
        raise StudyError(f"yes is 'below' or 'above', the side that it lies on; got {side!r}")
    if scale not in (None, "log", "linear"):
        raise StudyError(f"scale is 'log' or 'linear'; got {scale!r}")
    if not 0 < confidence < 1:
        raise StudyError(f"confidence lies between 0 and 1, as 0.95; got {confidence:g}")
    log = bool((at_A > 0).all()) if scale is None else scale == "log"
    if log and not (at_A > 0).all():
        raise StudyError(f"a logarithmic axis needs values above 0; there is {at_A.min():g}")
    order_A = np.argsort(at_A)
    at_A, yes_BA, all_BA = at_A[order_A], yes_BA[:, order_A], all_BA[:, order_A]
    if side == "above":
        yes_BA = all_BA - yes_BA
    place_A = np.log(at_A) if log else at_A
    share_A = yes_BA[0] / all_BA[0]
    # A value at which a resample has no member keeps its share, at next to no weight.
    yes_BA, all_BA = yes_BA + _NEXT_TO_NOTHING * share_A, all_BA + _NEXT_TO_NOTHING
    good = int(np.flatnonzero(share_A >= 0.5)[-1]) if (share_A >= 0.5).any() else -1
    ends = np.concatenate([[-np.inf], place_A, [np.inf]])
    cell = (float(ends[good + 1]), float(ends[good + 2]))
    value, low, high = np.nan, *cell
    if good in (-1, len(at_A) - 1):
        cautions = [_past(at_A, share_A, good, side)]
    else:
        at_B = METHODS[method](place_A, yes_BA, all_BA)
        # What a smooth curve says beyond the axis nobody asked.
        at_B = np.where(at_B < place_A[0], -np.inf, np.where(at_B > place_A[-1], np.inf, at_B))
        inside = bool(np.isfinite(at_B[0]))
        value = float(at_B[0]) if inside else np.nan
        about = value if inside else 0.5 * (cell[0] + cell[1])
        drawn = _interval(at_B[1:], about, n, confidence) if n > 1 else cell
        low, high = min(drawn[0], cell[0]), max(drawn[1], cell[1])
        if inside:
            low, high = min(low, value), max(high, value)
        cautions = _told(n, drawn, cell)
    if _contradicts(yes_BA[0], all_BA[0], n, good, seed):
        cautions.append(
            Caution(
                "not_monotone",
                "the share rises again along the axis, by more than chance: there is more than "
                "one boundary, or none; look at the shares",
            )
        )

    def in_unit(place: float) -> float:
        exact_A = at_A[place_A == place]  # not rounded by the logarithm and back
        return float(exact_A[0]) if len(exact_A) else float(np.exp(place) if log else place)

    bracket = (in_unit(cell[0]), in_unit(cell[1]))
    return Boundary(in_unit(value), in_unit(low), in_unit(high), bracket, method, tuple(cautions))


def _interval(at_B: Floats, value: float, n: int, confidence: float) -> tuple[float, float]:
    """Return the ends of the resamples' interval, moved outwards for n members."""
    from scipy import stats

    tail = (1 - confidence) / 2
    unknown_B = np.isnan(at_B)  # a curve that does not fall: it bounds nothing
    low = float(np.quantile(np.where(unknown_B, -np.inf, at_B), tail, method="lower"))
    high = float(np.quantile(np.where(unknown_B, np.inf, at_B), 1 - tail, method="higher"))
    wide = stats.t.ppf(1 - tail, n - 1) / stats.norm.ppf(1 - tail) * (n / (n - 1)) ** 0.5
    return value - wide * max(value - low, 0.0), value + wide * max(high - value, 0.0)


def _past(at_A: Floats, share_A: Floats, good: int, side: str) -> Caution:
    if good >= 0 and (share_A < 0.5).any():
        other = "above" if side == "below" else "below"
        return Caution(
            "not_bracketed",
            f"most members still answer the same at the last value, {at_A[-1]:g}, and others "
            f"before it: widen the axis, or say yes = {other!r} if the yes lies {other}",
        )
    beyond, end = ("above", at_A[-1]) if good >= 0 else ("below", at_A[0])
    answer = "the same" if side == "below" else "the other"
    return Caution(
        "not_bracketed",
        f"most members answer {answer} at all values: the boundary lies {beyond} {end:g}; "
        "widen the axis",
    )


def _told(n: int, drawn: tuple[float, float], cell: tuple[float, float]) -> list[Caution]:
    found = []
    if n < 2:
        found.append(Caution("one_seed", "the interval is the cell; how seeds differ is not known"))
    elif drawn[0] >= cell[0] and drawn[1] <= cell[1]:
        found.append(
            Caution(
                "narrower_than_the_grid",
                "members differ by less than a cell, which is what bounds the interval: refine "
                "the axis there; more seeds do not help",
            )
        )
    return found


def _contradicts(yes_A: Floats, all_A: Floats, n: int, good: int, seed: int) -> bool:
    """Return whether shares rise by more than chance, or a lone member answers no, then yes."""
    share_A = yes_A / all_A
    if n < 2:
        return bool((share_A[: good + 1] < 0.5).any())
    if not (np.diff(share_A) > 0).any():
        return False
    falling_A = isotonic_fit(yes_A[None], all_A[None])[0]
    whole_A = np.round(all_A).astype(int)
    drawn_CA = np.random.default_rng(seed).binomial(whole_A, falling_A, size=(_CHANCE, len(yes_A)))
    surprise_C = _surprise(np.concatenate([yes_A[None], drawn_CA]), all_A)
    return bool((surprise_C[1:] >= surprise_C[0] - 1e-9).mean() < _SURE)


def _surprise(yes_CA: Floats, all_A: Floats) -> Floats:
    """Return how much likelier free shares are than falling ones, in twice the log likelihood."""
    all_CA = np.broadcast_to(all_A, yes_CA.shape)
    falling_CA = isotonic_fit(yes_CA, all_CA)

    def log_likelihood(share_CA: Floats) -> Floats:
        kept = np.clip(share_CA, 1e-12, 1 - 1e-12)
        found: Floats = (yes_CA * np.log(kept) + (all_CA - yes_CA) * np.log1p(-kept)).sum(-1)
        return found

    return 2 * (log_likelihood(yes_CA / all_CA) - log_likelihood(falling_CA))
