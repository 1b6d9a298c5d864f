"""A number with the interval that it is known to lie in."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class Estimated:
    """A value and the ends of its interval, in one unit; NaN where nothing tells the value, an
    end infinite where nothing bounds it on that side."""

    value: float
    low: float
    high: float

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high

    def text(self) -> str:
        """Return the number with its interval, if it has one."""
        ends = f" ({self.low:.3g} to {self.high:.3g})" if isfinite(self.low) else ""
        return f"{self.value:.3g}{ends}".replace("-", "−")
