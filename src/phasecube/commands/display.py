"""Progress of a run: a live line in a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phasecube.cluster.progress import Snapshot

LOG_EVERY_S = 5.0
# Shown beside the settled count where any trial has them.
NOTED = ("DIVERGED", "PRUNED", "FAILED", "OUT_OF_MEMORY", "TIMED_OUT")


class Display:
    """Shows snapshots while the `with` block lasts."""

    def __init__(self) -> None:
        self._live: Any = None
        self._task: Any = None
        self._printed_s = float("-inf")
        self._last = ""

    def __enter__(self) -> Display:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, Progress, TextColumn

            self._live = Progress(
                BarColumn(), TextColumn("{task.description}"), refresh_per_second=4, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self._last:
            print(self._last, flush=True)

    def say(self, line: str) -> None:
        """Print a line above what is shown."""
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def show(self, snapshot: Snapshot) -> None:
        """Show how far the run is."""
        line = progress_line(snapshot)
        if self._live is not None:
            if self._task is None:
                self._task = self._live.add_task(line, total=snapshot.n_trials)
            self._live.update(self._task, completed=snapshot.settled, description=line)
            self._last = line
            return
        now_s = time.monotonic()
        if now_s - self._printed_s < LOG_EVERY_S:
            self._last = line
            return
        self._printed_s, self._last = now_s, ""
        print(line, flush=True)


def progress_line(snapshot: Snapshot) -> str:
    """Return a snapshot in one line."""
    parts = [f"{snapshot.settled:,} of {snapshot.n_trials:,} trials settled"]
    parts += noted(snapshot.outcomes)
    if snapshot.settled < snapshot.n_trials:
        if snapshot.rate > 0:
            parts.append(f"{snapshot.rate:,.0f} trial-steps/s")
        if snapshot.eta_s is not None:
            parts.append(f"{duration(snapshot.eta_s)} left")
    else:
        parts.append(f"in {duration(snapshot.elapsed_s)}")
    return ", ".join(parts)


def noted(outcomes: dict[str, int] | Any) -> list[str]:
    """Return the counts of outcomes other than done."""
    return [f"{outcomes[name]:,} {words(name)}" for name in NOTED if outcomes.get(name)]


def words(outcome: str) -> str:
    """Return an outcome's name as it is written in a sentence."""
    return outcome.lower().replace("_", " ")


def duration(seconds: float) -> str:
    """Return a time span in two units at most."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, s = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {s} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
