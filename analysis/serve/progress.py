"""How a run stands, as the page shows it; who knows it says it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Trials by outcome in the order in which they are drawn, and the rest in words."""

    outcomes: tuple[tuple[str, int], ...]
    said: tuple[str, ...]
    is_running: bool

    @property
    def n_trials(self) -> int:
        """Return the number of trials of the sweep."""
        return sum(n for _, n in self.outcomes)


Ask = Callable[[], Progress]
