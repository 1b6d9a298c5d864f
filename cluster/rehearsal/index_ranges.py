"""Index lists as Slurm writes them: 0-3,7,10-20:5%4."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from phasecube.cluster.ranges import ranges_text

SPAN_OF_STEPS = 10  # Slurm looks for a step only over more than this
PART = re.compile(r"^(\d+)(?:-(\d+)(?::(\d+))?)?$")


def parse_ranges(text: str) -> tuple[list[int], int | None]:
    """Return the indices, ascending, and the throttle after %, None if there is none.

    Raises ValueError for anything that is not such a list.
    """
    listed, percent, limit = text.partition("%")
    if percent and not limit.isdigit():
        raise ValueError(text)
    indices: set[int] = set()
    for part in listed.split(","):
        if (found := PART.match(part)) is None:
            raise ValueError(text)
        first = int(found[1])
        last = int(found[2] or first)
        step = int(found[3] or 1)
        if last < first or step < 1:
            raise ValueError(text)
        indices.update(range(first, last + 1, step))
    return sorted(indices), int(limit) or None if percent else None


def format_ranges(indices: Sequence[int]) -> str:
    """Return ascending `indices` as 0-3,7; as 0-400:2 where all are one step apart."""
    steps = {later - sooner for sooner, later in itertools.pairwise(indices)}
    if len(steps) == 1 and steps != {1} and indices[-1] - indices[0] > SPAN_OF_STEPS:
        return f"{indices[0]}-{indices[-1]}:{steps.pop()}"
    return ranges_text(indices)
