"""What a plan will leave on disk, and how long it may take, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phasecube.sweeps.plan import Plan

STUDY_FILES = 10  # sweep, plan, locks, runs, engines
CUBE_STEPS, CUBE_CHUNK_BYTES = 25, 64 * 2**20  # as analysis/cube/consolidate.py cuts a cube


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
    steps_N = steps_of(plan) - begins_of(plan)
    seconds = None
    if seconds_per_trial_step:
        per_step = np.array([seconds_per_trial_step[g] for g in range(int(plan.group.max()) + 1)])
        seconds = float((per_step[plan.group] * steps_N).sum())
    return Forecast(
        plan.n_trials,
        int(steps_N.sum()),
        plan.n_trials * values * itemsize,
        n_cells * values * itemsize,
        _store_files(plan) + _cube_files(plan, n_cells * itemsize) + STUDY_FILES,
        seconds,
    )


def _store_files(plan: Plan) -> int:
    """Return one file a pack for scalars, status and each vector, and what does not grow."""
    n_vectors = len(plan.rule.vectors)
    coordinates = 4 + _vector_coordinates(plan)  # digest, step, measure, field: a chunk each
    return plan.n_packs * (2 + n_vectors) + 1 + (2 + n_vectors) + 2 * coordinates


def _cube_files(plan: Plan, step_bytes: int) -> int:
    """Return the chunks of each measure, and a file or two for every other variable."""
    n_steps, n_scalars = len(plan.rule.steps), len(plan.rule.scalars)
    steps_per_chunk = max(1, min(CUBE_STEPS, n_steps, CUBE_CHUNK_BYTES // max(1, step_bytes)))
    chunks = -(-n_steps // steps_per_chunk) * n_scalars
    coordinates = 1 + len(plan.sweep.axes) + _vector_coordinates(plan)
    n_provenance = 6  # outcome, n_recorded, stopped_at, engine, run, digest
    return chunks + n_scalars + 2 * (len(plan.rule.vectors) + n_provenance + coordinates) + 1


def _vector_coordinates(plan: Plan) -> int:
    """Return 0, or vector_step and each dim of labels."""
    dims = {plan.measures[name].dim for name in plan.rule.vectors}
    return 1 + len(dims) if dims else 0


def steps_of(plan: Plan) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the step at which each trial ends, int64 [N]."""
    return _whole_numbers(plan, "steps")


def begins_of(plan: Plan) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the step at which each trial begins, int64 [N]: 0 unless it goes on from another."""
    return _whole_numbers(plan, "branch_step")


def _whole_numbers(plan: Plan, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    column = plan.columns.get(name)
    if column is None:
        return np.full(len(plan), plan.constants.get(name, 0), np.int64)
    return np.asarray(column.values, np.int64)[column.codes]
