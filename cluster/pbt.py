"""Population based training: members train side by side, the worst go on from the best.

After each generation the members are ranked. Those of the lowest quantile, and those that have
no value or no end state (diverged, failed, pruned), take the weights of a member drawn from the
highest quantile (exploit) and that member's hyperparameters, changed (explore): each is drawn
anew from its axis with probability `resample`, else multiplied by one of the two factors of
`perturb`; a choice moves to a neighbour. All others go on as they were.

A member of a generation is a trial that begins where its parent stood, so lineage is data.
Nothing is kept: the next generation follows from the points tried, their values and the seed.

Reference: Jaderberg et al. 2017, "Population based training of neural networks",
arXiv:1711.09846: truncation selection, perturb and resample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phasecube.cluster.tried import Tried
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.axis import Scalar, SearchedAxis
from phasecube.sweeps.points import Point
from phasecube.sweeps.population import NO_PARENT, Population, population_of

if TYPE_CHECKING:
    from phasecube.sweeps.sweep import Sweep

MAX_DRAWS = 100  # until a member differs from all others; a space of few choices may have no more


def searcher(sweep: Sweep, study: Path | None) -> PopulationSearch:  # noqa: ARG001 it keeps nothing
    """Return the searcher of a sweep with `kind = "pbt"`."""
    population = population_of(sweep.sampler)
    assert population is not None and sweep.sampler is not None
    maximize = sweep.sampler.objectives[0].goal == "maximize"
    return PopulationSearch(population, sweep.searched, sweep.sampler.seed, maximize=maximize)


class PopulationSearch:
    """Chooses a generation at a time."""

    def __init__(
        self, population: Population, axes: Sequence[SearchedAxis], seed: int, *, maximize: bool
    ) -> None:
        self.population, self.axes, self.seed = population, tuple(axes), seed
        self.sign = -1.0 if maximize else 1.0

    def next_points(self, tried: Sequence[Tried], n: int) -> list[Point]:
        """Return the next generation; none if it has more than `n` members or the last is open.

        Raises StudyError where no member of the last one can be gone on from, or where the
        points tried are no whole generations.
        """
        size = self.population.size
        if n < size or not all(each.is_settled for each in tried[-size:]):
            return []
        generation, rest = divmod(len(tried), size)
        if rest or (tried and tried[-1].point["steps"] != self._steps(generation)):
            raise StudyError(
                f"the study's {len(tried):,} points are no generations of {size} members and "
                f"{self.population.options.generation_steps} steps; give [sampler] batch and "
                "generation_steps back their values, or search in a new folder with --study"
            )
        if not tried:
            return [self._fresh(self._rng(0, member)) for member in range(size)]
        members = tried[-size:]
        ranked = self._ranked(members)
        if not ranked:
            raise StudyError(
                f"all {size} members of generation {generation - 1} diverged or failed, so none "
                "can be gone on from; search a smaller space in a new folder"
            )
        return self._generation(generation, members, ranked)

    def _steps(self, generation: int) -> int:
        return generation * self.population.options.generation_steps

    def _rng(self, generation: int, member: int) -> np.random.Generator:
        """Return the random numbers of one member: they depend on no other."""
        return np.random.default_rng([self.seed, generation, member])

    def _ranked(self, members: Sequence[Tried]) -> list[Tried]:
        """Return those that can be gone on from, best first; of equals the first stays first."""
        alive = [m for m in members if set(m.outcomes) == {Outcome.DONE}]
        return sorted(
            (m for m in alive if math.isfinite(m.values[0])), key=lambda m: self.sign * m.values[0]
        )

    def _generation(
        self, generation: int, members: Sequence[Tried], ranked: Sequence[Tried]
    ) -> list[Point]:
        share = self.population.options.quantile
        n = min(math.ceil(share * len(members)), len(members) // 2)
        best = ranked[: min(n, len(ranked))]
        last = {m.number for m in members} - {m.number for m in ranked[: len(members) - n]}
        taken = {(m.digests, self._values(m.point)) for m in members if m.number not in last}
        points: list[Point] = []
        for place, member in enumerate(members):
            parent, values = member, self._values(member.point)
            if member.number in last:
                rng = self._rng(generation, place)
                for _ in range(MAX_DRAWS):
                    parent = best[int(rng.integers(len(best)))]
                    values = tuple(self._explored(axis, parent.point, rng) for axis in self.axes)
                    if (parent.digests, values) not in taken:
                        break
                taken.add((parent.digests, values))
            named = {axis.name: value for axis, value in zip(self.axes, values)}
            points.append({**named, **self.population.branch(generation, parent.number)})
        return points

    def _values(self, point: Point) -> tuple[Scalar, ...]:
        return tuple(point[axis.name] for axis in self.axes)

    def _fresh(self, rng: np.random.Generator) -> Point:
        values = {axis.name: _drawn(axis, rng) for axis in self.axes}
        return {**values, **self.population.branch(0, NO_PARENT)}

    def _explored(self, axis: SearchedAxis, point: Point, rng: np.random.Generator) -> Scalar:
        options = self.population.options
        # Always as many numbers, so that one option moves no other draw.
        anew, upwards = bool(rng.random() < options.resample), bool(rng.random() < 0.5)
        drawn = _drawn(axis, rng)
        return drawn if anew else _moved(axis, point[axis.name], options.perturb, upwards=upwards)


def _drawn(axis: SearchedAxis, rng: np.random.Generator) -> Scalar:
    share = float(rng.random())
    if axis.is_integer and not axis.choices and axis.scale != "log":
        return int(axis.low) + int(share * (int(axis.high) - int(axis.low) + 1))
    return axis.at(share)


def _moved(axis: SearchedAxis, value: Any, perturb: Sequence[float], *, upwards: bool) -> Scalar:
    if axis.choices:
        place = axis.choices.index(value) + (1 if upwards else -1)
        return axis.choices[min(max(place, 0), len(axis.choices) - 1)]
    moved = float(value) * perturb[1 if upwards else 0]
    if axis.is_integer:
        moved = round(moved)
        if moved == value:  # a factor does not move small numbers
            moved += 1 if upwards else -1
        return int(min(max(moved, math.ceil(axis.low)), math.floor(axis.high)))
    return min(max(moved, axis.low), axis.high)
