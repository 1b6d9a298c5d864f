"""What a plan will leave on disk, and how long it may take, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phasecube.sweeps.plan import Plan


@dataclass(frozen=True)
class Forecast:
    """Of a whole plan. `seconds` is None without a probe; `bytes_store` is before compression."""

    n_trials: int
    trial_steps: int
    bytes_store: int
    bytes_cube: int
    n_files: int
    seconds: float | None = None


def forecast(plan: Plan, seconds_per_trial_step: dict[int, float] | None = None) -> Forecast:
    """Return the forecast; `seconds_per_trial_step` is a probe's result by static group."""
    itemsize = np.dtype(plan.rule.dtype).itemsize
    values = len(plan.rule.scalars) * len(plan.rule.steps) + sum(
        len(labels) * len(plan.rule.vector_steps) for labels in plan.rule.vectors.values()
    )
    n_cells = int(np.prod([len(dim) for dim in plan.dims], dtype=np.int64))
    n_arrays = 2 + len(plan.rule.vectors)  # scalars, status, vectors: one file a pack each
    steps_N = steps_of(plan)
    seconds = None
    if seconds_per_trial_step:
        per_step = np.array([seconds_per_trial_step[g] for g in range(int(plan.group.max()) + 1)])
        seconds = float((per_step[plan.group] * steps_N).sum())
    cube_chunks = -(-len(plan.rule.steps) // 25) * len(plan.rule.scalars)
    return Forecast(
        plan.n_trials,
        int(steps_N.sum()),
        plan.n_trials * values * itemsize,
        n_cells * values * itemsize,
        plan.n_packs * n_arrays + cube_chunks + len(plan.rule.vectors) + 40,
        seconds,
    )


def steps_of(plan: Plan) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the optimizer steps of each trial, int64 [N]."""
    column = plan.columns.get("steps")
    if column is None:
        return np.full(len(plan), plan.constants["steps"], np.int64)
    return np.asarray(column.values, np.int64)[column.codes]
