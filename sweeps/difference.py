"""An edited sweep against a study: what is new, kept, orphaned, invalidated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.sweeps.digest import RowArray, distinct, find
from phasecube.sweeps.explain import flat
from phasecube.sweeps.plan import Plan


@dataclass(frozen=True)
class Difference:
    """Counts of trials, and `changes`: (what, before, now) for each reason of invalidation.

    new: not in the store. kept: in the store. orphaned: in the store, no longer named.
    invalidated: orphaned trials whose place on the axes now names another trial, because
    the version, a default, a fixed parameter or the stop rule changed.
    """

    n_new: int
    n_kept: int
    n_orphaned: int
    n_invalidated: int
    changes: tuple[tuple[str, Any, Any], ...]

    @property
    def is_empty(self) -> bool:
        """True if the sweep names just what the study holds."""
        return self.n_new == 0 and self.n_orphaned == 0


def difference(old: Plan | None, old_R16: npt.NDArray[np.uint8], new: Plan) -> Difference:
    """Return what `new` changes in a study whose store holds `old_R16` [rows, 16].

    `old` is the plan the study had; without it nothing can be called invalidated.
    """
    store_R16 = old_R16[old_R16.any(axis=1)]  # without padding
    named_N16 = new.digests[distinct(new.digests)[0]]
    is_new = find(named_N16, store_R16) < 0
    n_orphaned = int((find(store_R16, named_N16) < 0).sum())
    n_invalidated = 0
    changes: tuple[tuple[str, Any, Any], ...] = ()
    if old is not None and n_orphaned:
        before = np.flatnonzero(find(old.digests, named_N16) < 0)
        now = np.flatnonzero(find(new.digests, store_R16) < 0)
        shared = _shared_places(old, before, new, now)
        n_invalidated = len(shared)
        if n_invalidated:
            changes = _changes(old.content(int(shared[0, 0])), new.content(int(shared[0, 1])))
    n_new = int(is_new.sum())
    return Difference(n_new, len(named_N16) - n_new, n_orphaned, n_invalidated, changes)


def _shared_places(old: Plan, before: RowArray, new: Plan, now: RowArray) -> RowArray:
    """Return [n, 2]: pairs of trials, of those given, that have the same place on the axes."""
    old_axes = {axis.name: (dim.name, axis) for dim in old.dims for axis in dim.axes}
    new_axes = {axis.name: (dim.name, axis) for dim in new.dims for axis in dim.axes}
    if old_axes.keys() != new_axes.keys():
        return np.zeros((0, 2), np.int64)  # an axis more or less: no place is the same
    places = np.zeros(len(before) + len(now), np.int64)
    for name, (new_dim, new_axis) in new_axes.items():
        old_dim, old_axis = old_axes[name]
        code = {value: place for place, value in enumerate(new_axis.values)}
        for value in old_axis.values:
            code.setdefault(value, len(code))
        of_old = np.array([code[v] for v in old_axis.values])[old.index[old_dim][before]]
        of_new = np.array([code[v] for v in new_axis.values])[new.index[new_dim][now]]
        places = places * len(code) + np.concatenate([of_old, of_new])
        places = np.unique(places, return_inverse=True)[1]
    _, i, j = np.intersect1d(places[: len(before)], places[len(before) :], return_indices=True)
    return np.stack([before[i], now[j]], axis=1)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[tuple[str, Any, Any], ...]:
    old, new = flat(before), flat(now)
    names = sorted(old.keys() | new.keys())
    return tuple((n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n))
