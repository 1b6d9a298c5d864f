"""A job array as the study keeps it: jobs/0003.json, written before it is submitted.

What a task is given is the study's path and the array's number; which packs are its own
stands here. A token, part of the job's name, tells whether an array whose submission was
cut off ever reached the scheduler.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from phasecube.cluster.job import EngineRequest
from phasecube.cluster.ranges import ranges_of, ranges_text
from phasecube.engine.errors import StudyError
from phasecube.engine.store import write_by_rename

JOBS = "jobs"


@dataclass(frozen=True)
class JobArray:
    """Tasks submitted together. `packs[i]` are those of task i; `ended` the states known for good.

    `slurm_id` is None until the scheduler has answered, and `withdrawn` says why it never
    will: such an array has no tasks. `refused` says that what it asked for cannot be had.
    """

    number: int
    name: str  # of the job, as squeue shows it: NAME.TOKEN, unlike any other's
    path: str  # of the study when it was submitted
    user: str
    submitted: str
    run: int  # line of runs.jsonl
    settings: Mapping[str, Any]
    flags: Mapping[str, Any]  # of the command line, which `resume` repeats
    environment: Mapping[str, str]  # what the workers' code must be
    packs: Sequence[Sequence[int]]
    requested: Mapping[str, EngineRequest] = field(default_factory=dict)  # by group_id, if not auto
    slurm_id: str | None = None
    withdrawn: str | None = None
    refused: bool = False
    ended: Mapping[int, tuple[str, str]] = field(default_factory=dict)  # by task: state, message

    @property
    def open_tasks(self) -> list[int]:
        """Return the tasks of which no last state is known."""
        if self.withdrawn is not None:
            return []
        return [task for task in range(len(self.packs)) if task not in self.ended]

    @property
    def cpus(self) -> int:
        """Return the cores of one task."""
        return int(self.settings["cpus"])

    @property
    def gpus(self) -> int:
        """Return the GPUs of one task."""
        return int(self.settings.get("gpus") or 0)


def write_array(study: Path, array: JobArray) -> None:
    """Publish the array by rename; its folder for the tasks' markers stands before it."""
    folder = marker_folder(study, array.number)
    folder.mkdir(parents=True, exist_ok=True)
    fields = asdict(array) | {"packs": [ranges_text(packs) for packs in array.packs]}
    write_by_rename(array_path(study, array.number), json.dumps(fields, indent=1).encode())


def read_array(study: Path, number: int) -> JobArray:
    """Return array `number`; raises StudyError if the study has none such or it is torn."""
    path = array_path(study, number)
    try:
        fields = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise StudyError(
            f"{path} is missing or not whole, so its tasks do not know their packs; "
            f"`phasecube resume {study}` submits what is left"
        ) from error
    fields["packs"] = [ranges_of(text) for text in fields["packs"]]
    fields["ended"] = {int(task): (state, why) for task, (state, why) in fields["ended"].items()}
    return JobArray(**fields)


def read_arrays(study: Path) -> list[JobArray]:
    """Return the study's arrays by number; one that is torn is passed over: it can be lost."""
    numbers = sorted(int(p.stem) for p in (study / JOBS).glob("*.json") if p.stem.isdecimal())
    found = []
    for number in numbers:
        try:
            found.append(read_array(study, number))
        except StudyError:
            continue
    return found


def next_number(study: Path) -> int:
    """Return a number that no array of the study has had."""
    taken = (int(p.stem) for p in (study / JOBS).glob("*") if p.stem.isdecimal())
    return max(taken, default=0) + 1


def is_elsewhere(array: JobArray, study: Path) -> bool:
    """Return whether the array was submitted for another place: the study was moved or copied."""
    return Path(array.path) != study.resolve()


def with_ended(array: JobArray, ended: Mapping[int, tuple[str, str]]) -> JobArray:
    """Return the array with these last states of tasks beside those known."""
    return replace(array, ended={**array.ended, **ended})


def array_path(study: Path, number: int) -> Path:
    """Return the file of array `number`."""
    return study / JOBS / f"{number:04d}.json"


def script_path(study: Path, number: int) -> Path:
    """Return the batch script of array `number`."""
    return study / JOBS / f"{number:04d}.sh"


def marker_folder(study: Path, number: int) -> Path:
    """Return the folder of the markers that the tasks of array `number` leave."""
    return study / JOBS / f"{number:04d}"
