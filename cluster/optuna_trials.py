"""A point and what became of it, as a trial of Optuna."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from phasecube.cluster.new_points import NewPoints
from phasecube.cluster.tried import Tried
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.points import Point

if TYPE_CHECKING:
    import optuna

    from phasecube.sweeps.sweep import Sweep


class Trials:
    """Makes the trials of one sweep."""

    def __init__(self, sweep: Sweep) -> None:
        self._axes = sweep.searched
        self._space = NewPoints(sweep)
        self.distributions = {axis.name: distribution(axis) for axis in sweep.searched}

    def params(self, point: Point) -> dict[str, Any]:
        """Return the parameters that the point's trial has.

        None whose condition fails, or whose value is out of a range that was made narrower.
        """
        return {
            axis.name: point[axis.name]
            for axis in self._axes
            if self._space.is_searched(axis, point) and _holds(axis, point[axis.name])
        }

    def frozen(
        self, tried: Tried, attributes: dict[str, Any] | None = None
    ) -> optuna.trial.FrozenTrial:
        """Return the trial of a point, running where the point is open."""
        import optuna

        params = self.params(tried.point)
        state, values = state_told(tried)
        return optuna.trial.create_trial(
            state=state,
            values=values,
            params=params,
            distributions={name: self.distributions[name] for name in params},
            user_attrs=attributes,
        )


def distribution(axis: SearchedAxis) -> optuna.distributions.BaseDistribution:
    """Return a searched axis as Optuna has it."""
    from optuna import distributions

    log = axis.scale == "log"
    if axis.choices:
        return distributions.CategoricalDistribution(axis.choices)
    if axis.is_integer:
        return distributions.IntDistribution(int(axis.low), int(axis.high), log=log)
    return distributions.FloatDistribution(axis.low, axis.high, log=log)


def _holds(axis: SearchedAxis, value: Any) -> bool:
    if axis.choices:
        return value in axis.choices
    return bool(axis.low <= value <= axis.high)


def values_told(tried: Tried) -> list[float] | None:
    """Return what Optuna is told: numbers, or None for a point that counts as pruned."""
    known = bool(tried.values) and all(map(math.isfinite, tried.values))
    return list(tried.values) if known else None


def state_told(tried: Tried) -> tuple[optuna.trial.TrialState, list[float] | None]:
    """Return the trial's state and values.

    A point without a finite value of each objective is pruned: never failed, as Optuna makes of
    NaN, which its samplers then do not learn from, and never complete with an infinite one.
    """
    from optuna.trial import TrialState

    if not tried.is_settled:
        return TrialState.RUNNING, None
    values = values_told(tried)
    return (TrialState.PRUNED if values is None else TrialState.COMPLETE), values


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep Optuna's lines about every trial, and about what is experimental, from the screen."""
    import warnings

    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
