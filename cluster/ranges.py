"""Lists of numbers in short, as Slurm writes them too: 0-3,7."""

from __future__ import annotations

from collections.abc import Sequence


def ranges_text(numbers: Sequence[int]) -> str:
    """Return ascending numbers in short: "0-3,7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in parts)


def ranges_of(text: str) -> list[int]:
    """Return the numbers of "0-3,7" or "0-8:2"; a throttle at the end, "%4", is left out."""
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1, int(step or 1))
    return found
