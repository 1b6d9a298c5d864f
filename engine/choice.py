"""Which engine runs a static group of trials, and why."""

from __future__ import annotations

from dataclasses import dataclass

from phasecube.engine.record import Engine


@dataclass(frozen=True)
class EngineChoice:
    """An engine, how many trials it trains at once, and the reason a user is told.

    `spare` copies of the last lane are trained after it and thrown away: where an operation
    rounds the last few numbers of a tensor in another way than the rest, those are theirs.
    """

    engine: Engine
    lanes: int
    compiled: bool
    reason: str
    spare: int = 0
