"""An edited sweep against a study: what is new, kept, orphaned, invalidated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
    in_store = {bytes(d) for d in np.ascontiguousarray(old_R16) if d.any()}
    named = {bytes(d) for d in np.ascontiguousarray(new.digests)}
    kept, orphaned = in_store & named, in_store - named
    n_invalidated = 0
    changes: tuple[tuple[str, Any, Any], ...] = ()
    if old is not None and orphaned:
        before = _places(old, {bytes(d) for d in old.digests} - named)
        now = _places(new, named - in_store)
        shared = before.keys() & now.keys()
        n_invalidated = len(shared)
        if shared:
            place = min(shared)
            changes = _changes(old.content(before[place]), new.content(now[place]))
    return Difference(len(named - kept), len(kept), len(orphaned), n_invalidated, changes)


def _places(plan: Plan, digests: set[bytes]) -> dict[tuple[str, ...], int]:
    """Return trial by its coordinates, for the trials of some digests."""
    if not digests:
        return {}
    axes = [axis.name for axis in plan.sweep.axes]
    raw = np.ascontiguousarray(plan.digests)
    chosen = [i for i in range(len(plan)) if bytes(raw[i]) in digests]
    coords = {a: (plan.columns[a].codes, plan.columns[a].values) for a in axes if a in plan.columns}
    single = {a: plan.constants[a] for a in axes if a not in coords and a in plan.constants}
    return {
        tuple(
            f"{a}={coords[a][1][coords[a][0][i]] if a in coords else single.get(a)!r}"
            for a in sorted(axes)
        ): i
        for i in chosen
    }


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[tuple[str, Any, Any], ...]:
    from phasecube.sweeps.explain import flat

    old, new = flat(before), flat(now)
    names = sorted(old.keys() | new.keys())
    return tuple((n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n))
