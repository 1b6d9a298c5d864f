"""Points chosen by a sampler of Optuna, asked in batches.

The sampler works on a study in memory that is made from the points tried and nothing else, so
that the same points are asked whatever happened in between. Trial k of it is point k.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phasecube.cluster.new_points import NewPoints
from phasecube.cluster.optuna_samplers import MEMORYLESS, batch_size, make_sampler
from phasecube.cluster.optuna_trials import Trials, quietly, values_told
from phasecube.cluster.sequences import at_share
from phasecube.cluster.tried import Tried
from phasecube.engine.errors import PhasecubeError, StudyError
from phasecube.sweeps.points import Point

if TYPE_CHECKING:
    import optuna

    from phasecube.sweeps.axis import SearchedAxis
    from phasecube.sweeps.sweep import Sweep

ASKS = 20  # of the sampler, for a point that is new and can be trained
DRAWS = 1000  # then at random


def searcher(sweep: Sweep, study: Path | None) -> OptunaSearch:  # noqa: ARG001 it keeps nothing
    """Return the sweep's sampler of Optuna; raise SpecError where it cannot be made."""
    return OptunaSearch(sweep)


class OptunaSearch:
    """A sampler and its study in memory, which grows by what is told and asked."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        make_sampler(sweep, 0)  # its faults are said before anything is begun
        self._trials = Trials(sweep)
        self._begin()

    def _begin(self) -> None:
        import optuna

        assert self._sweep.sampler is not None
        goals = [objective.goal for objective in self._sweep.sampler.objectives]
        self._storage = optuna.storages.InMemoryStorage()
        with quietly():
            self._study = optuna.create_study(
                storage=self._storage, directions=goals or ["minimize"]
            )
        self._id = self._storage.get_study_id_from_name(self._study.study_name)
        self._new = NewPoints(self._sweep)
        self._points: list[Point] = []
        self._n_published = 0  # of them, those that were seen among the points tried
        self._open: set[int] = set()

    def next_points(self, tried: Sequence[Tried], n: int) -> list[Point]:
        """Return up to `n` new points; fewer where no other is new and can be trained."""
        try:
            with quietly():
                return self._next_points(tried, n)
        except PhasecubeError:
            raise
        except Exception as error:  # the sampler's own, or of an option of the wrong type
            self._begin()
            raise _sampler_error(self._sweep, error) from error

    def _next_points(self, tried: Sequence[Tried], n: int) -> list[Point]:
        self._learn(tried)
        if n < 1:
            return []
        self._study.sampler = make_sampler(self._sweep, len(tried))
        assert self._sweep.sampler is not None
        rng = np.random.default_rng((self._sweep.sampler.seed, len(tried)))
        found: list[Point] = []
        while len(found) < n and (point := self._ask(rng)) is not None:
            found.append(point)
        return found

    def _learn(self, tried: Sequence[Tried]) -> None:
        """Bring the study in memory to what was tried."""
        unsure = self._points[self._n_published :]
        published = [each.point for each in tried[self._n_published : len(self._points)]]
        if unsure != published or len(tried) < self._n_published:
            self._begin()  # what was asked was not published: another process chose otherwise
        self._new.note(tried[self._n_published :])
        self._n_published = len(tried)
        for number in sorted(self._open):
            self._tell(tried[number])
        new = tried[len(self._points) :]
        assert self._sweep.sampler is not None
        if self._sweep.sampler.kind in MEMORYLESS:
            for each in new:
                self._add(each)
            return
        size = batch_size(self._sweep)
        for start in range(0, len(new), size):
            # As they were asked: a batch at once, and told when it was done.
            batch = new[start : start + size]
            self._study.sampler = make_sampler(self._sweep, len(self._points))
            for each in batch:
                self._asked(each.point)
            for each in batch:
                self._tell(each)

    def _ask(self, rng: np.random.Generator) -> Point | None:
        """Return a new point and leave its trial running; None where none is found."""
        trial = self._study.ask()
        frozen = self._storage.get_trial(self._trial_id(trial.number))
        point = self._draw(trial.relative_params, frozen)
        for _ in range(ASKS):
            if self._new.take(point):
                break
            space = self._study.sampler.infer_relative_search_space(self._study, frozen)
            relative = self._study.sampler.sample_relative(self._study, frozen, space)
            point = self._draw(relative, frozen)
        else:
            other = self._drawn(rng)
            if other is None:
                self._begin()  # without the trial that came to nothing
                return None
            point = other
        self._set(trial.number, point)
        return point

    def _draw(self, relative: dict[str, Any], frozen: optuna.trial.FrozenTrial) -> Point:
        """Return the point that the sampler means, as Optuna's suggestions would make it."""

        def value(axis: SearchedAxis) -> Any:
            one = self._trials.distributions[axis.name]
            if one.single():
                return axis.choices[0] if axis.choices else axis.at(0.0)
            if axis.name in relative:
                return relative[axis.name]
            return self._study.sampler.sample_independent(self._study, frozen, axis.name, one)

        return self._new.point(value)

    def _drawn(self, rng: np.random.Generator) -> Point | None:
        for _ in range(DRAWS):
            point = self._new.point(lambda axis: at_share(axis, rng.random()))
            if self._new.take(point):
                return point
        return next(iter(self._new.of_the_rest(1)), None)

    def _asked(self, point: Point) -> None:
        """Let the sampler note of a trial what it notes when it is asked."""
        trial = self._study.ask()
        _ = trial.relative_params
        self._set(trial.number, point)

    def _set(self, number: int, point: Point) -> None:
        for name, value in self._trials.params(point).items():
            one = self._trials.distributions[name]
            trial = self._trial_id(number)
            self._storage.set_trial_param(trial, name, one.to_internal_repr(value), one)
        self._points.append(point)
        self._open.add(number)

    def _tell(self, tried: Tried) -> None:
        import optuna

        if not tried.is_settled:
            return
        values = values_told(tried)
        self._study.tell(
            tried.number,
            values,
            state=None if values is not None else optuna.trial.TrialState.PRUNED,
        )
        self._open.discard(tried.number)

    def _add(self, tried: Tried) -> None:
        """Add a trial without asking the sampler, whose choice it was."""
        self._study.add_trial(self._trials.frozen(tried))
        self._points.append(tried.point)
        if not tried.is_settled:
            self._open.add(tried.number)

    def _trial_id(self, number: int) -> int:
        found: int = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        return found


def _sampler_error(sweep: Sweep, error: Exception) -> StudyError:
    assert sweep.sampler is not None
    last = traceback.extract_tb(error.__traceback__)[-1]
    options = f" with options {sweep.sampler.options}" if sweep.sampler.options else ""
    return StudyError(
        f"sampler.kind: {sweep.sampler.kind}{options} cannot choose a point: "
        f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
    )
