"""`sampler.options` of the boundary sampler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from phasecube.engine.errors import Fault

MOST_AXES = 3


@dataclass(frozen=True)
class BoundaryOptions:
    """When a boundary is known well enough, and what is spent on looking elsewhere.

    `tolerance`: the search ends where every interval is at most this share of its axis.
    `explore`: the share of all points that go where nothing was tried.
    """

    tolerance: float = 0.01
    explore: float = 0.2


def options_of(given: Mapping[str, Any]) -> BoundaryOptions:
    """Return the options; call `option_faults` first."""
    return BoundaryOptions(**{name: float(value) for name, value in given.items()})


def option_faults(given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield a fault for each option that is unknown or no share."""
    known = {f.name: f.default for f in fields(BoundaryOptions)}
    for name, value in given.items():
        path = f"sampler.options.{name}"
        if name not in known:
            yield Fault(path, f"is no option of boundary; it takes {', '.join(known)}")
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        low_ok = number and (value > 0 if name == "tolerance" else value >= 0)
        if not (low_ok and value < 1):
            least = "above 0" if name == "tolerance" else "from 0"
            yield Fault(path, f"takes a share {least} and below 1, as {known[name]}; got {value!r}")
