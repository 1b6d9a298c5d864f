"""The curves of several measures side by side, trial by trial, one bundle per line of a plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.analysis.labels import in_words
from phasecube.analysis.lines.arranged import plots_of
from phasecube.analysis.order_parameters import IN_ORDER, curve, taken
from phasecube.engine.record import Outcome

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Curves:
    """The trials of one line: measures at `step_S`, NaN past a trial's last record.

    Trials stand in the same order in each line of a plot, so that lines can be paired; one
    that was never planned has no records.
    """

    places: Mapping[str, Any]
    step_S: Floats
    values: Mapping[str, Floats]
    recorded_NS: Bools
    outcome_N: npt.NDArray[np.uint8]

    @property
    def name(self) -> str:
        """Return what the line is called: a word by itself, a number with its axis."""
        return name_of(self.places)

    def ended(self) -> Bools:
        """Return which trials ended in good order."""
        return np.isin(self.outcome_N, IN_ORDER)


def name_of(places: Mapping[str, Any]) -> str:
    """Return what a line is called: a word by itself, numbers with their axes."""
    values = list(places.values())
    if len(values) == 1 and isinstance(values[0], str):
        return str(values[0])
    return in_words(places) or "all trials"


def curves_of(
    ds: xr.Dataset,
    measures: Sequence[str],
    *,
    by: str | None,
    over: Sequence[str],
    select: Mapping[str, Any],
) -> Iterator[tuple[Mapping[str, Any], list[Curves]]]:
    """Return (fixed, lines) of each plot, as `plots_of` cuts them, at records of all measures.

    Raises StudyError for a measure that was not recorded.
    """
    for measure in measures:
        curve(ds, measure)
    for measure in measures:
        ds = taken(ds, measure)
    step_S = np.asarray(ds.step.values, np.float64)
    position_S = np.arange(len(step_S))
    cut = {"along": None, "by": by, "over": over, "select": select}
    plots: list[Any] = [plots_of(ds, ds[m], **cut) for m in (*measures, "n_recorded")]  # type: ignore[arg-type]
    for (fixed, counted), *others in zip(plots[-1], *plots[:-1], strict=True):
        lines = []
        for place, count in enumerate(counted):
            recorded_NS = position_S < count.values.values[:, None]
            values = {
                m: _masked(found[place].values, recorded_NS)
                for m, (_, found) in zip(measures, others, strict=True)
            }
            outcome_N = count.outcome.values
            lines.append(Curves(count.places, step_S, values, recorded_NS, outcome_N))
        yield fixed, lines


@dataclass(frozen=True)
class Numbers:
    """The trials of one line: numbers of each, in the order of `Curves`."""

    places: Mapping[str, Any]
    values: Mapping[str, npt.NDArray[Any]]
    outcome_N: npt.NDArray[np.uint8]

    @property
    def name(self) -> str:
        """Return what the line is called: a word by itself, a number with its axis."""
        return name_of(self.places)


def numbers_of(
    ds: xr.Dataset,
    arrays: Mapping[str, xr.DataArray],
    *,
    by: str | None,
    over: Sequence[str],
    select: Mapping[str, Any],
) -> Iterator[tuple[Mapping[str, Any], list[Numbers]]]:
    """Return (fixed, lines) of each plot for arrays with one number a trial."""
    like = ds.outcome
    put = [array.transpose(*like.dims).assign_coords(like.coords) for array in arrays.values()]
    cut = {"along": None, "by": by, "over": over, "select": select}
    plots: list[Any] = [plots_of(ds, array, **cut) for array in put]  # type: ignore[arg-type]
    for found in zip(*plots, strict=True):
        lines = []
        for bundles in zip(*(bundles for _, bundles in found), strict=True):
            values = {n: b.values.values for n, b in zip(arrays, bundles, strict=True)}
            lines.append(Numbers(bundles[0].places, values, bundles[0].outcome.values))
        yield found[0][0], lines


def _masked(values: xr.DataArray, recorded_NS: Bools) -> Floats:
    found_NS = np.asarray(values.transpose("member", "step").values, np.float64)
    return np.where(recorded_NS, found_NS, np.nan)


def lost_words(outcome_N: npt.NDArray[np.uint8]) -> list[str]:
    """Return how many trials gave no result and why, one sentence each."""
    told = {
        "diverged": outcome_N == Outcome.DIVERGED,
        "failed": np.isin(outcome_N, [Outcome.FAILED, Outcome.OUT_OF_MEMORY]),
        "have not ended": outcome_N == Outcome.NOT_RUN,
    }
    return [f"{int(hits.sum())} {what}" for what, hits in told.items() if hits.any()]
