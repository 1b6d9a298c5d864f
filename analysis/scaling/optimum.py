"""The compute-optimal size: three ways to find it, which must be shown side by side.

N* ~ C^a and D* ~ C^b with a + b = 1 where C = 6 N D. The ways are those of Hoffmann et al. 2022
(arXiv:2203.15556): the envelope of training curves, parabolas at fixed compute, and the fitted
surface. Each is biased where its form is wrong, without any noise, so their spread is part
of the answer (docs/scaling.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.fit import Fit
from phasecube.analysis.scaling.law import Floats
from phasecube.analysis.scaling.points import FLOP_PER_PARAMETER_AND_TOKEN, Points
from phasecube.analysis.scaling.resampled import Resampled, extrapolation_cautions
from phasecube.engine.errors import StudyError

SAME_BUDGET = 0.1  # relative: rows whose FLOPs differ by less belong to one budget
FEWEST_SIZES = 4  # of a parabola with one degree of freedom left
FEWEST_BUDGETS = 3
SHOWN = 3
WHY = {
    "few_sizes": f"fewer than {FEWEST_SIZES} sizes, which a parabola needs,",
    "optimum_at_the_edge": "no minimum inside the sizes",
}
RESAMPLES = 1000


@dataclass(frozen=True)
class Optimum:
    """N* = size_at * (C / flop_at)^exponent, from one approach.

    `table` has what the line goes through: flop, size, loss. `low`, `high`: 95 % of the exponent.
    """

    approach: str
    exponent: float
    low: float
    high: float
    size_at: float
    flop_at: float
    table: pd.DataFrame
    cautions: tuple[Caution, ...]

    def size(self, flop: float) -> float:
        """Return N* at a budget."""
        return float(self.size_at * (flop / self.flop_at) ** self.exponent)

    def tokens(self, flop: float) -> float:
        """Return D* at a budget."""
        return flop / (FLOP_PER_PARAMETER_AND_TOKEN * self.size(flop))


def by_profiles(points: Points, *, seed: int = 0) -> Optimum:
    """Return the line through the minima of parabolas of y in ln N, one a budget.

    Raises StudyError with fewer than three budgets that have a minimum inside their sizes.
    """
    budgets = budgets_of(points)
    vertices, kept = [], []
    left_out: dict[str, list[str]] = {}
    for flop, rows in budgets:
        found = _vertex(points, rows)
        if isinstance(found, str):
            left_out.setdefault(found, []).append(f"{flop:.2e}")
            continue
        vertices.append((flop, *found))
        kept.append(rows)
    cautions = [
        Caution(
            name,
            f"{WHY[name]} at {len(flops)} of {len(budgets)} budgets, left out: "
            f"{', '.join(flops[:SHOWN])}{', ...' if len(flops) > SHOWN else ''} FLOP",
        )
        for name, flops in left_out.items()
    ]
    if len(vertices) < FEWEST_BUDGETS:
        why = "; ".join(map(str, cautions)) or f"there are {len(budgets)} budgets"
        raise StudyError(
            f"parabolas at fixed compute need {FEWEST_BUDGETS} budgets with a minimum inside "
            f"their sizes: {why}"
        )
    table = pd.DataFrame(vertices, columns=["flop", "size", "loss"])
    rng = np.random.default_rng(seed)
    slopes = []
    for _ in range(RESAMPLES):
        again = []
        for (flop, *_), rows in zip(vertices, kept, strict=True):
            vertex = _vertex(points, rng.choice(rows, len(rows)))
            if not isinstance(vertex, str):
                again.append((flop, vertex[0]))
        if len(again) >= FEWEST_BUDGETS:
            slopes.append(_line(*map(np.asarray, zip(*again, strict=True)))[0])
    return _optimum("isoflop_profiles", table, slopes, cautions)


def by_envelope(
    curves: Sequence[tuple[float, Floats, Floats]], n_budgets: int = 100, *, seed: int = 0
) -> Optimum:
    """Return the line through the size that is best at each of many budgets.

    `curves` holds one run each: its size N, its FLOPs at each record (rising) and y there.
    Losses between records are interpolated in ln FLOP. A budget counts where neither the
    smallest nor the largest size is best and more than two sizes reach it.
    Checkpoints of one run under a decaying learning rate are no runs of their own: take
    constant or warm-up-stable-decay schedules, or final losses only.
    """
    sizes = np.unique([size for size, _, _ in curves])
    if len(sizes) < FEWEST_SIZES:
        raise StudyError(f"an envelope needs {FEWEST_SIZES} sizes, there are {len(sizes)}")
    start = min(flop_R[0] for _, flop_R, _ in curves)
    end = max(flop_R[-1] for _, flop_R, _ in curves)
    budgets_B = np.geomspace(start, end, n_budgets)
    loss_RB = np.array(
        [
            np.interp(np.log(budgets_B), np.log(flop_R), y_R, left=np.nan, right=np.nan)
            for _, flop_R, y_R in curves
        ]
    )
    size_R = np.array([size for size, _, _ in curves])
    table = _envelope(size_R, loss_RB, budgets_B)
    if len(table) < FEWEST_BUDGETS:
        raise StudyError(
            "the envelope has its best size at the edge of the sizes at every budget; add "
            "smaller or larger models"
        )
    rng = np.random.default_rng(seed)
    slopes = []
    for _ in range(RESAMPLES // 5):
        # A resampled run leaves a gap in the sizes: as much as the runs are worth.
        rows = np.unique(rng.integers(0, len(curves), len(curves)))
        again = _envelope(size_R[rows], loss_RB[rows], budgets_B)
        if len(again) >= FEWEST_BUDGETS:
            slopes.append(_line(again["flop"].to_numpy(), again["size"].to_numpy())[0])
    cautions = []
    edge = 1 - len(table) / np.isfinite(loss_RB).any(0).sum()
    if edge > 0.5:
        cautions.append(
            Caution("optimum_at_the_edge", f"at {edge:.0%} of the budgets an extreme size is best")
        )
    return _optimum("envelope", table, slopes, cautions)


def by_surface(fit: Fit, again: Resampled | None = None) -> Optimum:
    """Return the line of the least loss at fixed 6 N D on a fitted Chinchilla surface."""
    exponent, balance = optimal_line(fit.values)
    low, high = (
        (np.nan, np.nan)
        if again is None
        else again.interval(lambda values: optimal_line(values)[0])
    )
    flop = float(np.exp(np.log(fit.points.features["C"]).mean()))
    size = balance * (flop / FLOP_PER_PARAMETER_AND_TOKEN) ** exponent
    loss = fit.predict(N=size, D=flop / (FLOP_PER_PARAMETER_AND_TOKEN * size))
    table = pd.DataFrame({"flop": [flop], "size": [size], "loss": [float(loss)]})
    return Optimum("surface", exponent, low, high, size, flop, table, fit.cautions)


def optimal_line(values: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return exponent and factor of N* = factor * (C / 6)^exponent on a Chinchilla surface;
    numbers, or arrays of them (Hoffmann et al. 2022, equation 4)."""
    total = values["alpha"] + values["beta"]
    inside = values["alpha"] * values["A"] / (values["beta"] * values["B"])
    return values["beta"] / total, inside ** (1 / total)


