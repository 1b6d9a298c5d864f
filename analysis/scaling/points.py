"""Rows to fit a law to: from a table or a file, with every fault and every warning named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.law import Floats
from phasecube.engine.errors import StudyError

FLOP_PER_PARAMETER_AND_TOKEN = 6.0


@dataclass(frozen=True)
class Points:
    """y at features, one row a run; `run` tells rows of one run, which are not independent."""

    y_N: Floats
    features: Mapping[str, Floats]
    run_N: np.ndarray
    cautions: tuple[Caution, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.y_N)

    def take(self, rows: np.ndarray) -> Points:
        """Return some rows, in that order."""
        features = {name: values[rows] for name, values in self.features.items()}
        return Points(self.y_N[rows], features, self.run_N[rows], self.cautions)


def points_of(
    table: pd.DataFrame | Path | str,
    y: str,
    features: Mapping[str, str],
    run: str | None = None,
    drop_highest: int = 0,
    *,
    keep_repeated: bool = False,
) -> Points:
    """Return the rows of a table or CSV file.

    `features` maps a law's features to columns; "N", "D" and "C" are parameters, tokens and
    FLOPs, and one of the three may be left out, which is then that of C = 6 N D; M is D / N.
    `drop_highest` leaves out the rows with the largest y. Rows with NaN and, unless
    `keep_repeated`, repeated rows are left out with a caution. Raises StudyError for a missing
    column and for a value that is no number or not above 0.
    """
    frame = _read(table)
    _known(frame, [y, *features.values(), *([run] if run else [])])
    columns = {"y": y, **features}
    numbers = pd.DataFrame({name: _numbers(frame, column) for name, column in columns.items()})
    numbers["run"] = frame[run].astype(str) if run else np.arange(len(frame)).astype(str)
    cautions = []
    finite = np.isfinite(numbers.drop(columns="run").to_numpy(np.float64)).all(axis=1)
    if not finite.all():
        cautions.append(
            Caution("rows_without_a_number", f"{(~finite).sum()} of {len(frame)} left out")
        )
        numbers = numbers.loc[finite]
    twice = numbers.drop(columns="run").duplicated()
    if twice.any() and not keep_repeated:
        cautions.append(Caution("repeated_rows", f"{twice.sum()} rows occur before; left out"))
        numbers = numbers.loc[~twice]
    _positive(numbers, columns)
    numbers = _completed(numbers, cautions)
    if drop_highest:
        numbers = numbers.drop(numbers["y"].nlargest(drop_highest).index)
        cautions.append(
            Caution("rows_dropped", f"the {drop_highest} with the highest {y}, as asked for")
        )
    values = {n: numbers[n].to_numpy(np.float64) for n in numbers.columns if n != "run"}
    return Points(values.pop("y"), values, numbers["run"].to_numpy(), tuple(cautions))


def _read(table: pd.DataFrame | Path | str) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    try:
        return pd.read_csv(table)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyError(f"{table} cannot be read as CSV: {reason}") from error


def _known(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        has = ", ".join(map(repr, frame.columns))
        raise StudyError(f"no column {', '.join(map(repr, missing))}; the table has {has}")


def _numbers(frame: pd.DataFrame, column: str) -> Any:
    found = pd.to_numeric(frame[column], errors="coerce")
    words = frame[column][found.isna() & frame[column].notna()]
    if len(words):
        raise StudyError(
            f"column {column!r} holds {words.iloc[0]!r} in row {words.index[0]}, which is no number"
        )
    return found.astype(float)


def _positive(numbers: pd.DataFrame, columns: Mapping[str, str]) -> None:
    for name, column in columns.items():
        bad = numbers[name] <= 0
        if bad.any():
            raise StudyError(
                f"column {column!r} holds {numbers[name][bad].iloc[0]:g} in row "
                f"{numbers.index[bad][0]}: a power law needs values above 0; take off what was "
                "subtracted, or leave such rows out"
            )


def _completed(numbers: pd.DataFrame, cautions: list[Caution]) -> pd.DataFrame:
    """Return the table with the third of N, D and C; say where all three disagree."""
    has = {"N", "D", "C"} & set(numbers.columns)
    six = FLOP_PER_PARAMETER_AND_TOKEN
    if has == {"N", "D"}:
        numbers = numbers.assign(C=six * numbers["N"] * numbers["D"])
    elif has == {"N", "C"}:
        numbers = numbers.assign(D=numbers["C"] / (six * numbers["N"]))
    elif has == {"D", "C"}:
        numbers = numbers.assign(N=numbers["C"] / (six * numbers["D"]))
    elif len(has) == 3:
        ratio = float(np.median(numbers["C"] / (six * numbers["N"] * numbers["D"])))
        if not 0.3 < ratio < 3:
            cautions.append(
                Caution(
                    "mixed_units",
                    f"C is {ratio:.3g} times 6 N D in the middle: is one of them in thousands, "
                    "millions or billions, or are embeddings counted in one only?",
                )
            )
    if {"N", "D"} <= set(numbers.columns):
        numbers = numbers.assign(M=numbers["D"] / numbers["N"])
    return numbers
