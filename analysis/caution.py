"""A named warning: what speaks against a result stands beside it, wherever it is shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caution:
    """A named warning that stands beside a result, on its figure and in its table."""

    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"