def asked_beyond(fit: Fit, flop: float) -> list[Caution]:
    """Return the cautions of asking a fit for the optimum at a budget."""
    return extrapolation_cautions(fit, C=flop)


def spread(found: Sequence[Optimum]) -> Caution | None:
    """Return a caution where the approaches' exponents differ by more than their intervals."""
    exponents = [o.exponent for o in found]
    apart = max(exponents) - min(exponents)
    widest = max((o.high - o.low for o in found if np.isfinite(o.high - o.low)), default=0.0)
    if len(found) < 2 or apart <= widest:
        return None
    listing = ", ".join(f"{o.approach} {o.exponent:.3f}" for o in found)
    return Caution(
        "approaches_disagree",
        f"{listing}: {apart:.3f} apart, more than the widest interval; one of the forms is wrong "
        "here",
    )


def budgets_of(points: Points) -> list[tuple[float, np.ndarray]]:
    """Return (FLOPs, rows) of each budget: rows in a chain of equal FLOPs."""
    order = np.argsort(points.features["C"])
    log_flop = np.log(points.features["C"][order])
    cuts = np.flatnonzero(np.diff(log_flop) > SAME_BUDGET) + 1
    return [
        (float(np.exp(np.log(points.features["C"][rows]).mean())), rows)
        for rows in np.split(order, cuts)
    ]


def _vertex(points: Points, rows: np.ndarray) -> tuple[float, float] | str:
    """Return size and y at the minimum of a parabola through rows of one budget, or a reason."""
    log_size = np.log(points.features["N"][rows])
    n_sizes = len(np.unique(log_size))
    if n_sizes < FEWEST_SIZES:
        return "few_sizes"
    middle = log_size.mean()
    bend, slope, height = np.polyfit(log_size - middle, points.y_N[rows], 2)
    place = -slope / (2 * bend) + middle if bend > 0 else np.inf
    if not log_size.min() < place < log_size.max():
        return "optimum_at_the_edge"
    return float(np.exp(place)), float(height - slope**2 / (4 * bend))


def _envelope(size_R: Floats, loss_RB: Floats, budgets_B: Floats) -> pd.DataFrame:
    reached_B = np.isfinite(loss_RB).sum(0)
    best_B = np.where(np.isfinite(loss_RB), loss_RB, np.inf).argmin(0)
    inside_B = (size_R[best_B] > size_R.min()) & (size_R[best_B] < size_R.max())
    kept_B = inside_B & (reached_B > 2)
    columns = np.arange(len(budgets_B))[kept_B]
    return pd.DataFrame(
        {
            "flop": budgets_B[kept_B],
            "size": size_R[best_B][kept_B],
            "loss": loss_RB[best_B[kept_B], columns],
        }
    )


def _line(flop_B: Floats, size_B: Floats) -> tuple[float, float]:
    """Return slope and height of ln N* over centred ln C."""
    x_B = np.log(flop_B)
    slope, height = np.polyfit(x_B - x_B.mean(), np.log(size_B), 1)
    return float(slope), float(height)


def _optimum(
    approach: str, table: pd.DataFrame, slopes: Sequence[float], cautions: Sequence[Caution]
) -> Optimum:
    slope, height = _line(table["flop"].to_numpy(), table["size"].to_numpy())
    low, high = np.quantile(slopes, [0.025, 0.975]) if len(slopes) else (np.nan, np.nan)
    flop_at = float(np.exp(np.log(table["flop"]).mean()))
    return Optimum(
        *(approach, slope, float(low), float(high), float(np.exp(height)), flop_at, table),
        tuple(cautions),
    )
