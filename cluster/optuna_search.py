"""Points chosen by a sampler of Optuna, asked in batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasecube.cluster.tried import Tried
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.points import Point

if TYPE_CHECKING:
    import optuna

    from phasecube.sweeps.axis import SearchedAxis
    from phasecube.sweeps.sweep import Sweep


def searcher(sweep: Sweep, study: Path | None) -> OptunaSearch:  # noqa: ARG001 kept in memory yet
    """Return the sweep's sampler of Optuna."""
    return OptunaSearch(sweep)


class OptunaSearch:
    """A study of Optuna, made anew from what was tried and asked for the next points."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep

    def next_points(self, tried: Sequence[Tried], n: int) -> list[Point]:
        """Return `n` new points."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = self.sweep.sampler
        assert sampler is not None
        kinds = {
            "tpe": optuna.samplers.TPESampler,
            "random": optuna.samplers.RandomSampler,
        }
        seed = sampler.seed + len(tried)
        study = optuna.create_study(
            sampler=kinds[sampler.kind](seed=seed),
            directions=[objective.goal for objective in sampler.objectives] or ["minimize"],
        )
        for each in tried:
            study.add_trial(_told(each, self.sweep))
        return [self._suggested(study.ask()) for _ in range(n)]

    def _suggested(self, trial: optuna.Trial) -> Point:
        point: dict[str, Any] = {}
        for axis in self.sweep.searched:
            known = {**self.sweep.fixed, **point}
            if axis.condition is not None and not Expression(axis.condition)(known):
                point[axis.name] = axis.rest
            elif axis.choices:
                point[axis.name] = trial.suggest_categorical(axis.name, axis.choices)
            elif axis.is_integer:
                low, high = int(axis.low), int(axis.high)
                point[axis.name] = trial.suggest_int(axis.name, low, high, log=axis.scale == "log")
            else:
                point[axis.name] = trial.suggest_float(
                    axis.name, axis.low, axis.high, log=axis.scale == "log"
                )
        return point


def _distribution(axis: SearchedAxis) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    log = axis.scale == "log"
    if axis.choices:
        return distributions.CategoricalDistribution(axis.choices)
    if axis.is_integer:
        return distributions.IntDistribution(int(axis.low), int(axis.high), log=log)
    return distributions.FloatDistribution(axis.low, axis.high, log=log)


def _told(tried: Tried, sweep: Sweep) -> optuna.trial.FrozenTrial:
    import math

    import optuna

    known = bool(tried.values) and all(map(math.isfinite, tried.values))
    names = {axis.name for axis in sweep.searched}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if known else optuna.trial.TrialState.PRUNED,
        values=list(tried.values) if known else None,
        params={name: value for name, value in tried.point.items() if name in names},
        distributions={axis.name: _distribution(axis) for axis in sweep.searched},
    )
