"""Approach 1: the lower envelope of training curves, and curves cut at budgets for approach 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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

FEWEST_RECORDS = 3
CUTS = 9  # budgets at which curves are cut
WINDOW = 8.0  # sizes within this factor of the best one make a cut's parabola
BUDGETS = 100
MOSTLY = 0.5
REFINED = 3  # times the line says which budgets are kept
MARGIN = 2.0  # standard deviations of ln N

Curve = tuple[float, Floats, Floats]  # N, FLOPs at each record (rising), y there


def curves_of(points: Points) -> list[tuple[np.ndarray, Curve]]:
    """Return (rows, curve) of each run that has three records or more of one size."""
    order = np.lexsort((points.features["C"], points.run_N))
    cuts = np.flatnonzero(points.run_N[order][1:] != points.run_N[order][:-1]) + 1
    found = []
    for rows in np.split(order, cuts):
        size_R, flop_R = points.features["N"][rows], points.features["C"][rows]
        if len(rows) >= FEWEST_RECORDS and np.ptp(size_R) == 0 and (np.diff(flop_R) > 0).all():
            found.append((rows, (float(size_R[0]), flop_R, points.y_N[rows])))
    return found


def by_envelope(
    curves: Sequence[Curve],
    n_budgets: int = BUDGETS,
    rule: FlopRule | None = None,
    *,
    seed: int = 0,
) -> Optimum:
    """Return the line through the size that is best at each of many budgets.

    `curves` holds one run each: its size N, its FLOPs at each record (rising) and y there.
    Losses between records are interpolated in ln FLOP. A budget counts where neither the
    smallest nor the largest size is best and more than two sizes reach it.
    Checkpoints of one run under a decaying learning rate are no runs of their own: take
    constant or warm-up-stable-decay schedules, or final losses only.
    """
    if not curves:
        raise StudyError("no run has three records of one size; say which rows are one run's")
    sizes = np.unique([size for size, _, _ in curves])
    if len(sizes) < FEWEST_SIZES:
        raise StudyError(f"an envelope needs {FEWEST_SIZES} sizes, there are {len(sizes)}")
    start = min(flop_R[0] for _, flop_R, _ in curves)
    end = max(flop_R[-1] for _, flop_R, _ in curves)
    budgets_B = np.geomspace(start, end, n_budgets)
    size_R = np.array([size for size, _, _ in curves])
    loss_RB = np.array([_at(curve, budgets_B) for curve in curves])
    table = _envelope(size_R, loss_RB, budgets_B)
    if len(table) < FEWEST_BUDGETS:
        raise StudyError(
            "the envelope has its best size at the edge of the sizes at every budget; add "
            "smaller or larger models"
        )
    flop_at = float(np.exp(np.log(table["flop"]).mean()))
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(RESAMPLES):
        # A resampled run leaves a gap in the sizes: as much as the runs are worth.
        rows = np.unique(rng.integers(0, len(curves), len(curves)))
        again = _envelope(size_R[rows], loss_RB[rows], budgets_B)
        if len(again) >= FEWEST_BUDGETS:
            lines.append(line(again["flop"].to_numpy(), again["size"].to_numpy(), flop_at))
    cautions = []
    edge = 1 - len(table) / np.isfinite(loss_RB).any(0).sum()
    if edge > MOSTLY:
        cautions.append(
            Caution("optimum_at_the_edge", f"at {edge:.0%} of the budgets an extreme size is best")
        )
    return through("envelope", table, np.array(lines).reshape(-1, 2), cautions, rule or FlopRule())


def cut_at_budgets(points: Points, curves: Sequence[tuple[np.ndarray, Curve]]) -> Points:
    """Return the curves' y at budgets, as rows that parabolas can go through.

    Budgets are those in the middle of which some size that is neither the smallest nor
    the largest is best; sizes over 8 times from it are left out, as no parabola is as wide, and so
    are those further from it than the nearer end of the sizes is.
    """
    size_U = np.array([size for _, (size, _, _) in curves])
    start = min(flop_R[0] for _, (_, flop_R, _) in curves)
    end = max(flop_R[-1] for _, (_, flop_R, _) in curves)
    fine_B = np.geomspace(start, end, BUDGETS)
    table = _envelope(size_U, np.array([_at(c, fine_B) for _, c in curves]), fine_B)
    if len(table) < FEWEST_BUDGETS:
        raise StudyError("no budget has its best size inside the sizes of the curves")
    budgets_B = np.geomspace(table["flop"].min(), table["flop"].max(), CUTS)
    loss_UB = np.array([_at(curve, budgets_B) for _, curve in curves])
    rows: list[tuple[float, float, float, str]] = []
    for b, flop in enumerate(budgets_B):
        loss_U = loss_UB[:, b]
        if not np.isfinite(loss_U).any():
            continue
        has_U = np.isfinite(loss_U)
        best = size_U[np.nanargmin(loss_U)]
        # As far to one side as to the other: a parabola leans towards the longer one.
        window = min(WINDOW, best / size_U[has_U].min(), size_U[has_U].max() / best)
        near_U = has_U & (np.abs(np.log(size_U / best)) <= np.log(window) + 1e-9)
        rows += [
            (float(size_U[u]), float(flop), float(loss_U[u]), str(points.run_N[curves[u][0][0]]))
            for u in np.flatnonzero(near_U).tolist()
        ]
    size_N, flop_N, y_N, run_N = (np.array(c) for c in zip(*rows, strict=True))
    return replace(
        points, y_N=y_N, features={"N": size_N, "C": flop_N}, run_N=run_N, sorts={}, cautions=()
    )


def _at(curve: Curve, budgets_B: Floats) -> Floats:
    _, flop_R, y_R = curve
    found: Floats = np.interp(np.log(budgets_B), np.log(flop_R), y_R, left=np.nan, right=np.nan)
    return found


def _envelope(size_R: Floats, loss_RB: Floats, budgets_B: Floats) -> pd.DataFrame:
    """Return flop, size and loss of the lowest curve at each budget whose best size lies inside.

    Runs of one size count by their mean: the luckiest of several seeds is no better a size. Near
    the smallest and the largest size noise can only err inwards, and a line through what is best
    there comes out flat: so budgets are kept by where the line has them, two standard
    deviations of what is best around it from either end, and not by what is best at each.
    """
    sizes, place_R = np.unique(size_R, return_inverse=True)
    loss_SB = np.array([loss_RB[place_R == s].mean(axis=0) for s in range(len(sizes))])
    has_SB = np.isfinite(loss_SB)
    best_B = np.where(has_SB, loss_SB, np.inf).argmin(0)
    first_B, last_B = has_SB.argmax(0), len(sizes) - 1 - has_SB[::-1].argmax(0)
    enough_B = has_SB.sum(0) > 2
    log_size, log_flop_B = np.log(sizes), np.log(budgets_B)
    kept_B = enough_B & (best_B > 0) & (best_B < len(sizes) - 1)
    for _ in range(REFINED):
        if kept_B.sum() < FEWEST_BUDGETS or np.ptp(best_B[kept_B]) == 0:
            break
        slope, height = np.polyfit(log_flop_B[kept_B], log_size[best_B[kept_B]], 1)
        line_B = height + slope * log_flop_B
        margin = MARGIN * np.std(log_size[best_B[kept_B]] - line_B[kept_B])
        inside_B = line_B > log_size[first_B] + margin
        kept_B = enough_B & inside_B & (line_B < log_size[last_B] - margin)
    columns = np.flatnonzero(kept_B)
    return pd.DataFrame(
        {
            "flop": budgets_B[kept_B],
            "size": sizes[best_B][kept_B],
            "loss": loss_SB[best_B[kept_B], columns],
        }
    )
