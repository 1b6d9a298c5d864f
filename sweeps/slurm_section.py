"""[cluster.slurm]: what a task asks of Slurm. Nothing here changes a number."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from phasecube.sweeps.axis import Section, Whole

UNIT_S = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
UNIT_MB = {"M": 1, "G": 1024, "T": 1024 * 1024}
CLOCK = re.compile(r"^(?:(\d+)-)?(\d{1,3}):(\d\d)(?::(\d\d))?$")
SPAN = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|min|m|h|d)$")
MEMORY = re.compile(r"^(\d+(?:\.\d+)?)\s*([MGT])B?$")
LEAST_WALLTIME_S = 60  # Slurm counts in minutes


def seconds_of(text: str) -> int:
    """Return the seconds of "4h", "90min", "2d", "4:00:00", "1-12:00" (as Slurm: days-hours:min).

    Without days, "4:30" is hours and minutes. Raises ValueError for anything else.
    """
    if span := SPAN.match(text):
        seconds = float(span[1]) * UNIT_S[span[2]]
    elif clock := CLOCK.match(text):
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    else:
        raise ValueError(f'takes a time like "4h", "90min" or "1-12:00:00"; got {text!r}')
    if seconds < LEAST_WALLTIME_S:
        raise ValueError(f"Slurm counts walltime in minutes; ask for one at least, not {text!r}")
    return round(seconds)


def megabytes_of(text: str) -> int:
    """Return the megabytes (2**20 bytes) of "800M", "8G" or "1.5T"; raises ValueError else."""
    if (found := MEMORY.match(text)) is None:
        raise ValueError(f'takes a memory like "800M", "8G" or "1.5T"; got {text!r}')
    return max(1, round(float(found[1]) * UNIT_MB[found[2]]))


def _walltime(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f'takes a time in quotes, like "4h" or "1-12:00:00"; got {value!r}')  # noqa: TRY004 pydantic wants it
    seconds_of(value)
    return value


def _memory(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f'takes a memory in quotes, like "8G"; got {value!r}')  # noqa: TRY004
    megabytes_of(value)
    return value


Walltime = Annotated[str, BeforeValidator(_walltime)]
Memory = Annotated[str, BeforeValidator(_memory)]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\n]*$")]


class SlurmSection(Section):
    """What each task of a job array asks for, and how packs are cut into tasks."""

    profile: Text | None = Field(None, description="a table of the user's clusters.toml")
    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    gres: Text | None = Field(None, description="as --gres takes it: gpu:a100:1")
    gpus: Annotated[Whole, Field(ge=1)] | None = Field(None, description="GPUs of a task")
    cpus: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="cores of a task; default: processes x threads"
    )
    memory: Memory | None = Field(None, description='of a task: "8G"')
    walltime: Walltime = Field("1h", description='"4h", "90min", "1-12:00:00"')
    throttle: Annotated[Whole, Field(ge=1)] | None = Field(None, description="tasks at once")
    packs_per_job: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="default: by measured seconds, else spread over the tasks allowed"
    )
    processes: Whole = Field(1, ge=1, description="packs at once in a task, sharing its GPU")
    setup: list[Text] = Field(default_factory=list, description="lines before the task")
    sbatch: list[Text] = Field(default_factory=list, description='more options: "--exclusive"')
    python: Text | None = Field(None, description="the interpreter on the nodes")
    notice_s: Whole = Field(120, ge=10, description="seconds before the end to checkpoint in")
    requeues: Whole = Field(100, ge=0, description="times a task may go back to the queue itself")
    drift: Literal["refuse", "warn"] = Field(
        "refuse", description="when a node's packages differ from those at submission"
    )


class ClusterSection(Section):
    """Where a sweep is sent."""

    slurm: SlurmSection = Field(default_factory=SlurmSection)
