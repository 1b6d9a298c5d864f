"""A CSV file as people write them, read without guessing: the doubtful is refused by its place."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from phasecube.analysis.scaling.law import Floats
from phasecube.engine.errors import StudyError

DELIMITERS = (",", ";", "\t", "|")
FIRST_LINE = "first_line"  # attrs: the line of the file that row 0 stands in
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "–", "?"})
SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
SUFFIXED = re.compile(r"^([+-]?\d+(?:\.\d+)?)\s*([KkMmBbTt])$")
GROUPED = re.compile(r"^[+-]?\d{1,3}(?:[, _'\u00a0\u202f]\d{3})+(?:\.\d+)?$")
DECIMAL_COMMA = re.compile(r"^[+-]?\d+,\d+(?:[eE][+-]?\d+)?$")
SEPARATORS = re.compile(r"[, _'\u00a0\u202f]")


def read_table(path: Path | str) -> pd.DataFrame:
    """Return the table of a CSV file, every value as text; `numbers` makes numbers of a column.

    Takes UTF-8 and UTF-16 with their marks, and the delimiter of the header. Raises
    StudyError for a file that is empty, no text, or has no header.
    """
    text = _text(Path(path))
    lines = text.splitlines()
    # Only above the header: "#faebdd" may well be a value.
    skipped = next((i for i, s in enumerate(lines) if s.strip() and not s.startswith("#")), None)
    if skipped is None:
        raise StudyError(f"{path} is empty; a table has a line of names and lines of numbers")
    delimiter = _delimiter(lines[skipped])
    reader = csv.reader([lines[skipped]], delimiter=delimiter or " ", skipinitialspace=True)
    header = [name.strip() for name in next(reader)]
    if all(_is_number(name) for name in header if name):
        raise StudyError(
            f"{path} has no header: line {skipped + 1} is numbers; write the columns' names above"
        )
    if delimiter is not None:
        _no_longer_rows(path, lines, skipped, delimiter)
    try:
        frame = pd.read_csv(
            io.StringIO("\n".join(lines[skipped:])),
            sep=delimiter or r"\s+",
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            skipinitialspace=True,
            skip_blank_lines=False,
            index_col=False,
            usecols=range(len(header)) if delimiter else None,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise StudyError(f"{path} cannot be read as CSV: {str(error).strip()}") from error
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    if not len(frame):
        raise StudyError(f"{path} has a header and no rows")
    blank = (frame.fillna("") == "").all(axis=1)
    frame = frame.loc[~blank]
    frame.attrs[FIRST_LINE] = skipped + 2
    return frame


def numbers(frame: pd.DataFrame, column: str) -> Floats:
    """Return a column as numbers, NaN where nothing stands; raise StudyError for what is none.

    Thousands separators, decimal commas and 125M are understood where they can mean one thing.
    """
    values = frame[column]
    if values.dtype.kind in "fiub":
        return values.to_numpy(np.float64)
    text = values.astype(str).str.strip().str.strip('"')
    missing = text.str.lower().isin(MISSING).to_numpy()
    found = pd.to_numeric(text.where(~missing, "nan"), errors="coerce").to_numpy(np.float64).copy()
    left = np.flatnonzero(np.isnan(found) & ~missing)
    if len(left):
        odd = text.iloc[left]
        _refuse_doubtful(frame, column, odd)
        comma = odd.str.fullmatch(DECIMAL_COMMA).all()
        for place, written in zip(left, odd, strict=True):
            found[place] = _read_number(written, decimal_comma=bool(comma))
        bad = left[np.isnan(found[left])]
        if len(bad):
            raise StudyError(_no_number(frame, column, int(bad[0]), text.iloc[bad[0]]))
    return found


def place_of(frame: pd.DataFrame, row: int) -> str:
    """Return where a row stands, by its position: its line in the file, or its index."""
    label = frame.index[row]
    if FIRST_LINE in frame.attrs:
        return f"line {int(label) + int(frame.attrs[FIRST_LINE])}"
    return f"row {label}"


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StudyError(f"{path} cannot be read as CSV: {error.strerror or error}") from error
    is_wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\0" in content[:4096] and not is_wide:
        raise StudyError(f"{path} is no text; save the table as CSV")
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{path} is not UTF-8 at byte {error.start}; save the table as UTF-8"
        ) from error


def _delimiter(header: str) -> str | None:
    """Return what separates the header's names, None for blanks."""
    bare = re.sub(r'"[^"]*"', "", header)
    counts = {d: bare.count(d) for d in DELIMITERS}
    best = max(counts, key=lambda d: counts[d])
    if counts[best]:
        return best
    return None if len(bare.split()) > 2 else ","


def _no_longer_rows(path: Path | str, lines: list[str], header: int, delimiter: str) -> None:
    """Raise StudyError for a row with more values than names: pandas would drop the last ones."""
    rows = csv.reader(lines[header:], delimiter=delimiter, skipinitialspace=True)
    n_names = len(next(rows))
    for row in rows:
        # Spreadsheets end lines with delimiters: what is empty is lost without harm.
        if any(value.strip() for value in row[n_names:]):
            raise StudyError(
                f"{path} cannot be read as CSV: line {header + rows.line_num} has {len(row)} "
                f"values and the header {n_names} names; are there decimal or thousands commas in "
                "a table of commas? Write numbers with a point, or quote them"
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return GROUPED.match(text) is not None or SUFFIXED.match(text) is not None
    return True


def _read_number(text: str, *, decimal_comma: bool) -> float:
    if suffixed := SUFFIXED.match(text):
        return float(suffixed[1]) * SUFFIXES[suffixed[2].lower()]
    if decimal_comma:
        return float(text.replace(",", "."))
    return float(SEPARATORS.sub("", text)) if GROUPED.match(text) else float("nan")


def _refuse_doubtful(frame: pd.DataFrame, column: str, odd: pd.Series[str]) -> None:
    """Raise StudyError where 3,406 may be 3.406 as well as 3406, and nothing tells which."""
    commas = odd[odd.str.contains(",")]
    if not len(commas):
        return
    both = commas.str.fullmatch(GROUPED) & commas.str.fullmatch(DECIMAL_COMMA)
    if both.all():
        row = int(np.flatnonzero(frame.index == commas.index[0])[0])
        first = commas.iloc[0]
        raise StudyError(
            f"column {column!r} holds {first!r} in {place_of(frame, row)}, which may be "
            f"{first.replace(',', '.')} or {first.replace(',', '')}; write it with a point, or "
            "without separators"
        )


def _no_number(frame: pd.DataFrame, column: str, row: int, text: str) -> str:
    where = place_of(frame, row)
    if text == column:
        return f"{where} is the header again: are these two files in one? Take that line out"
    return (
        f"column {column!r} holds {text!r} in {where}, which is no number; leave it "
        "empty, and its row is left out and counted"
    )
