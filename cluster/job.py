"""What an executor is given and what it tells: packs to run, and events. Both travel as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

EventKind = Literal["chosen", "progress", "settled", "stopped", "died", "broken"]
EngineRequest = Literal["auto", "vmap", "vmap_gradient", "sequential"]
ChoiceFields = dict[str, Any]  # an EngineChoice as JSON: the orchestrator holds no tensors


@dataclass(frozen=True)
class PackJob:
    """One pack to run until its trials are settled."""

    pack: int
    group: int
    run: int  # which line of runs.jsonl
    choice: ChoiceFields | None = None  # None: choose, and say so at once
    requested_engine: EngineRequest = "auto"
    like: ChoiceFields | None = None  # the choice of a shape much like this one, if any was probed
    attempt: int = 1

    def to_line(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> PackJob:
        """Return the job that `line` holds."""
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Event:
    """What happened to a pack.

    chosen: its static group has an engine. progress: counts so far. settled: every trial
    has an outcome. stopped: a signal came, a checkpoint is written. died: its worker did.
    broken: nothing can be run, for the reason in `message` (a full disk, an engine that
    cannot take the experiment).
    """

    kind: EventKind
    pack: int
    group: int
    outcomes: dict[str, int] = field(default_factory=dict)  # of the pack's trials, by name
    trial_steps: int = 0  # trained since the event before
    choice: ChoiceFields | None = None
    message: str = ""

    def to_line(self) -> str:
        """Return the event as one line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Event:
        """Return the event that `line` holds."""
        return cls(**json.loads(line))
