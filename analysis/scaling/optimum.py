"""The compute-optimal size: a line N* ~ C^a, by whatever approach, and how approaches compare.

N* ~ C^a and D* ~ C^b with a + b = 1 where C = 6 N D. The approaches are those of Hoffmann et al.
2022 (arXiv:2203.15556): the envelope of training curves, parabolas at fixed compute, and the
fitted surface. Each is biased where its form is wrong, without any noise, so their spread
is part of the answer (docs/scaling.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.convention import FlopRule
from phasecube.analysis.scaling.fit import Fit
from phasecube.analysis.scaling.law import Floats
from phasecube.analysis.scaling.resampled import Resampled, extrapolation_cautions
from phasecube.engine.errors import StudyError

FEWEST_SIZES = 4  # of a parabola with one degree of freedom left
FEWEST_BUDGETS = 3
RESAMPLES = 1000
NOT_RESAMPLED = np.empty((0, 2))


@dataclass(frozen=True)
class Optimum:
    """N* = size_at * (C / flop_at)^exponent, from one approach.

    `table` has what the line goes through: flop, size, loss. `low`, `high`: 95 % of the exponent.
    `lines_R2` are resampled lines, exponent and ln N* at `flop_at`.
    """

    approach: str
    exponent: float
    low: float
    high: float
    size_at: float
    flop_at: float
    table: pd.DataFrame
    cautions: tuple[Caution, ...]
    rule: FlopRule = field(default_factory=FlopRule)
    lines_R2: Floats = field(default_factory=lambda: NOT_RESAMPLED)

    def size(self, flop: float) -> float:
        """Return N* at a budget."""
        return float(self.size_at * (flop / self.flop_at) ** self.exponent)

    def tokens(self, flop: float) -> float:
        """Return D* at a budget."""
        return float(self.rule.tokens(flop, self.size(flop)))

    def sizes(self, flop: float) -> Floats:
        """Return N* at a budget on each resampled line."""
        found: Floats = np.exp(self.lines_R2 @ [np.log(flop / self.flop_at), 1.0])
        return found

    def size_interval(self, flop: float) -> tuple[float, float]:
        """Return 95 % of N* at a budget, NaN without resamples."""
        return interval_of(self.sizes(flop))

    def ratio_interval(self, flop: float) -> tuple[float, float]:
        """Return 95 % of D* / N* at a budget, NaN without resamples."""
        sizes_R = self.sizes(flop)
        with np.errstate(over="ignore"):  # of a resample that hardly tells the exponent
            return interval_of(self.rule.tokens(flop, sizes_R) / sizes_R)


def interval_of(values_R: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval of what is finite, NaN where nothing is."""
    finite = values_R[np.isfinite(values_R)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def through(
    approach: str,
    table: pd.DataFrame,
    lines_R2: Floats,
    cautions: Sequence[Caution],
    rule: FlopRule,
) -> Optimum:
    """Return the line through the sizes of a table; `lines_R2` are the same of resamples."""
    flop_at = float(np.exp(np.log(table["flop"]).mean()))
    slope, height = line(table["flop"].to_numpy(), table["size"].to_numpy(), flop_at)
    low, high = interval_of(lines_R2[:, 0])
    return Optimum(
        *(approach, slope, low, high, float(np.exp(height)), flop_at, table, tuple(cautions)),
        *(rule, lines_R2),
    )


def line(flop_B: Floats, size_B: Floats, flop_at: float) -> tuple[float, float]:
    """Return slope and height of ln N* over ln (C / flop_at)."""
    slope, height = np.polyfit(np.log(flop_B / flop_at), np.log(size_B), 1)
    return float(slope), float(height)


def by_surface(fit: Fit, again: Resampled | None = None, rule: FlopRule | None = None) -> Optimum:
    """Return the line of the least loss at fixed compute on a fitted Chinchilla surface.

    Raises StudyError where the loss grows with one of N and D, so that none is best.
    """
    rule = rule or FlopRule()
    growing = [name for name in ("alpha", "beta") if fit.values[name] <= 0]
    if growing:
        told = ", ".join(f"{name} = {fit.values[name]:.3g}" for name in growing)
        raise StudyError(f"the surface has no best size, as its loss grows: {told}")
    features = fit.points.features
    flop_at = float(np.exp(np.log(features["C"]).mean()))
    exponent, factor = optimal_line(fit.values, rule)
    size = factor * flop_at**exponent
    lines_R2 = NOT_RESAMPLED
    if again is not None:
        slope_R, factor_R = optimal_line({n: again[n] for n in again.names}, rule)
        with np.errstate(divide="ignore", invalid="ignore"):
            lines_R2 = np.stack([slope_R, np.log(factor_R) + slope_R * np.log(flop_at)], axis=1)
        lines_R2 = lines_R2[np.isfinite(lines_R2).all(axis=1)]
    low, high = interval_of(lines_R2[:, 0])
    loss = fit.predict(N=size, D=rule.tokens(flop_at, size))
    table = pd.DataFrame({"flop": [flop_at], "size": [size], "loss": [float(loss)]})
    cautions = []
    if not features["N"].min() <= size <= features["N"].max():
        cautions.append(
            Caution(
                "optimum_at_the_edge",
                f"the surface's best size in the middle of the budgets, {size:.3g}, lies outside "
                f"the sizes fitted, {features['N'].min():.3g} to {features['N'].max():.3g}",
            )
        )
    return Optimum(
        *("surface", float(exponent), low, high, float(size), flop_at, table, tuple(cautions)),
        *(rule, lines_R2),
    )


def optimal_line(values: Mapping[str, Any], rule: FlopRule | None = None) -> tuple[Any, Any]:
    """Return exponent and factor of N* = factor * C^exponent on a Chinchilla surface; numbers,
    or arrays of them (Hoffmann et al. 2022, equation 4, for C = k N^p D^q)."""
    rule = rule or FlopRule()
    p, q = rule.of_size, rule.of_tokens
    with np.errstate(all="ignore"):  # a resample may throw a coefficient out of all bounds
        total = q * values["alpha"] + p * values["beta"]
        inside = values["alpha"] * values["A"] * q / (values["beta"] * values["B"] * p)
        exponent = values["beta"] / total
        return exponent, inside ** (q / total) * rule.factor**-exponent


def asked_beyond(fit: Fit, flop: float) -> list[Caution]:
    """Return the cautions of asking a fit for the optimum at a budget."""
    return extrapolation_cautions(fit, C=flop)


def spread(found: Sequence[Optimum]) -> Caution | None:
    """Return a caution where two approaches' exponents differ by more than both intervals."""
    # Pair by pair: one approach that is told badly does not hide that two others disagree.
    apart = max(
        (
            abs(one.exponent - other.exponent)
            for one, other in combinations(found, 2)
            if abs(one.exponent - other.exponent) > max(_width(one), _width(other))
        ),
        default=None,
    )
    if apart is None:
        return None
    listing = ", ".join(f"{o.approach} {o.exponent:.3f}" for o in found)
    return Caution(
        "approaches_disagree",
        f"{listing}: {apart:.3f} apart, more than the wider of two intervals; one of "
        "the forms is wrong here",
    )


def _width(o: Optimum) -> float:
    return o.high - o.low if np.isfinite(o.high - o.low) else 0.0
