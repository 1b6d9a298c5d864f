"""What a task says of itself: one small file, written when it starts, goes on and ends.

Where a cluster keeps no accounts, it is the only witness of how a task ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from phasecube.cluster.job_array import marker_folder
from phasecube.engine.store import write_by_rename

MarkerState = Literal["running", "finished", "requeued", "stopped", "failed"]


@dataclass(frozen=True)
class TaskMarker:
    """A task at one moment, over all its attempts.

    finished: its packs are settled. requeued: its time was short and it asked to go on later.
    stopped: told to end, with a checkpoint. failed: an error, in `message`. `pace` is by
    `group_id`: trial-steps trained and the seconds they took one process.
    """

    state: MarkerState
    slurm_id: str  # ARRAY_TASK
    host: str
    started: str  # this attempt
    at: str
    attempts: int = 1
    requeues: int = 0  # of the attempts, those it asked for itself
    in_hand: Mapping[int, int] = field(default_factory=dict)  # packs begun: trial-steps then left
    settled: int = 0  # packs
    trial_steps: int = 0
    seconds: float = 0.0
    pace: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    message: str = ""


def now() -> str:
    """Return the time as markers and job arrays have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def write_marker(study: Path, array: int, task: int, marker: TaskMarker) -> None:
    """Publish the marker of a task by rename."""
    write_by_rename(_path(study, array, task), json.dumps(asdict(marker)).encode())


def read_marker(study: Path, array: int, task: int) -> TaskMarker | None:
    """Return the marker of a task, or None if it never started."""
    try:
        fields = json.loads(_path(study, array, task).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    fields["in_hand"] = {int(pack): int(left) for pack, left in fields["in_hand"].items()}
    fields["pace"] = {g: (int(n), float(s)) for g, (n, s) in fields["pace"].items()}
    return TaskMarker(**fields)


def read_markers(study: Path, array: int) -> dict[int, TaskMarker]:
    """Return the markers of an array's tasks, by task."""
    found = {task: read_marker(study, array, task) for task in sorted(started_tasks(study, array))}
    return {task: marker for task, marker in found.items() if marker is not None}


def started_tasks(study: Path, array: int) -> set[int]:
    """Return the tasks of an array that have left a marker, which are not read."""
    stems = (path.stem for path in marker_folder(study, array).glob("*.json"))
    return {int(stem) for stem in stems if stem.isdecimal()}


def _path(study: Path, array: int, task: int) -> Path:
    return marker_folder(study, array) / f"{task}.json"
