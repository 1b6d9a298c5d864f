"""How far a run is: counts, trial-steps per second, and when it will end."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from phasecube.cluster.job import Event
from phasecube.engine.store import write_by_rename

PROGRESS = "progress.json"
WINDOW_S = 30.0  # the rate is that of the last half minute


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment. `rate` is trial-steps per second; `eta_s` None while unknown."""

    n_trials: int
    outcomes: Mapping[str, int]
    rate: float
    eta_s: float | None
    elapsed_s: float
    packs_running: int
    at: float  # seconds since the epoch

    @property
    def settled(self) -> int:
        """Return the number of trials that have an outcome."""
        return sum(n for name, n in self.outcomes.items() if name != "NOT_RUN")


class ProgressCount:
    """Adds up events. `packs` gives each open pack's outcomes at the start and its steps left."""

    def __init__(
        self,
        outcomes: Mapping[str, int],
        packs: Mapping[int, tuple[Mapping[str, int], int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._packs = {number: Counter(counts) for number, (counts, _) in packs.items()}
        self._others = Counter(outcomes)
        for counts in self._packs.values():
            self._others.subtract(counts)
        self._left = {number: steps for number, (_, steps) in packs.items()}
        self._running: set[int] = set()
        self._began_s = clock()
        self._trained: deque[tuple[float, int]] = deque([(self._began_s, 0)])
        self._total = 0

    def note(self, event: Event) -> None:
        """Count one event."""
        if self._total == event.trial_steps == 0:
            self._trained[0] = (self._clock(), 0)  # start-up is no training
        if event.outcomes and event.kind != "died":
            self._packs[event.pack] = Counter(event.outcomes)
        self._left[event.pack] = max(0, self._left.get(event.pack, 0) - event.trial_steps)
        if event.kind in ("settled", "stopped", "died"):
            self._running.discard(event.pack)
            if event.kind != "stopped":
                self._left[event.pack] = 0  # trials that ended early leave no steps
        else:
            self._running.add(event.pack)
        if event.trial_steps:
            self._total += event.trial_steps
            self._trained.append((self._clock(), self._total))
        while len(self._trained) > 2 and self._trained[1][0] < self._clock() - WINDOW_S:
            self._trained.popleft()

    def snapshot(self) -> Snapshot:
        """Return how far the run is now."""
        outcomes = Counter(self._others)
        for counts in self._packs.values():
            outcomes.update(counts)
        now_s = self._clock()
        then_s, then_steps = self._trained[0]
        rate = (self._total - then_steps) / (now_s - then_s) if now_s > then_s else 0.0
        left = sum(self._left.values())
        return Snapshot(
            sum(outcomes.values()),
            {name: n for name, n in outcomes.items() if n},
            rate,
            left / rate if rate > 0 else (0.0 if left == 0 else None),
            now_s - self._began_s,
            len(self._running),
            time.time(),
        )


def publish(study: Path, snapshot: Snapshot) -> None:
    """Write the snapshot where `phasecube status` looks for it."""
    write_by_rename(study / PROGRESS, json.dumps(asdict(snapshot)).encode())


def published(study: Path) -> Snapshot | None:
    """Return the newest snapshot of a run, or None."""
    try:
        return Snapshot(**json.loads((study / PROGRESS).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
