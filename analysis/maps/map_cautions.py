"""What speaks against one map or one line: few trials in its cells, a best value at the edge."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phasecube.analysis.caution import Caution
from phasecube.analysis.labels import format_value, long_name
from phasecube.analysis.lines.arranged import Bundle
from phasecube.analysis.maps.phase_diagram import MapAxis, Panel
from phasecube.analysis.report.study_cautions import MANY_DIVERGED, SEED
from phasecube.engine.params import RunParams
from phasecube.engine.record import Outcome

Floats = npt.NDArray[np.float64]
# Of these a best value is sought; a loss that falls to the largest width has no edge to widen.
GIVEN = {"seed", "steps", "dtype", "parent_trial", "branch_step"}
TUNED = frozenset(RunParams.model_fields) - GIVEN
FEWEST_PLACES = 3  # an axis of two values is all edge
# What a measure's name says of which end is good; of any other none is.
SMALL_IS_GOOD = {"loss", "error", "mse", "perplexity", "regret", "nll", "risk"}
LARGE_IS_GOOD = {"accuracy", "reward", "return", "alignment"}


def better(name: str, words: str = "") -> str | None:
    """Return "least" or "greatest", the better end of a measure by its name, None if unknown."""
    for text in (name, words):
        parts = set(re.split(r"[^a-z]+", text.lower()))
        if parts & SMALL_IS_GOOD:
            return "least"
        if parts & LARGE_IS_GOOD:
            return "greatest"
    return None


def cell_cautions(panel: Panel, cells: xr.Dataset) -> tuple[Caution, ...]:
    """Return what speaks against the cells of a map: unfinished, one seed, mostly diverged.

    A cell whose seed is an axis of the map has one trial by intent, and is not counted.
    """
    n_planned, n_settled, n_diverged = (
        np.asarray(cells[n].values) for n in ("n_planned", "n_settled", "n_diverged")
    )
    used = np.asarray(cells.n_used.values if "n_used" in cells else n_settled)
    found = []
    if waiting := int((n_settled < n_planned).sum()):
        of = int((n_planned > 0).sum())
        found.append(
            Caution("half_a_study", f"{waiting:,} of {of:,} cells hold trials that have not ended")
        )
    if SEED not in (panel.x.dim, panel.y.dim) and (alone := int((used == 1).sum())):
        whole = int((used > 0).sum())
        found.append(
            Caution(
                "one_seed",
                f"{alone:,} of {whole:,} cells with a value stand on one trial: chance is not "
                "seen there",
            )
        )
    # Phases, shares and onsets that came before the end count diverged trials, too.
    left_out = np.minimum(n_diverged, n_settled - used)
    survivors = (left_out > MANY_DIVERGED * n_settled) & (used > 0)
    if "value" in cells and (many := int(survivors.sum())):
        found.append(
            Caution(
                "many_diverged",
                f"{many:,} of {int((used > 0).sum()):,} cells with a value lost more than a "
                "quarter of their trials to divergence; the value is of the others",
            )
        )
    return tuple(found)


def edge_of_map(panel: Panel, value: xr.DataArray, end: str | None) -> tuple[Caution, ...]:
    """Return `optimum_at_the_edge` where the best cell lies at the end of an axis of numbers.

    value: dims (row, column). end: "least" or "greatest". A cell inside that is as good as the
    best one at the edge clears that axis.
    """
    if end is None:
        return ()
    values = np.asarray(value.transpose("row", "column").values, np.float64)
    found = []
    for axis, side in ((0, panel.y), (1, panel.x)):
        at = _numbers(side.values)
        if at is None:
            continue
        # The best of each place, whatever the other axis.
        finite = np.where(np.isfinite(values), values, np.inf if end == "least" else -np.inf)
        profile = finite.min(1 - axis) if end == "least" else finite.max(1 - axis)
        found += _edge(profile, at, side, end, long_name(value))
    return tuple(found)


def edge_of_line(
    side: MapAxis, at: Sequence[object], value: Floats, end: str | None, words: str, where: str
) -> tuple[Caution, ...]:
    """Return `optimum_at_the_edge` of one line along an axis of numbers."""
    numbers = _numbers(at)
    if end is None or numbers is None:
        return ()
    worst = np.inf if end == "least" else -np.inf
    return tuple(
        _edge(np.where(np.isfinite(value), value, worst), numbers, side, end, words, where)
    )


def line_cautions(
    lines: Sequence[Bundle], tables: Sequence[pd.DataFrame], side: MapAxis, end: str | None
) -> tuple[Caution, ...]:
    """Return what speaks against lines along an axis: unfinished, one trial a point, the edge.

    tables: of each line, with columns value, n_used, n_diverged and the places along the axis.
    """
    found: list[Caution] = []
    waiting = sum(int((line.outcome == Outcome.NOT_RUN).sum()) for line in lines)
    if waiting:
        found.append(Caution("half_a_study", f"{waiting:,} trials of it have not ended"))
    used = np.concatenate([np.asarray(t["n_used"]) for t in tables] or [np.zeros(0)])
    seeds = SEED not in (side.dim, *(name for line in lines for name in line.places))
    if seeds and (alone := int((used == 1).sum())):
        found.append(
            Caution(
                "one_seed",
                f"{alone:,} of {int((used > 0).sum()):,} points stand on one trial: chance is not "
                "seen there",
            )
        )
    for line, table in zip(lines, tables, strict=True):
        at, value = table[side.name].to_numpy(), table["value"].to_numpy(np.float64)
        found += edge_of_line(side, at.tolist(), value, end, "value", line.label)
    return tuple(found)


def _numbers(places: Sequence[object]) -> Floats | None:
    """Return the values of an axis that has ends, None for words and for too few."""
    values = np.asarray(places)
    if values.dtype.kind not in "fiu" or len(np.unique(values)) < FEWEST_PLACES:
        return None
    return values.astype(np.float64)


def _edge(
    profile: Floats, at: Floats, side: MapAxis, end: str, words: str, where: str = ""
) -> list[Caution]:
    """Judge the best value at each place of a tuned axis; infinite where there is none."""
    known = np.isfinite(profile)
    if side.name not in TUNED or np.unique(at[known]).size < FEWEST_PLACES:
        return []
    sign = 1.0 if end == "least" else -1.0
    best = (sign * profile[known]).min()
    holds = at[known][sign * profile[known] == best]
    low, high = at[known].min(), at[known].max()
    if not np.isin(holds, (low, high)).all():
        return []  # inside it is as good
    if (holds == 0).all() and low == 0:
        return []  # nothing lies below: weight decay 0 is no end of a search
    inside = (at[known] > low) & (at[known] < high)
    second = sign * (sign * profile[known][inside]).min()
    lies = "first" if holds[0] == low else "last"
    of = f" of {where}" if where else ""
    return [
        Caution(
            "optimum_at_the_edge",
            f"the {end} {words}{of}, {format_value(sign * best)}, lies at {side.name} = "
            f"{format_value(float(holds[0]))}, the {lies} value that has one; inside it is "
            f"{format_value(second)}. A better one may lie beyond",
        )
    ]
