"""Finite-size collapse: where a transition lies in the limit of large systems, and how it sharpens.

m(x, L) = L^(-beta/nu) f((x - x_c) L^(1/nu)) with an f that nobody knows: x_c, 1/nu and, if it is
asked for, beta/nu are those that lay the curves of all sizes upon each other best
(`finite_size_quality`). Corrections that fall faster than the law are not modelled: they show as
a drift when the smallest size is left out, and say so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phasecube.analysis.caution import Caution
from phasecube.analysis.estimates.estimated import Estimated
from phasecube.analysis.estimates.intervals import resample_counts, widened
from phasecube.analysis.finite_size.cautions import cautions_of
from phasecube.analysis.finite_size.curves import members_of_sizes
from phasecube.analysis.finite_size.quality import Curves, n_compared, quality, seno_quality
from phasecube.analysis.finite_size.search import least
from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]
_EXPONENTS = np.geomspace(0.1, 6.0, 16)  # 1 / nu at which a search begins
_LIFTS = np.array([0.0, 0.125, 0.25, 0.5, 1.0])  # beta / nu, likewise
_STARTS = 4
_STEPS_AGAIN = 30  # of a resample's simplex, which begins at the estimate
_WIDENINGS = 0.1 * 1.5 ** np.arange(14)  # steps at which S is looked at for S_min + 1


@dataclass(frozen=True)
class Collapse:
    """The parameters that make one curve of those of all sizes, and what speaks against them.

    `quality` is S, at most about 1 where the law holds; of `n_points` points. `by_s_plus_one` are
    the intervals up to S + 1 in the order of the parameters, `seno` those least in P_b with the
    value of P_b last, `without_smallest` those without the smallest size (None of two sizes).
    `curves` are the means that were laid upon each other, x_c, ln(1/nu), (beta/nu) in `point_P`.
    """

    x_c: Estimated
    inverse_nu: Estimated
    beta_over_nu: Estimated | None
    quality: float
    n_points: int
    by_s_plus_one: tuple[Estimated, ...]
    seno: tuple[float, ...]
    without_smallest: tuple[float, ...] | None
    curves: Curves
    point_P: Floats
    cautions: tuple[Caution, ...]

    @property
    def nu(self) -> Estimated:
        """Return nu, from 1/nu."""
        found = self.inverse_nu
        return Estimated(1 / found.value, 1 / found.high, 1 / found.low)


def finite_size_collapse(
    size: npt.ArrayLike,
    x: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    beta: bool = False,
    confidence: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> Collapse:
    """Return the collapse of `values` [L, X, N] of N members at places x [X] or [L, X] of L sizes.

    Values are 0 and 1, or numbers; NaN where a member has none. `beta` asks for beta/nu; without,
    it is 0, as for shares and other numbers between fixed ends. Members are resampled whole, over
    all sizes and places, as what one seed does there may go together; the interval is that of
    `confidence` of resamples, moved outwards for few members (`intervals.widened`).

    Raises StudyError for fewer than 2 sizes, or fewer than 3 places with 2 members of one, and
    values that all are one.
    """
    members = members_of_sizes(size, x, values)
    if np.nanmin(members.values_LXN) == np.nanmax(members.values_LXN):
        raise StudyError(
            f"every value is {np.nanmin(members.values_LXN):g}: there is no transition to lay upon "
            "another; move the axis, or the threshold"
        )
    curves = members.curves(np.ones((1, members.n_members)))
    point_P, least_s = fitted(curves, beta=beta)
    weight_BN = resample_counts(members.n_members, resamples, seed=seed)[1:]
    drawn = members.curves(weight_BN)
    again_BP = _refitted(drawn, point_P, curves)
    smaller = None
    if len(curves.size_L) > 2:
        rest_P, _ = fitted(curves.without_smallest(), beta=beta)
        rest_BP = _refitted(drawn.without_smallest(), rest_P, curves)
        smaller = (rest_P, rest_BP)
    ends = [
        widened(np.append(point_P[p], again_BP[:, p]), members.n_members, confidence=confidence)
        for p in range(len(point_P))
    ]
    found = tuple(_in_unit(p, point_P[p], *ends[p]) for p in range(len(point_P)))
    seno_P, seno_b = least(
        lambda q: seno_quality(curves, q), point_P[None], _steps(curves, point_P), tolerance=1e-3
    )
    return Collapse(
        found[0],
        found[1],
        found[2] if beta else None,
        least_s,
        n_compared(curves, point_P),
        _by_s_plus_one(curves, point_P, least_s),
        (*_numbers(seno_P[0]), float(seno_b[0])),
        None if smaller is None else _numbers(smaller[0]),
        curves,
        point_P,
        cautions_of(members, curves, point_P, least_s, again_BP, smaller),
    )


def fitted(curves: Curves, *, beta: bool) -> tuple[Floats, float]:
    """Return the parameters of least S, and S, from a grid of starts over the whole range of x."""
    x = curves.x_LX[np.isfinite(curves.x_LX)]
    grids = [np.linspace(x.min(), x.max(), 25), np.log(_EXPONENTS)]
    grids += [_LIFTS] if beta else []
    start_BP = np.stack([g.ravel() for g in np.meshgrid(*grids, indexing="ij")], 1)
    value_B = quality(curves, start_BP)
    best_BP = start_BP[np.argsort(value_B, kind="stable")[:_STARTS]]
    point_BP, least_B = least(
        lambda q: quality(curves, q), best_BP, _steps(curves, best_BP[0]), tolerance=1e-3
    )
    winner = int(least_B.argmin())
    return point_BP[winner], float(least_B[winner])


def _refitted(drawn: Curves, point_P: Floats, like: Curves) -> Floats:
    start_BP = np.repeat(point_P[None], len(drawn.mean_BLX), 0)
    steps_P = _steps(like, point_P)
    return least(
        lambda q: quality(drawn, q), start_BP, steps_P, steps=_STEPS_AGAIN, tolerance=1e-2
    )[0]


def _steps(curves: Curves, point_P: Floats) -> Floats:
    """Return the first step in each parameter: in x_c, a place; a quarter of ln(1/nu)."""
    gap = float(np.nanmedian(np.diff(curves.x_LX, axis=1)))
    return np.array([gap, 0.25, 0.1])[: len(point_P)]


def _in_unit(p: int, value: float, low: float, high: float) -> Estimated:
    if p == 1:
        return Estimated(*(float(np.exp(v)) for v in (value, low, high)))
    return Estimated(float(value), float(low), float(high))


def _numbers(point_P: Floats) -> tuple[float, ...]:
    return (float(point_P[0]), float(np.exp(point_P[1])), *map(float, point_P[2:]))


def _by_s_plus_one(curves: Curves, point_P: Floats, least_s: float) -> tuple[Estimated, ...]:
    """Return where S, the other parameters fitted again, first exceeds its least value + 1."""
    steps_P = _steps(curves, point_P)
    found = []
    for p in range(len(point_P)):
        others = [q for q in range(len(point_P)) if q != p]
        offset_B = np.concatenate([-_WIDENINGS, _WIDENINGS]) * steps_P[p]

        def profiled(
            free_BP: Floats, p: int = p, others: list[int] = others, offset_B: Floats = offset_B
        ) -> Floats:
            full_BP = np.empty((len(free_BP), len(point_P)))
            full_BP[:, others], full_BP[:, p] = free_BP, point_P[p] + offset_B
            return quality(curves, full_BP)

        start_BP = np.repeat(point_P[None, others], len(offset_B), 0)
        _, value_B = least(profiled, start_BP, steps_P[others], steps=30, tolerance=1e-2)
        over_B = value_B - least_s - 1
        n = len(_WIDENINGS)
        low = point_P[p] - steps_P[p] * _first_root(over_B[:n])
        high = point_P[p] + steps_P[p] * _first_root(over_B[n:])
        found.append(_in_unit(p, point_P[p], low, high))
    return tuple(found)


def _first_root(over_W: Floats) -> float:
    """Return the widening at which a rising number first passes 0, infinite where it does not."""
    past = np.flatnonzero(over_W > 0)
    if not past.size:
        return np.inf
    last = int(past[0])
    if last == 0 or not np.isfinite(over_W[last]):
        return float(_WIDENINGS[last])
    share = over_W[last] / (over_W[last] - over_W[last - 1])
    return float(_WIDENINGS[last] - share * (_WIDENINGS[last] - _WIDENINGS[last - 1]))
