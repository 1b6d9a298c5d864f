"""Columns of words: rows of several sorts in one table are told of, and can be chosen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.law import Floats
from phasecube.engine.errors import StudyError

GROUPS_MOST = 20
ROWS_LEAST = 3  # of a sort, for its rows to be compared with the others'
SURE = 1e-3  # chance of such a difference without any
FLAGS = frozenset({"outlier", "is_outlier", "excluded", "exclude", "bad", "diverged"})
TRUE = frozenset({"true", "1", "yes"})


def only_rows(frame: pd.DataFrame, only: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows that have those values; raise StudyError where none has."""
    attrs = frame.attrs
    for column, value in only.items():
        text = frame[column].astype(str).str.strip()
        fits = text.str.lower() == value.strip().lower()
        if not fits.any():
            has = ", ".join(map(repr, sorted(text.unique())[:8]))
            raise StudyError(f"no row has {column} = {value!r}; it holds {has}")
        frame = frame.loc[fits]
    frame.attrs.update(attrs)
    return frame


def flagged(frame: pd.DataFrame, only: Mapping[str, str]) -> list[Caution]:
    """Return a caution where a column marks rows that somebody did not trust."""
    found = []
    for column in map(str, frame.columns):
        if column.lower() in FLAGS and column not in only:
            marked = int(frame[column].astype(str).str.strip().str.lower().isin(TRUE).sum())
            if marked:
                message = (
                    f"{column!r} marks {marked} rows, which count all the same; to leave them out: "
                    f"--only {column}=False"
                )
                found.append(Caution("flagged_rows", message))
    return found


def sorts_of(frame: pd.DataFrame, used: set[str]) -> dict[str, np.ndarray]:
    """Return the columns of words that split the rows into a few sorts."""
    found = {}
    for column in map(str, frame.columns):
        values = frame[column]
        if column in used or values.dtype.kind in "fiub":
            continue
        text = values.astype(str).str.strip()
        counts = text.value_counts()
        few = 2 <= len(counts) <= GROUPS_MOST and counts.iloc[1] >= ROWS_LEAST
        if few and pd.to_numeric(text, errors="coerce").isna().any():
            found[column] = text.to_numpy(np.str_)
    return found


def sorts_differ(residual_N: Floats, sorts: Mapping[str, np.ndarray]) -> list[Caution]:
    """Return a caution for each column whose sorts lie off the fit by different amounts.

    `residual_N` is ln prediction less ln y. The test is of ranks (Kruskal & Wallis), as rows far
    out are no rarity.
    """
    found = []
    for column, sort_N in sorts.items():
        names, counts = np.unique(sort_N, return_counts=True)
        parts = {str(n): -residual_N[sort_N == n] for n in names[counts >= ROWS_LEAST]}
        if len(parts) < 2 or np.ptp(residual_N) == 0:
            continue
        chance = float(stats.kruskal(*parts.values()).pvalue) * len(sorts)
        if chance < SURE:
            middles = {name: float(np.expm1(np.median(part))) for name, part in parts.items()}
            ends = [min(middles, key=lambda n: middles[n]), max(middles, key=lambda n: middles[n])]
            told = " to ".join(f"{middles[n]:+.1%} ({n})" for n in ends)
            message = (
                f"y lies {told} off the fit, by {column!r}: one law for all of them? "
                f"--only {column}=VALUE fits one"
            )
            found.append(Caution("sorts_differ", message))
    return found
