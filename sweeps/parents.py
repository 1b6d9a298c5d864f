"""The names of trials that go on from others: a parent is named first, its child by its name.

A point says from which point its trials go on; the parent of a trial is that point's trial at
the same place on all other axes. Its digest is the child's parameter `parent_trial`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import StudyError
from phasecube.sweeps.axis import Dim
from phasecube.sweeps.columns import Column
from phasecube.sweeps.digest import DIGEST_BYTES, digests_of
from phasecube.sweeps.population import NO_PARENT

PARENT, PARENT_POINT = "parent_trial", "parent_point"
Codes = npt.NDArray[np.int32]
Digests = npt.NDArray[np.uint8]


def name_trials(
    constant: Mapping[str, Any],
    columns: Mapping[str, Column],
    index: Mapping[str, Codes],
    dims: Sequence[Dim],
    n_trials: int,
) -> tuple[dict[str, Column], Digests]:
    """Return the columns, with `parent_trial` where there are parents, and the digests [N, 16].

    `constant` is the content that all trials share. Raises StudyError where a point goes on
    from none before it, or a trial from one that is not planned.
    """
    columns = dict(columns)
    found = next((dim for dim in dims for axis in dim.axes if axis.name == PARENT_POINT), None)
    if found is None:
        return columns, _digests(constant, columns, np.arange(n_trials))
    parent_P = np.asarray(found.coords[PARENT_POINT], np.int64)
    _check_steps(parent_P, found)
    wave_N = _waves(parent_P)[index[found.name]]
    parent_N = _parent_trials(parent_P, found, index, dims, n_trials)
    digests_N16 = np.zeros((n_trials, DIGEST_BYTES), np.uint8)
    names: dict[str, int] = {"": 0}
    codes_N = np.zeros(n_trials, np.int32)
    for wave in range(int(wave_N.max(initial=-1)) + 1):
        trials = np.flatnonzero(wave_N == wave)
        for n in trials[parent_N[trials] >= 0].tolist():
            name = digests_N16[parent_N[n]].tobytes().hex()
            codes_N[n] = names.setdefault(name, len(names))
        if wave:  # of the first nobody has one: theirs is the default
            columns[PARENT] = Column(codes_N, list(names))
        digests_N16[trials] = _digests(constant, columns, trials)
    if PARENT in columns:
        columns[PARENT] = columns[PARENT].compact()
    return columns, digests_N16


def _digests(
    constant: Mapping[str, Any], columns: Mapping[str, Column], trials: npt.NDArray[np.int64]
) -> Digests:
    params = {n: (c.codes[trials], c.values) for n, c in columns.items() if c.is_param}
    return digests_of(constant, params, len(trials))


def _check_steps(parent_P: npt.NDArray[np.int64], dim: Dim) -> None:
    """Raise StudyError where a point begins where its parent has not been, or at its own end."""
    steps, begins = (dim.coords.get(name) for name in ("steps", "branch_step"))
    if steps is None or begins is None:
        return
    for point, parent in enumerate(parent_P.tolist()):
        if 0 <= parent < point and not begins[parent] < begins[point] <= steps[parent]:
            raise StudyError(
                f"point {point} begins at step {begins[point]}, and point {parent}, which it goes "
                f"on from, trains from {begins[parent]} to {steps[parent]}"
            )


def _waves(parent_P: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many ancestors each point has."""
    wave_P = np.zeros(len(parent_P), np.int64)
    for point, parent in enumerate(parent_P.tolist()):
        if parent >= point or parent < NO_PARENT:
            raise StudyError(f"point {point} goes on from point {parent}, which is none before it")
        wave_P[point] = 0 if parent == NO_PARENT else wave_P[parent] + 1
    return wave_P


def _parent_trials(
    parent_P: npt.NDArray[np.int64],
    dim: Dim,
    index: Mapping[str, Codes],
    dims: Sequence[Dim],
    n_trials: int,
) -> npt.NDArray[np.int64]:
    """Return each trial's parent as a place among the trials, NO_PARENT where it has none."""
    point_N = index[dim.name]
    shape = tuple(len(d) for d in dims)
    cell_N = _cells([index[d.name] for d in dims], shape)
    has_N = parent_P[point_N] != NO_PARENT
    places = [np.where(has_N, parent_P[point_N], 0) if d is dim else index[d.name] for d in dims]
    wanted_N = _cells(places, shape)
    order = np.argsort(cell_N, kind="stable")
    place_N = np.searchsorted(cell_N[order], wanted_N).clip(0, max(n_trials - 1, 0))
    parent_N = order[place_N]
    lost = np.flatnonzero(has_N & (cell_N[parent_N] != wanted_N))
    if len(lost):
        point = int(point_N[lost[0]])
        raise StudyError(
            f"point {point} goes on from point {int(parent_P[point])}, which has no trial at one "
            "of its places on the other axes; take out the condition that keeps it from being run"
        )
    return np.where(has_N, parent_N, NO_PARENT)


def _cells(places: Sequence[Any], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    return np.asarray(np.ravel_multi_index([np.asarray(p) for p in places], shape), np.int64)
