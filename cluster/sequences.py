"""Points that follow from no result: a grid, random ones, Sobol's sequence.

Each is one sequence, fixed by the sweep. The next points are the next of it that are new and
can be trained, so nothing but the points themselves need be kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phasecube.cluster.new_points import NewPoints, values_of
from phasecube.cluster.tried import Tried
from phasecube.engine.errors import Fault, SpecError
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.faults import suggest
from phasecube.sweeps.points import Point

if TYPE_CHECKING:
    from phasecube.sweeps.sweep import Sweep

TRIES = 1000  # points in a row that are not new or not allowed, before the search ends
BLOCK = 1024


class SequenceSearch:
    """The next points of a sequence. `shares` yields one number of [0, 1) a parameter."""

    def __init__(self, sweep: Sweep, points: Iterator[Mapping[str, Any]]) -> None:
        self._new = NewPoints(sweep)
        self._points = points
        self._n_noted = 0

    def next_points(self, tried: Sequence[Tried], n: int) -> list[Point]:
        """Return the next `n` points of the sequence that are new; fewer at its end."""
        self._new.note(tried[self._n_noted :])
        self._n_noted = len(tried)
        found: list[Point] = []
        failures = 0
        while len(found) < n and failures < TRIES:
            candidate = next(self._points, None)
            if candidate is None:
                return found
            point = self._new.point(lambda axis, at=candidate: at[axis.name])  # type: ignore[misc]
            if self._new.take(point):
                found.append(point)
            # A point of an earlier batch stood here in the sequence: no failure.
            failures = 0 if self._new.meet(point) else failures + 1
        return [*found, *self._new.of_the_rest(n - len(found))]


def grid(sweep: Sweep, study: Any) -> SequenceSearch:  # noqa: ARG001 nothing is kept
    """Return the points of a grid: every choice, and as many values of each range as fit.

    Raises SpecError where not even the ends of the ranges fit into the number of points.
    """
    _no_options(sweep)
    assert sweep.sampler is not None
    ranges = [axis for axis in sweep.searched if not axis.choices]
    choices = math.prod(len(axis.choices) for axis in sweep.searched if axis.choices)
    count = _root(sweep.sampler.points // choices, len(ranges)) if ranges else 1
    if choices * (2 ** len(ranges) if count < 2 else 1) > sweep.sampler.points:
        least = choices * 2 ** len(ranges)
        raise SpecError(
            [
                Fault(
                    "sampler.points",
                    f"a grid of the choices and the ends of the ranges has {least:,} points, more "
                    f"than {sweep.sampler.points:,}; raise points, or use sobol or random",
                )
            ],
            sweep.name,
        )
    columns = [axis.choices or _spaced(axis, count) for axis in sweep.searched]
    names = [axis.name for axis in sweep.searched]
    return SequenceSearch(sweep, (dict(zip(names, row)) for row in itertools.product(*columns)))


def random(sweep: Sweep, study: Any) -> SequenceSearch:  # noqa: ARG001 nothing is kept
    """Return points drawn evenly: of a log range in its logarithm, of choices each as often."""
    _no_options(sweep)
    assert sweep.sampler is not None
    rng = np.random.default_rng(sweep.sampler.seed)
    blocks = (rng.random((BLOCK, len(sweep.searched))) for _ in itertools.count())
    return SequenceSearch(sweep, _scaled(sweep.searched, blocks))


def sobol(sweep: Sweep, study: Any) -> SequenceSearch:  # noqa: ARG001 nothing is kept
    """Return Sobol's sequence, or Halton's: options as those of Optuna's QMCSampler.

    It is scrambled unless `scramble = false`: the first point of the bare sequence is a corner.
    """
    from scipy.stats import qmc

    assert sweep.sampler is not None
    _no_options(sweep, ("qmc_type", "scramble"))
    options = {"qmc_type": "sobol", "scramble": True, **sweep.sampler.options}
    engines = {"sobol": qmc.Sobol, "halton": qmc.Halton}
    if options["qmc_type"] not in engines:
        raise SpecError(
            [Fault("sampler.options.qmc_type", suggest(str(options["qmc_type"]), engines))],
            sweep.name,
        )
    engine = engines[options["qmc_type"]](
        len(sweep.searched), scramble=bool(options["scramble"]), seed=sweep.sampler.seed
    )
    return SequenceSearch(
        sweep, _scaled(sweep.searched, (engine.random(BLOCK) for _ in itertools.count()))
    )


def at_share(axis: SearchedAxis, share: float) -> Any:
    """Return the value at a `share` in [0, 1) of the axis; whole numbers have equal parts of it.

    On a log scale a whole number k has the part from k - 1/2 to k + 1/2, as Optuna has it.
    """
    if axis.choices:
        return axis.choices[int(share * len(axis.choices))]
    low, high = float(axis.low), float(axis.high)
    if axis.is_integer:
        low, high = low - 0.5, high + 0.5
    if axis.scale == "log":
        value = math.exp(math.log(low) + (math.log(high) - math.log(low)) * share)
    else:
        value = low + (high - low) * share
    if axis.is_integer:
        return min(max(round(value), int(axis.low)), int(axis.high))
    return min(max(value, axis.low), axis.high)


def _scaled(axes: Sequence[SearchedAxis], blocks: Iterator[Any]) -> Iterator[Mapping[str, Any]]:
    for block in blocks:
        for shares in block:
            yield {axis.name: at_share(axis, float(s)) for axis, s in zip(axes, shares)}


def _spaced(axis: SearchedAxis, count: int) -> list[Any]:
    whole = values_of(axis)
    if whole is not None and len(whole) <= count:
        return list(whole)
    if axis.scale == "log":
        values = np.geomspace(axis.low, axis.high, count)
    else:
        values = np.linspace(axis.low, axis.high, count)
    if axis.is_integer:
        return sorted({round(float(value)) for value in values})
    return [float(value) for value in values]


def _root(number: int, degree: int) -> int:
    """Return the largest whole r with r ** degree <= number."""
    root: int = round(number ** (1 / degree))
    while root**degree > number:
        root -= 1
    while (root + 1) ** degree <= number:
        root += 1
    return root


def _no_options(sweep: Sweep, known: Sequence[str] = ()) -> None:
    assert sweep.sampler is not None
    unknown = [name for name in sweep.sampler.options if name not in known]
    if unknown:
        raise SpecError(
            [
                Fault(
                    f"sampler.options.{name}",
                    f"{sweep.sampler.kind} takes no such option; {suggest(name, known)}",
                )
                for name in unknown
            ],
            sweep.name,
        )
