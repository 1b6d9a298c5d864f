"""A searched sweep and the points chosen for it: together an ordinary sweep.

The points are one dimension of the cube, `point`; its coordinates are the searched parameters.
So plan, digest, extension and cube know nothing of samplers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from phasecube.sweeps.axis import Axis, Dim, SearchedAxis
from phasecube.sweeps.population import NO_PARENT, population_of

if TYPE_CHECKING:
    from phasecube.sweeps.sweep import Sweep

POINT = "point"
STAND_INS = 16
Point = Mapping[str, Any]


def with_points(sweep: Sweep, points: Sequence[Point]) -> Sweep:
    """Return the sweep over these points, in their order, and its other axes.

    Each point gives a value to every searched axis, and may to other parameters and to those of
    `population.BRANCH`: all points to the same ones.
    """
    others = tuple(dim for dim in sweep.dims if dim.name != POINT)
    if not points:
        return replace(sweep, dims=(_dim(sweep.searched, _stand_ins(sweep)), *others))
    dim = _dim(sweep.searched, points)
    return replace(sweep, dims=(dim, *others), points=tuple(dict(point) for point in points))


def with_stand_ins(sweep: Sweep) -> Sweep:
    """Return a searched sweep with stand-ins for its whole budget, any other as it is."""
    if sweep.sampler is None or sweep.points:
        return sweep
    return replace(with_points(sweep, _stand_ins(sweep, sweep.sampler.points)), points=())


def _stand_ins(sweep: Sweep, count: int = 0) -> list[dict[str, Any]]:
    """Return stand-ins of a sweep's points; of a population all, for each generation has an end."""
    population = population_of(sweep.sampler)
    if population is None:
        return stand_ins(sweep.searched, count)
    size = population.size
    found = stand_ins(sweep.searched, size * population.generations)
    return [
        {**point, **population.branch(i // size, i - size if i >= size else NO_PARENT)}
        for i, point in enumerate(found[: size * population.generations])
    ]


def _dim(searched: Sequence[SearchedAxis], points: Sequence[Point]) -> Dim:
    axes = [
        Axis(axis.name, tuple(p[axis.name] for p in points), axis.scale, axis.unit, axis.label)
        for axis in searched
    ]
    known = {axis.name for axis in searched}
    more = [name for name in points[0] if name not in known]
    axes += [Axis(name, tuple(point[name] for point in points)) for name in more]
    return Dim(POINT, tuple(axes))


def stand_ins(searched: Sequence[SearchedAxis], count: int = 0) -> list[dict[str, Any]]:
    """Return points that stand for those not yet chosen: every end and choice is among them.

    They show what a plan will be and which combinations no experiment could train.
    """
    n = max(STAND_INS, count, *(len(axis.choices) for axis in searched)) if searched else 1
    # Each axis goes round at its own pace, so that ends of one meet both ends of another.
    points = []
    for i in range(n):
        shares = [((i * (2 * k + 1)) % n) / (n - 1) if n > 1 else 0.0 for k in range(len(searched))]
        points.append({axis.name: axis.at(share) for axis, share in zip(searched, shares)})
    return points
