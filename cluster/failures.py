"""Tracebacks of trials whose code raised: text by pack in logs/, one index line a trial."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

INDEX = "logs/failures.jsonl"


@dataclass(frozen=True)
class Failure:
    """One failed trial: its row, the error in one line and where its traceback stands."""

    row: int
    error: str
    log: str
    at: str


def note_failure(study: Path, pack: int, row: int, params: Mapping[str, Any], text: str) -> None:
    """Append the traceback `text` of the trial in `row` to the pack's log and to the index."""
    log = f"logs/pack-{pack:06d}.txt"
    at = time.strftime("%Y-%m-%d %H:%M:%S")
    (study / "logs").mkdir(exist_ok=True)
    with (study / log).open("a", encoding="utf-8") as file:
        file.write(f"== row {row}, {at}\n== {json.dumps(dict(params), default=str)}\n{text}\n")
    lines = text.strip().splitlines()
    failure = Failure(row, lines[-1] if lines else "no message", log, at)
    # One short line, appended at once: workers share the file.
    with (study / INDEX).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(failure)) + "\n")


def last_failures(study: Path, count: int) -> list[Failure]:
    """Return the newest `count` failures, oldest first."""
    try:
        lines = (study / INDEX).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines[-count:] if count else []:
        try:
            found.append(Failure(**json.loads(line)))
        except (ValueError, TypeError):
            continue  # torn by a kill: its traceback still stands in the pack's log
    return found
