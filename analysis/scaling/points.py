"""Rows to fit a law to: from a table or a file, with every fault and every warning named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.columns import (
    Column,
    features_found,
    found_columns,
    run_found,
    unit_of,
)
from phasecube.analysis.scaling.convention import (
    FLOP_PER_PARAMETER_AND_TOKEN,
    MIXED,
    Convention,
    Count,
    Flop,
)
from phasecube.analysis.scaling.law import Floats
from phasecube.analysis.scaling.sorts import flagged, only_rows, sorts_of
from phasecube.analysis.scaling.table import numbers, place_of, read_table
from phasecube.engine.errors import StudyError

GAP = 1e3  # between neighbouring sizes: some are in thousands or millions, others are not
TOKENS_A_PARAMETER = (0.1, 1e6)  # beyond, one of the two is in another unit: M and B are .02


@dataclass(frozen=True)
class Points:
    """y at features, one row a run; `run` tells rows of one run, which are not independent.

    `cell` names rows that differ only in what may be averaged over; `members` are the rows behind
    these where they are means; `sorts` are columns of words that may tell rows apart; `read`
    says what was taken from where.
    """

    y_N: Floats
    features: Mapping[str, Floats]
    run_N: np.ndarray
    cautions: tuple[Caution, ...] = field(default=())
    convention: Convention = field(default_factory=Convention)
    read: tuple[str, ...] = ()
    y_text: str = "y"
    sorts: Mapping[str, np.ndarray] = field(default_factory=dict)
    cell_N: np.ndarray | None = None
    members: Points | None = None

    def __len__(self) -> int:
        return len(self.y_N)

    def take(self, rows: np.ndarray) -> Points:
        """Return some rows, in that order."""
        return replace(
            self,
            y_N=self.y_N[rows],
            features={name: values[rows] for name, values in self.features.items()},
            run_N=self.run_N[rows],
            sorts={name: values[rows] for name, values in self.sorts.items()},
            cell_N=None if self.cell_N is None else self.cell_N[rows],
        )

    def averaged(self) -> Points:
        """Return one row a cell, y its mean; the rows themselves are its members."""
        if self.cell_N is None:
            return self
        cells, first, cell_N = np.unique(self.cell_N, return_index=True, return_inverse=True)
        mean_C = np.bincount(cell_N, self.y_N) / np.bincount(cell_N)
        return replace(self.take(first), y_N=mean_C, run_N=cells.astype(str), members=self)


def points_of(
    table: pd.DataFrame | Path | str,
    y: str | None = None,
    features: Mapping[str, str] | None = None,
    run: str | None = None,
    drop_highest: int = 0,
    *,
    needed: Sequence[str] = ("N", "D"),
    only: Mapping[str, str] | None = None,
    embeddings: str | None = None,
    count: Count | None = None,
    flop: Flop | None = None,
    keep_repeated: bool = False,
) -> Points:
    """Return the rows of a table or CSV file.

    `features` maps a law's features to columns; "N", "D" and "C" are parameters, tokens and
    FLOPs, and one of the three may be left out, which is then that of C = 6 N D; M is D / N.
    Without them, columns of obvious names are taken for those `needed`, and without `y` for y.
    `only` keeps rows with those values. `count` says what N counts, by adding or taking off the
    column `embeddings` where one is named; `flop` "6ND" passes a column of FLOPs by.
    `drop_highest` leaves out the rows with the largest y. Rows with NaN and, unless
    `keep_repeated`, repeated rows are left out with a caution. Raises StudyError for a missing
    column and for a value that is no number or not above 0.
    """
    frame = table if isinstance(table, pd.DataFrame) else read_table(table)
    header = [str(c) for c in frame.columns]
    columns = _columns(header, y, features or {}, needed)
    if run is None and not isinstance(table, pd.DataFrame):
        run = run_found(header)
    _known(header, [*(c.name for c in columns.values()), *([embeddings] if embeddings else [])])
    _known(header, [*([run] if run else []), *(only or {})])
    frame, cautions = only_rows(frame, only or {}), flagged(frame, only or {})
    values = pd.DataFrame(
        {name: numbers(frame, c.name) * c.unit for name, c in columns.items()}, index=frame.index
    )
    read = [f"{name} = {column}" for name, column in columns.items()]
    if embeddings:
        values, said = _counted(values, numbers(frame, embeddings), embeddings, count)
        read.append(said)
    if flop == "6ND" and {"N", "D", "C"} <= set(values.columns):
        values = values.drop(columns="C")
        read = [f"{r}, passed by for 6 N D" if r.startswith("C = ") else r for r in read]
    if flop == "exact" and "C" not in values.columns:
        raise StudyError("flop is exact, and no column holds FLOPs; say it, as --feature C=COLUMN")
    whose = frame[run].astype(str).to_numpy() if run else np.arange(len(frame)).astype(str)
    values["run"] = whose
    read += [f"run = {run!r}"] if run else []
    kept = _kept(values, cautions, keep_repeated=keep_repeated, has_runs=run is not None)
    places = np.flatnonzero(kept)
    values, frame = values.iloc[places], frame.iloc[places]
    _positive(values, columns, frame)
    given = {"N", "D", "C"} & set(values.columns)
    values = _completed(values, cautions)
    if drop_highest:
        left = np.sort(np.argsort(-values["y"].to_numpy(), kind="stable")[drop_highest:])
        values, frame = values.iloc[left], frame.iloc[left]
        cautions.append(
            Caution(
                "rows_dropped", f"the {drop_highest} with the highest {columns['y'].name}, as asked"
            )
        )
    used = {c.name for c in columns.values()} | ({run} if run else set())
    convention = Convention(count or "", "exact" if len(given) == 3 else "6ND")
    arrays = {n: values[n].to_numpy(np.float64) for n in values.columns if n != "run"}
    return Points(
        arrays.pop("y"),
        arrays,
        values["run"].to_numpy(),
        tuple(cautions),
        convention,
        tuple(read),
        columns["y"].name,
        sorts_of(frame, used),
    )


def _columns(
    header: Sequence[str], y: str | None, features: Mapping[str, str], needed: Sequence[str]
) -> dict[str, Column]:
    if y is None:
        found = found_columns(header, ["y"])
        if not found:
            raise StudyError(
                f"no column is called as a loss would be; the table has "
                f"{', '.join(map(repr, header))}. Say which, as --y COLUMN"
            )
        y_column = found["y"]
    else:
        y_column = Column(y)
    given = {name: Column(c, unit_of(c)) for name, c in features.items()}
    columns = {"y": Column(y_column.name), **(given or features_found(header, needed))}
    for one, other in combinations(columns, 2):
        if columns[one].name == columns[other].name:
            raise StudyError(
                f"{one} and {other} are both column {columns[one].name!r}: name a column for each"
            )
    return columns


def _known(header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [c for c in columns if c not in header]
    if missing:
        has = ", ".join(map(repr, header))
        raise StudyError(f"no column {', '.join(map(repr, missing))}; the table has {has}")
    twice = [c for c in columns if header.count(c) > 1 or f"{c}.1" in header]
    if twice:
        raise StudyError(f"two columns are called {twice[0]!r}; rename one")


def _counted(
    values: pd.DataFrame, embedding_N: Floats, column: str, count: Count | None
) -> tuple[pd.DataFrame, str]:
    if count is None:
        raise StudyError(
            f"{column!r} holds embeddings: say what N shall count, --count all (they are added) or "
            "--count without_embeddings (they are taken off)"
        )
    if "N" not in values or "D" not in values:
        raise StudyError(
            "with embeddings added or taken off, D cannot follow from C = 6 N D, as nothing says "
            "which N made C; name the columns of both N and D"
        )
    sign, how = (1, "added") if count == "all" else (-1, "taken off")
    return values.assign(N=values["N"] + sign * embedding_N), f"{column!r} {how} in N"


def _kept(
    values: pd.DataFrame, cautions: list[Caution], *, keep_repeated: bool, has_runs: bool
) -> np.ndarray:
    bare = values.drop(columns="run")
    kept: np.ndarray = np.isfinite(bare.to_numpy(np.float64)).all(axis=1)
    if not kept.all():
        cautions.append(
            Caution("rows_without_a_number", f"{(~kept).sum()} of {len(kept)} left out")
        )
    if not kept.any():
        raise StudyError("no row has a number in every column that is read")
    # Two runs may well end alike, with a loss of few digits.
    twice = (values if has_runs else bare).duplicated().to_numpy() & kept
    if twice.any() and not keep_repeated:
        cautions.append(Caution("repeated_rows", f"{twice.sum()} rows occur before; left out"))
        kept &= ~twice
    return kept


def _positive(values: pd.DataFrame, columns: Mapping[str, Column], frame: pd.DataFrame) -> None:
    for name, column in columns.items():
        if name not in values:
            continue
        bad = np.flatnonzero(values[name].to_numpy() <= 0)
        if len(bad):
            raise StudyError(
                f"column {column.name!r} holds {values[name].iloc[bad[0]]:g} in "
                f"{place_of(frame, int(bad[0]))}: a power law needs values above 0; take off what "
                "was subtracted, or leave such rows out"
            )


def _completed(values: pd.DataFrame, cautions: list[Caution]) -> pd.DataFrame:
    """Return the table with the third of N, D and C; say where units do not fit each other."""
    has = {"N", "D", "C"} & set(values.columns)
    six = FLOP_PER_PARAMETER_AND_TOKEN
    said = [_gap(name, values[name].to_numpy()) for name in sorted(has)]
    if has == {"N", "D"}:
        values = values.assign(C=six * values["N"] * values["D"])
    elif has == {"N", "C"}:
        values = values.assign(D=values["C"] / (six * values["N"]))
    elif has == {"D", "C"}:
        values = values.assign(N=values["C"] / (six * values["D"]))
    elif len(has) == 3:
        ratio_N = values["C"] / (six * values["N"] * values["D"])
        middle = float(np.median(ratio_N))
        off = int((np.abs(np.log(ratio_N / middle)) > np.log(100)).sum())
        if not 1 / MIXED < middle < MIXED:
            said.append(
                f"C is {middle:.3g} times 6 N D in the middle: is one of them in thousands, "
                "millions or billions, or are embeddings counted in one only?"
            )
        if off:
            said.append(f"{off} rows have C over 100 times further from 6 N D than the others")
    said += [
        f"the least {name} is {values[name].min():.3g}, less than one: is it in thousands, "
        "millions or billions?"
        for name in sorted({"N", "D"} & has)
        if values[name].min() < 1
    ]
    if {"N", "D"} <= set(values.columns):
        values = values.assign(M=values["D"] / values["N"])
        middle = float(np.median(values["M"]))
        low, high = TOKENS_A_PARAMETER
        if len(has) < 3 and not low < middle < high:
            said.append(
                f"D / N is {middle:.2g} in the middle: is one in thousands, millions or billions?"
            )
    told = "; ".join(s for s in said if s)
    if told:
        cautions.append(Caution("mixed_units", told))
    return values


def _gap(name: str, values: Floats) -> str:
    sizes = np.unique(values)
    wide = np.flatnonzero(np.diff(np.log(sizes)) > np.log(GAP))
    if not len(wide):
        return ""
    low, high = sizes[wide[0]], sizes[wide[0] + 1]
    return f"no {name} lies between {low:.3g} and {high:.3g}: are some rows in another unit?"
