"""How the trials of a study ended, what that means, and at which values of the axes they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from phasecube.analysis.labels import tick_labels
from phasecube.analysis.maps.phase_diagram import sweep_dims
from phasecube.engine.record import Outcome

NAMED = 5  # values of an axis that are listed one by one
MEANINGS: Mapping[Outcome, str] = {
    Outcome.DONE: "reached its last step, or its target",
    Outcome.PRUNED: "stopped by a pruner; its last record is a result",
    Outcome.TIMED_OUT: "spent its walltime; its last record is a result",
    Outcome.DIVERGED: "its loss stopped being finite, or passed its limit",
    Outcome.FAILED: "its code raised an error",
    Outcome.OUT_OF_MEMORY: "did not fit even alone",
    Outcome.NOT_RUN: "planned, has not ended yet",
    Outcome.NOT_PLANNED: "a place on the axes that the sweep leaves out",
}
# Fill and hatch of the bar: told apart in grey, too.
LOOKS: Mapping[Outcome, tuple[str, str]] = {
    Outcome.DONE: ("#3b5b92", ""),
    Outcome.PRUNED: ("#8fa9cf", ""),
    Outcome.TIMED_OUT: ("#c9d6ea", ""),
    Outcome.DIVERGED: ("#ffffff", "xxxx"),
    Outcome.FAILED: ("#ffffff", "++"),
    Outcome.OUT_OF_MEMORY: ("#d9d9d9", ".."),
    Outcome.NOT_RUN: ("#ffffff", "//"),
}


@dataclass(frozen=True)
class Ended:
    """One way to end: how many trials, where they lie; `share` is of the planned ones."""

    outcome: Outcome
    n: int
    share: float
    where: str

    @property
    def name(self) -> str:
        """Return the outcome in words."""
        return in_words(self.outcome)

    @property
    def meaning(self) -> str:
        """Return what the outcome means."""
        return MEANINGS[self.outcome]

    @property
    def look(self) -> tuple[str, str]:
        """Return fill and hatch of its part of the bar."""
        return LOOKS.get(self.outcome, ("#ffffff", ""))


def in_words(outcome: Outcome) -> str:
    """Return "out of memory" for OUT_OF_MEMORY."""
    return outcome.name.lower().replace("_", " ")


def ended(ds: xr.Dataset) -> list[Ended]:
    """Return the outcomes that some place of the study has, results first, not planned last."""
    outcome = ds.outcome.compute()
    counts = {o: int((outcome == o).sum()) for o in MEANINGS}
    planned = sum(n for o, n in counts.items() if o is not Outcome.NOT_PLANNED)
    return [
        Ended(
            o,
            n,
            0.0 if o is Outcome.NOT_PLANNED or not planned else n / planned,
            _where(ds, outcome, o),
        )
        for o, n in counts.items()
        if n
    ]


def outcome_sentence(counts: Mapping[Outcome, int]) -> str:
    """Return "288 trials planned: 270 done, 12 diverged, 6 not run."."""
    there = {o: n for o, n in counts.items() if n and o is not Outcome.NOT_PLANNED}
    planned = sum(there.values())
    trials = f"{planned:,} trial{'' if planned == 1 else 's'}"
    if planned == 1:
        return f"{trials} planned, {in_words(*there)}."
    if len(there) == 1:
        return f"{trials} planned, all {in_words(*there)}."
    told = ", ".join(f"{n:,} {in_words(o)}" for o, n in there.items())
    return f"{trials} planned: {told or 'none'}."


def _where(ds: xr.Dataset, outcome: xr.DataArray, wanted: Outcome) -> str:
    """Return the values of the axes outside which no trial ended so."""
    hits = outcome == wanted
    planned = outcome != Outcome.NOT_PLANNED
    told = []
    for dim in sweep_dims(ds):
        others = [d for d in sweep_dims(ds) if d != dim]
        has, there = hits.any(others).values, planned.any(others).values
        if wanted is Outcome.NOT_PLANNED:
            there = np.ones_like(there)
        if (has == there).all():
            continue
        told.append(_values(ds, dim, has, there))
    return "; ".join(told) or "at all values of every axis"


def _values(ds: xr.Dataset, dim: str, has: np.ndarray, there: np.ndarray) -> str:
    if dim not in ds.coords:  # a zip has the names of what lies along it
        return f"{dim}: {int(has.sum())} of {int(there.sum())} places"
    values = ds[dim].values
    ticks = np.asarray(tick_labels(values))
    if values.dtype.kind in "fiu" and len(values) > 2:
        places = np.flatnonzero(has)
        known = np.flatnonzero(there)
        inner = known[(known >= places[0]) & (known <= places[-1])]
        if len(inner) == len(places) and len(places) > 1:  # no gap
            if places[-1] == known[-1]:
                return f"{dim} from {ticks[places[0]]} on"
            if places[0] == known[0]:
                return f"{dim} up to {ticks[places[-1]]}"
            return f"{dim} from {ticks[places[0]]} to {ticks[places[-1]]}"
    if has.sum() <= NAMED:
        return f"{dim} = {', '.join(ticks[has])}"
    return f"{dim}: {int(has.sum())} of {int(there.sum())} values"
