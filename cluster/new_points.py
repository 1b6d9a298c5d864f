"""What makes a point worth running: it was not tried, and its trials can be trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from phasecube.cluster.tried import Tried
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.feasible import Feasible
from phasecube.sweeps.points import Point

if TYPE_CHECKING:
    from phasecube.sweeps.sweep import Sweep

COUNTABLE = 100_000  # points of a finite space that are gone through one by one


class NewPoints:
    """The points of a sweep that may still be chosen."""

    def __init__(self, sweep: Sweep) -> None:
        self._axes = sweep.searched
        self._feasible = Feasible(sweep)
        self._known = self._feasible.known
        self._conditions = {
            axis.name: Expression(axis.condition)
            for axis in sweep.searched
            if axis.condition is not None
        }
        self._points: set[tuple[Any, ...]] = set()
        self._digests: set[bytes] = set()
        self._met: set[tuple[Any, ...]] = set()

    def note(self, tried: Sequence[Tried]) -> None:
        """Take note of points that were chosen."""
        for each in tried:
            self._points.add(self._key(each.point))
            self._digests.update(each.digests)

    def take(self, point: Point) -> bool:
        """Return whether the point is new and can be trained; if so it is new no more.

        A point is new if it has a trial whose digest no other point has.
        """
        key = self._key(point)
        if key in self._points:
            return False
        digests = self._feasible.digests(point)
        if self._digests.issuperset(digests):
            return False  # so too where there is none
        self._points.add(key)
        self._digests.update(digests)
        return True

    def point(self, value: Callable[[SearchedAxis], Any]) -> dict[str, Any]:
        """Return the point with each parameter's `value`; `rest` where its condition fails."""
        found: dict[str, Any] = {}
        for axis in self._axes:
            found[axis.name] = value(axis) if self.is_searched(axis, found) else axis.rest
        return found

    def is_searched(self, axis: SearchedAxis, point: Point) -> bool:
        """Return whether the axis is searched where its point has these values."""
        condition = self._conditions.get(axis.name)
        return condition is None or bool(condition({**self._known, **point}))

    def meet(self, point: Point) -> bool:
        """Return whether the point is one that was chosen, asked for the first time."""
        key = self._key(point)
        if key in self._met or key not in self._points:
            return False
        self._met.add(key)
        return True

    def of_the_rest(self, n: int) -> list[Point]:
        """Return up to `n` new points of a space that can be counted, of another none."""
        found: list[Point] = []
        values = [values_of(axis) for axis in self._axes]
        known = [list(v) for v in values if v is not None]
        if len(known) < len(values) or math.prod(map(len, known)) > COUNTABLE:
            return found
        for row in itertools.product(*known):
            if len(found) == n:
                break
            at = dict(zip(self._names, row))
            point = self.point(lambda axis, at=at: at[axis.name])  # type: ignore[misc]
            if self.take(point):
                found.append(point)
        return found

    @property
    def _names(self) -> list[str]:
        return [axis.name for axis in self._axes]

    def _key(self, point: Point) -> tuple[Any, ...]:
        return tuple(point[name] for name in self._names)


def values_of(axis: SearchedAxis) -> Sequence[Any] | None:
    """Return every value of the axis, None where it is continuous."""
    if axis.choices:
        return axis.choices
    return range(int(axis.low), int(axis.high) + 1) if axis.is_integer else None
