"""Which engine runs a static group of trials, and why."""

from __future__ import annotations

from dataclasses import dataclass

from phasecube.engine.record import Engine


@dataclass(frozen=True)
class EngineChoice:
    """An engine, how many trials it trains at once, and the reason a user is told."""

    engine: Engine
    lanes: int
    compiled: bool
    reason: str
