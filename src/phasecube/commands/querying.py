"""`show STUDY --select ... --reduce ...`: a study's numbers as a table on the screen, or as CSV."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from phasecube.engine.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from phasecube.analysis.cube.step_bins import Statistic

N_SHOWN_ROWS = 50
N_SHOWN_MEASURES = 4
DIGITS = 6
DIGEST_LETTERS = 12


def asks(arguments: argparse.Namespace) -> bool:
    """Return whether a table was asked for."""
    given = (arguments.select, arguments.outcome, arguments.reduce, arguments.measure)
    return any(given) or arguments.step is not None or arguments.csv is not None


def show_query(arguments: argparse.Namespace) -> int:
    """Print the table that the arguments ask for, or write it as CSV."""
    from phasecube.analysis.cube.query import measures_of, query

    if arguments.digest is not None:
        raise StudyError(
            f"{arguments.digest} names one trial: leave it out to ask for a table, or leave out "
            "--select, --outcome, --reduce, --measure, --step and --csv to see that trial"
        )
    select, reductions = _selected(arguments.select), _reductions(arguments.reduce)
    step, bins = _step(arguments.step)
    ds = _opened(arguments.study)
    measures = arguments.measure or measures_of(ds)
    left_out: list[str] = []
    if not arguments.measure and arguments.csv is None:
        measures, left_out = measures[:N_SHOWN_MEASURES], measures[N_SHOWN_MEASURES:]
    table = query(
        ds,
        select=select,
        outcomes=arguments.outcome,
        reduce=reductions,
        measures=measures,
        step=step,
        bins=bins,
    )
    notes = list(table.attrs["notes"])
    if left_out:
        notes.append(f"also recorded: {', '.join(left_out)}; ask with --measure NAME")
    if not len(table):
        notes.append(f"no such trial; the study has {_counts(ds)}")
    if arguments.csv is not None:
        _write(table, arguments.csv, notes)
        return 0
    if len(table):
        print("\n".join(table_lines(table.head(N_SHOWN_ROWS))), end="\n\n")
    if len(table) > N_SHOWN_ROWS:
        print(f"and {len(table) - N_SHOWN_ROWS:,} more rows; --csv FILE writes all")
    print("\n".join(notes))
    return 0


def table_lines(table: pd.DataFrame) -> list[str]:
    """Return a table in lines, numbers to the right and words to the left.

    Parameters have as many digits as tell their values apart: `--select` takes them so.
    """
    from phasecube.analysis.labels import format_value, tick_labels

    columns = []
    names = [str(name) for name in table.columns]
    first_measure = next(i for i, n in enumerate(names) if n in ("trials", "outcome")) + 1
    for place, name in enumerate(names):
        values: list[Any] = table[name].tolist()
        if name == "digest":
            texts = [value[:DIGEST_LETTERS] for value in values]
        elif place < first_measure:
            known = list(dict.fromkeys(values))
            shown = dict(zip(known, tick_labels(known), strict=True))
            texts = [shown[value] for value in values]
        else:
            texts = [format_value(value, DIGITS) for value in values]
        is_words = any(isinstance(value, str) for value in values)
        width = max(len(name), *(len(text) for text in texts))
        texts = [name, *texts]
        columns.append([t.ljust(width) if is_words else t.rjust(width) for t in texts])
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def _opened(study: Path) -> xr.Dataset:
    from phasecube.analysis.cube.chunking import within_memory
    from phasecube.api import open as open_study

    return within_memory(open_study(study))


def _selected(given: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise StudyError(f"--select {text!r} is not NAME=VALUE, as lr=1e-3")
        found.setdefault(name.strip(), []).append(value.strip())
    return found


def _reductions(given: list[str]) -> list[tuple[str, str]]:
    found = []
    for text in given:
        axis, colon, statistic = text.rpartition(":")
        if not colon or not axis or not statistic:
            raise StudyError(f"--reduce {text!r} is not AXIS:STAT, as seed:median")
        found.append((axis, statistic))
    return found


def _step(text: str | None) -> tuple[int | None, tuple[int, Statistic] | None]:
    """Return the step that counts (None: the last), or the bins: how many a decade, and of what."""
    if text is None or text == "last":
        return None, None
    if text.startswith("log:"):
        per_decade, _, statistic = text.removeprefix("log:").partition(":")
        if per_decade.isdecimal():
            return None, (int(per_decade), cast("Statistic", statistic or "mean"))
    else:
        with suppress(ValueError):
            return int(text), None
    raise StudyError(
        f"--step {text!r} is neither last nor a recorded step, as 100, nor bins of steps: log:10, "
        "or log:10:median"
    )


def _counts(ds: xr.Dataset) -> str:
    import numpy as np

    from phasecube.engine.record import Outcome

    kinds, counts = np.unique(ds.outcome.values, return_counts=True)
    return ", ".join(
        f"{n:,} {Outcome(int(k)).name.lower()}" for k, n in zip(kinds, counts, strict=True)
    )


def _write(table: pd.DataFrame, target: str, notes: list[str]) -> None:
    if target == "-":
        table.to_csv(sys.stdout, index=False)
        print("\n".join(notes), file=sys.stderr)
        return
    path = Path(target)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        table.to_csv(partial, index=False)
        partial.replace(path)
    except OSError as error:
        raise StudyError(
            f"{path} cannot be written: {error.strerror or error}; name a file in a folder that "
            "exists, can be written to and has room"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    print(f"{path}: {len(table):,} rows")
    print("\n".join(notes))
