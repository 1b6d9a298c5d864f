"""points.json: the points that a sampler chose for a study, in the order they were chosen.

Which they are depends on what ran before them, so they are kept and not computed again.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phasecube.cluster.sweep_file import SWEEP_FILE
from phasecube.engine.errors import StudyError
from phasecube.engine.store import write_by_rename

if TYPE_CHECKING:
    from phasecube.sweeps.points import Point

POINTS = "points.json"
SCHEMA_VERSION = 1


def read_points(study: Path) -> list[Point]:
    """Return the points of the study, none if no sampler chose any; raise StudyError if torn."""
    path = study / POINTS
    try:
        found = json.loads(path.read_bytes())
        points: list[Point] = found["points"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{path} is not whole ({error}); put it back from a copy, or start a new study: "
            "without it nothing says which trial stands in which row"
        ) from error
    if found.get("schema_version") != SCHEMA_VERSION:
        raise StudyError(f"{path} is of another version of phasecube")
    return points


def write_points(study: Path, points: Sequence[Point]) -> None:
    """Publish the points of the study."""
    lines = ",\n".join(json.dumps(dict(point)) for point in points)
    text = f'{{"schema_version": {SCHEMA_VERSION}, "points": [\n{lines}\n]}}\n'
    write_by_rename(study / POINTS, text.encode())


def read_budget(study: Path) -> tuple[int, int] | None:
    """Return how many points the study has and may have; None where it is no search.

    Reads text alone: `phasecube status` asks.
    """
    points = read_points(study)
    if not points:
        return None
    try:
        sampler = tomllib.loads((study / SWEEP_FILE).read_text(encoding="utf-8"))["sampler"]
        return len(points), int(sampler["points"])
    except (OSError, ValueError, KeyError, TypeError):
        return len(points), len(points)  # its sweep was edited into none: it asks no more
