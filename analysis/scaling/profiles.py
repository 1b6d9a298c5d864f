"""Approach 2: at each budget a parabola of y in ln N, and a line through the minima."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.convention import FlopRule
from phasecube.analysis.scaling.law import Floats
from phasecube.analysis.scaling.optimum import (
    FEWEST_BUDGETS,
    FEWEST_SIZES,
    RESAMPLES,
    Optimum,
    line,
    through,
)
from phasecube.analysis.scaling.points import Points
from phasecube.engine.errors import StudyError

SAME_BUDGET = 0.1  # in ln C: rows nearer than that may belong to one budget,
WIDEST_BUDGET = 0.25  # if all of them lie within this
NO_BUDGETS = 0.005  # rows that still run on without such a gap lie at no budgets
AT_BUDGETS = 1 / 3  # share of the rows: chance makes budgets too
SHOWN = 3
WHY = {
    "few_sizes": f"fewer than {FEWEST_SIZES} sizes, which a parabola needs,",
    "optimum_at_the_edge": "no minimum inside the sizes",
}


@dataclass(frozen=True)
class Profile:
    """One budget: its rows, and the parabola c0 + c1 u + c2 u^2, u = ln N - middle."""

    flop: float
    rows_n: np.ndarray
    middle: float
    coefficients_3: Floats

    @property
    def size(self) -> float:
        """Return N at the minimum."""
        _, slope, bend = self.coefficients_3
        with np.errstate(over="ignore"):  # a flat parabola's lies anywhere
            return float(np.exp(self.middle - slope / (2 * bend)))

    @property
    def loss(self) -> float:
        """Return y at the minimum."""
        height, slope, bend = self.coefficients_3
        return float(height - slope**2 / (4 * bend))

    def at(self, size: Floats) -> Floats:
        """Return the parabola."""
        u = np.log(size) - self.middle
        height, slope, bend = self.coefficients_3
        return np.asarray(height + slope * u + bend * u**2, np.float64)


def by_profiles(points: Points, rule: FlopRule | None = None, *, seed: int = 0) -> Optimum:
    """Return the line through the minima of parabolas of y in ln N, one a budget.

    The interval resamples residuals, with one random sign a run and each divided by 1 - its
    leverage: with budgets of few sizes, rows drawn with replacement would lose their ends.
    (Wild bootstrap: Davidson & Flachaire 2008.) The table has a 95 % interval of each minimum.
    Raises StudyError with fewer than three budgets that have a minimum inside their sizes.
    """
    budgets = budgets_of(points)
    found, left_out = profiles(points, budgets)
    cautions = [
        Caution(
            name,
            f"{WHY[name]} at {len(flops)} of {len(budgets)} budgets, left out: "
            f"{', '.join(f'{c:.2e}' for c in flops[:SHOWN])}"
            f"{', ...' if len(flops) > SHOWN else ''} FLOP",
        )
        for name, flops in left_out.items()
    ]
    share = sum(len(p.rows_n) for p in found) / len(points)
    if len(found) >= FEWEST_BUDGETS and share < AT_BUDGETS:
        raise StudyError(
            f"{share:.0%} of the rows lie at budgets that have a minimum: the others have FLOPs of "
            "their own"
        )
    if len(found) < FEWEST_BUDGETS:
        why = "; ".join(map(str, cautions)) or f"there are {len(budgets)} budgets"
        raise StudyError(
            f"parabolas at fixed compute need {FEWEST_BUDGETS} budgets with a minimum inside "
            f"their sizes: {why}"
        )
    size_RB = _resampled(points, found, np.random.default_rng(seed))
    flop_B = np.array([p.flop for p in found])
    flop_at = float(np.exp(np.log(flop_B).mean()))
    whole = np.isfinite(size_RB).sum(1) >= FEWEST_BUDGETS
    lines_R2 = np.array(
        [line(flop_B[ok], size_B[ok], flop_at) for size_B in size_RB[whole]
         for ok in [np.isfinite(size_B)]]
    ).reshape(-1, 2)  # fmt: skip
    low_B, high_B = np.nanquantile(size_RB, [0.025, 0.975], axis=0)
    table = pd.DataFrame(
        {
            "flop": flop_B,
            "size": [p.size for p in found],
            "loss": [p.loss for p in found],
            "size_low": low_B,
            "size_high": high_B,
        }
    )
    return through("isoflop", table, lines_R2, cautions, rule or FlopRule())


def profiles(
    points: Points, budgets: list[tuple[float, np.ndarray]]
) -> tuple[list[Profile], dict[str, list[float]]]:
    """Return the parabola of each budget that has a minimum inside, and the others by reason."""
    found: list[Profile] = []
    left_out: dict[str, list[float]] = {}
    for flop, rows in budgets:
        log_size_n = np.log(points.features["N"][rows])
        if len(np.unique(log_size_n)) < FEWEST_SIZES:
            left_out.setdefault("few_sizes", []).append(flop)
            continue
        middle = float(log_size_n.mean())
        bend, slope, height = np.polyfit(log_size_n - middle, points.y_N[rows], 2)
        profile = Profile(flop, rows, middle, np.array([height, slope, bend]))
        inside = bend > 0 and (log_size_n.min() < np.log(profile.size) < log_size_n.max())
        if inside:
            found.append(profile)
        else:
            left_out.setdefault("optimum_at_the_edge", []).append(flop)
    return found, left_out


def budgets_of(points: Points) -> list[tuple[float, np.ndarray]]:
    """Return (FLOPs, rows) of each budget: rows in a chain of nearly equal FLOPs.

    A chain that is too wide is cut at its wider gaps, until no chain is: rows between budgets
    must not join them. Rows that run on without a gap are in none.
    """
    log_flop_N = np.log(points.features["C"])
    order = np.argsort(log_flop_N, kind="stable")
    return [
        (float(np.exp(log_flop_N[rows].mean())), rows)
        for rows in _chains(log_flop_N, order, SAME_BUDGET)
    ]


def _chains(log_flop_N: Floats, order: np.ndarray, gap: float) -> list[np.ndarray]:
    if gap < NO_BUDGETS:
        return []
    found = []
    for rows in np.split(order, np.flatnonzero(np.diff(log_flop_N[order]) > gap) + 1):
        too_wide = np.ptp(log_flop_N[rows]) > WIDEST_BUDGET
        found += _chains(log_flop_N, rows, gap / 2) if too_wide else [rows]
    return found


def _resampled(points: Points, found: list[Profile], rng: np.random.Generator) -> Floats:
    """Return the size at each budget's minimum in every resample, NaN where it has none."""
    runs, place_N = np.unique(points.run_N, return_inverse=True)
    sign_RU = rng.choice([-1.0, 1.0], (RESAMPLES, len(runs)))
    size_RB = np.full((RESAMPLES, len(found)), np.nan)
    for b, profile in enumerate(found):
        u_n = np.log(points.features["N"][profile.rows_n]) - profile.middle
        design_n3 = np.stack([np.ones_like(u_n), u_n, u_n**2], axis=1)
        solve_3n = np.linalg.pinv(design_n3)
        leverage_n = np.einsum("np,pn->n", design_n3, solve_3n)
        residual_n = points.y_N[profile.rows_n] - design_n3 @ profile.coefficients_3
        residual_n = residual_n / np.maximum(1 - leverage_n, 0.1)
        drawn_R3 = (sign_RU[:, place_N[profile.rows_n]] * residual_n) @ solve_3n.T
        _, slope_R, bend_R = (profile.coefficients_3 + drawn_R3).T
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            size_R = np.exp(profile.middle - slope_R / (2 * bend_R))
        size_RB[:, b] = np.where((bend_R > 0) & np.isfinite(size_R) & (size_R > 0), size_R, np.nan)
    return size_RB
