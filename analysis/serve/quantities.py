"""The cells of a map for what the page can ask: the estimators of the report on more questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.analysis.estimates.intervals import Estimate, bootstrap, wilson
from phasecube.analysis.grokking import GrokkingRule, Phase, majority
from phasecube.analysis.labels import format_value, long_name, name_and_unit
from phasecube.analysis.maps.cell_look import PHASE_LOOKS, Look
from phasecube.analysis.maps.phase_diagram import (
    CELL_DIMS,
    Panel,
    cell_counts,
    onset_map,
    phase_map,
)
from phasecube.analysis.order_parameters import final_value, onset
from phasecube.analysis.serve.state import STATISTICS, View
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

# Medians taken for the intervals of one map; 10⁷ take half a second of a core.
RESAMPLED = 10_000_000
RESAMPLES = 2000  # of `bootstrap`
LEVELS = {"q10": 0.1, "q25": 0.25, "q75": 0.75, "q90": 0.9}
Kind = Literal["value", "phase", "outcome"]

SETTLED = tuple(o for o in Outcome if o not in (Outcome.NOT_RUN, Outcome.NOT_PLANNED))
# Okabe & Ito hues; lightness falls, and letters and hatches say the same again.
OUTCOME_LOOKS: Mapping[Outcome, Look] = {
    Outcome.DONE: Look("#A9D8F2", "#000000", letter="ok"),
    Outcome.PRUNED: Look("#E69F00", "#000000", letter="P"),
    Outcome.TIMED_OUT: Look("#3B2A6B", "#FFFFFF", letter="T"),
    Outcome.DIVERGED: PHASE_LOOKS[Phase.DIVERGED],
    Outcome.FAILED: PHASE_LOOKS[Phase.LOST],
    Outcome.OUT_OF_MEMORY: Look("#FFFFFF", "#000000", "..", "O"),
    Outcome.NOT_RUN: PHASE_LOOKS[Phase.NOT_RUN],
    Outcome.NOT_PLANNED: PHASE_LOOKS[Phase.NOT_PLANNED],
}


@dataclass(frozen=True)
class Asked:
    """The cells that a view asks for, what they are of, and in words how they were made."""

    kind: Kind
    cells: xr.Dataset
    title: str
    caption: str


def asked(panel: Panel, view: View, rule: GrokkingRule) -> Asked:
    """Return the cells of `panel` for a settled view; StudyError where it needs more said."""
    measure = str(view.measure)
    if view.quantity == "outcome":
        cells = outcome_map(panel)
        return Asked("outcome", cells, "How trials ended", "The commonest outcome; n of N planned.")
    if view.quantity == "phase":
        cells = phase_map(panel, rule)
        said = f"The commonest phase; n of N planned. {cells.attrs['rule']}."
        return Asked("phase", cells, "Grokking phases", said)
    if view.quantity == "onset":
        return _onset(panel, measure, view)
    values = final_value(panel.ds, measure)
    of = "the last record of trials that ended in good order"
    name = f"final {long_name(panel.ds[measure])}"
    if view.quantity == "step":
        values = value_at_step(panel.ds, measure, int(view.step or 0))
        of = f"step {view.step}, of trials that go on or ended later too"
        name = f"{long_name(panel.ds[measure])} at step {view.step}"
    cells = reduced(panel, values.compute(), view, name)
    title = str(cells.value.attrs["long_name"])
    how = cells.attrs["interval"] or "no interval"
    caption = f"{STATISTICS[view.statistic].capitalize()} at {of}; {how}."
    return Asked("value", cells, title[:1].upper() + title[1:], caption)


def _onset(panel: Panel, measure: str, view: View) -> Asked:
    threshold = _threshold(panel, view, "The onset")
    found = onset(panel.ds, measure, threshold, above=view.above)
    label = f"first step with {measure} {_sign(view)} {threshold:g}"
    said = (
        f"Kaplan–Meier median of the {label}. > T: it lies beyond the "
        f"{format_value(float(panel.ds.step[-1]))} steps watched."
    )
    return Asked("value", onset_map(panel, found, label), label[:1].upper() + label[1:], said)


def value_at_step(ds: xr.Dataset, measure: str, step: int) -> xr.DataArray:
    """Return a measure at a recorded step, of all trials that got there, running or ended."""
    place = int(np.flatnonzero(ds.step.values == step)[0])
    values = ds[measure].isel(step=place, drop=True)
    return values.where(ds.n_recorded > place)


def reduced(panel: Panel, values: xr.DataArray, view: View, name: str) -> xr.Dataset:
    """Return value, low, high, n_used and the counts of each cell for values of its trials.

    Median and mean come with the interval of the report where the map is small enough to take
    it while somebody waits, shares with Wilson's, quantiles with none (NaN).
    """
    values_YXN = np.asarray(values.transpose(*CELL_DIMS, "member").values, np.float64)
    used_YX = np.isfinite(values_YXN).sum(-1)
    unit = str(panel.ds[str(view.measure)].attrs.get("units", "1"))
    interval = ""
    if view.statistic == "share":
        threshold = _threshold(panel, view, "A share")
        hits = values_YXN >= threshold if view.above else values_YXN <= threshold
        estimate = wilson(hits.sum(-1), used_YX)
        name, unit, interval = f"share with {name} {_sign(view)} {threshold:g}", "1", "Wilson 95 %"
    elif view.statistic in ("median", "mean") and values_YXN.size * RESAMPLES <= RESAMPLED:
        estimate = bootstrap(values_YXN, "median" if view.statistic == "median" else "mean")
        interval = "bootstrap 95 %" if values_YXN.shape[-1] > 1 else ""
    else:
        estimate = _without_interval(values_YXN, view.statistic)
        if view.statistic in ("median", "mean"):
            interval = "choose a cell for its interval"
    fields = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    attrs = {"long_name": name, "units": unit}
    return xr.Dataset(
        {
            **{n: xr.DataArray(v, dims=CELL_DIMS, attrs=attrs) for n, v in fields.items()},
            "n_used": (CELL_DIMS, used_YX),
            **cell_counts(panel.ds),
        },
        attrs={"statistic": view.statistic, "interval": interval},
    )


def _without_interval(values_YXN: npt.NDArray[np.float64], statistic: str) -> Estimate:
    some_YX = np.isfinite(values_YXN).any(-1)
    level = 0.5 if statistic == "median" else LEVELS.get(statistic)
    value_YX = np.full(some_YX.shape, np.nan)
    found = values_YXN[some_YX]
    if len(found):
        value_YX[some_YX] = (
            np.nanmean(found, -1) if level is None else np.nanquantile(found, level, axis=-1)
        )
    nothing = np.full(some_YX.shape, np.nan)
    return Estimate(value_YX, nothing, nothing)


def outcome_map(panel: Panel) -> xr.Dataset:
    """Return the commonest outcome per cell with its share, and the count of each."""
    found = majority(panel.ds.outcome, ["member"], of=SETTLED)
    return found.rename(phase="outcome").assign(cell_counts(panel.ds))


def outcome_cell(cell: Mapping[str, Any]) -> tuple[Look, str, str]:
    """Return look, text and legend entry of one cell of an outcome map."""
    outcome = Outcome(int(cell["outcome"]))
    look = OUTCOME_LOOKS[outcome]
    key = f"{look.letter} {outcome_words(outcome)}".strip()
    if outcome not in SETTLED:
        return look, "", key
    return look, f"{look.letter}\n{int(cell['count'].max())}/{int(cell['n_planned'])}", key


def outcome_counts(outcome: npt.NDArray[Any]) -> list[tuple[str, int]]:
    """Return (name, count) of the outcomes there are, those not planned left out."""
    n = np.bincount(np.asarray(outcome, np.int64).ravel(), minlength=256)
    order: Sequence[Outcome] = (*SETTLED, Outcome.NOT_RUN)
    return [(outcome_words(o), int(n[o])) for o in order if n[o]]


def outcome_words(outcome: Outcome) -> str:
    """Return how an outcome is written in a sentence."""
    return outcome.name.lower().replace("_", " ")


def _threshold(panel: Panel, view: View, what: str) -> float:
    if view.threshold is None:
        raise StudyError(
            f"{what} needs a threshold of {name_and_unit(panel.ds[str(view.measure)])}: "
            "enter one beside the measure"
        )
    return view.threshold


def _sign(view: View) -> str:
    return "≥" if view.above else "≤"
