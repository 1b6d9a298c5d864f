"""What a figure shows in one sentence, from its numbers alone: no reading, no reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.labels import format_value


def commonest_found(names_C: Sequence[str]) -> str:
    """Return how many cells a map has of each phase or label, the commonest first."""
    if not len(names_C):
        return ""
    names, counts = np.unique(np.asarray(names_C, np.str_), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    told = [f"{counts[i]:,} {names[i]}" for i in order]
    if len(told) == 1:
        return f"all {counts[0]:,} cells {names[0]}"
    return f"{len(names_C):,} cells, of them {', '.join(told)}"


def values_found(cells: xr.Dataset, place: Callable[[int, int], str]) -> str:
    """Return the least and the greatest value of a map and where they are, as `place` says."""
    values = np.asarray(cells.value.values, np.float64)
    finite = np.isfinite(values)
    beyond = np.isposinf(values)
    if not finite.any():
        return f"in none of the {beyond.sum():,} cells by the end" if beyond.any() else ""
    ends = []
    for end in (np.nanmin, np.nanmax):
        best = end(values[finite])
        row, column = (int(i) for i in np.argwhere(finite & (values == best))[0])
        alike = int((values == best).sum())
        where = place(row, column)
        said = format_value(float(best), 3)
        if where and alike == 1:
            said += f" at {where}"
        elif alike > 1:
            said += f" in {alike:,} cells"
        ends.append(said)
        if (values[finite] == best).all():
            break
    text = f"from {ends[0]} to {ends[1]}" if len(ends) == 2 else ends[0]
    if beyond.any():
        text += f"; in {beyond.sum():,} of {(finite | beyond).sum():,} cells not by the end"
    return text


def law_found(table: pd.DataFrame) -> str:
    """Return the parameters of a fitted law with their intervals, where it has one row each."""
    told = []
    for row in table.to_dict("records"):
        text = f"{row['parameter']} = {format_value(float(row['value']), 3)}"
        if np.isfinite(row["low"]) and np.isfinite(row["high"]):
            low, high = (format_value(float(row[end]), 3) for end in ("low", "high"))
            text += f" (95 % {low} to {high})"
        told.append(text)
    return ", ".join(told)


def line_found(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Return the least and the greatest value of the lines of a plot and where they are.

    names: the columns that say where.
    """
    values = np.asarray(table["value"], np.float64) if len(table) else np.zeros(0)
    if not np.isfinite(values).any():
        return ""
    ends = []
    for at in (int(np.nanargmin(values)), int(np.nanargmax(values))):
        row = table.iloc[at].to_dict()
        where = ", ".join(f"{n} = {format_value(row[n])}" for n in names if n in row)
        ends.append(f"{format_value(float(values[at]), 3)} at {where}")
    return f"from {ends[0]} to {ends[1]}" if ends[0] != ends[1] else ends[0]
