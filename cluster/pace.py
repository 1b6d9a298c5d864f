"""How fast a study's tasks have trained: measured, for the cut of the next ones."""

from __future__ import annotations

from pathlib import Path

from phasecube.cluster.cut import Pace
from phasecube.cluster.job_array import read_arrays
from phasecube.cluster.task_marker import read_markers


def measured_pace(study: Path) -> Pace:
    """Return of each group the trial-steps that all tasks have trained, and their seconds."""
    found: dict[str, tuple[int, float]] = {}
    for array in read_arrays(study):
        for marker in read_markers(study, array.number).values():
            for group, (steps, seconds) in marker.pace.items():
                steps_before, seconds_before = found.get(group, (0, 0.0))
                found[group] = (steps_before + steps, seconds_before + seconds)
    return found
