"""Grokking: when a trial memorised, when it generalised, and which of four phases it is in.

    t_mem   first record with the training measure past its threshold
    t_grok  first record with the validation measure past its threshold
    confusion       t_mem never came
    memorisation    t_mem came, t_grok never
    comprehension   both, and t_grok is close behind
    grokking        both, and t_grok comes late

Close behind: t_grok / max(t_mem, first record interval) <= max_ratio, or, with
`max_delay`, t_grok - t_mem <= max_delay. "Never" is "not within the trial's steps". A
trial that diverged, failed or has not run is in no phase and says so. Power et al. 2022,
arXiv:2201.02177; the four phases: Liu et al. 2022, arXiv:2205.10343.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
import xarray as xr

from phasecube.analysis.estimates.intervals import wilson
from phasecube.analysis.order_parameters import (
    Onset,
    Seen,
    curve,
    delay,
    first_interval,
    initial_value,
    onset,
    ratio,
)
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome


class Phase(IntEnum):
    """The phase of a trial, or why it has none."""

    NOT_PLANNED = 0
    NOT_RUN = 1
    COMPREHENSION = 2
    GROKKING = 3
    MEMORISATION = 4
    CONFUSION = 5
    DIVERGED = 6
    LOST = 7


SETTLED_PHASES = (
    Phase.COMPREHENSION,
    Phase.GROKKING,
    Phase.MEMORISATION,
    Phase.CONFUSION,
    Phase.DIVERGED,
    Phase.LOST,
)


def flags_of(kinds: type[IntEnum]) -> dict[str, Any]:
    """Return the CF attributes of an array of such kinds."""
    return {
        "flag_values": np.array([int(kind) for kind in kinds], np.uint8),
        "flag_meanings": " ".join(kind.name for kind in kinds),
    }


@dataclass(frozen=True)
class GrokkingRule:
    """What counts as memorised and generalised.

    With `above` the measures must reach their thresholds from below (accuracies), without
    it from above (losses). `relative_to`: "initial" takes a threshold as a share of each
    trial's first recorded value of the same measure, so that 0.02 is 2 % of it.
    """

    train: str = "train_accuracy"
    validation: str = "val_accuracy"
    train_threshold: float = 0.95
    validation_threshold: float = 0.95
    above: bool = True
    relative_to: Literal["none", "initial"] = "none"
    sustained: bool = False
    max_ratio: float = 3.0
    max_delay: float | None = None

    def sentence(self) -> str:
        """Return the rule in words, for captions."""
        sign = ("≥" if self.above else "≤") + (" sustained at" if self.sustained else "")
        of = " of its first value" if self.relative_to == "initial" else ""
        close = (
            f"t_grok / t_mem ≤ {self.max_ratio:g}"
            if self.max_delay is None
            else f"t_grok − t_mem ≤ {self.max_delay:g} steps"
        )
        return (
            f"t_mem: {self.train} {sign} {self.train_threshold:g}{of}; "
            f"t_grok: {self.validation} {sign} {self.validation_threshold:g}{of}; "
            f"comprehension: {close}"
        )


def onsets(ds: xr.Dataset, rule: GrokkingRule) -> tuple[Onset, Onset]:
    """Return (t_mem, t_grok) of every trial."""

    def one(measure: str, threshold: float) -> Onset:
        level = (
            threshold * initial_value(ds, measure) if rule.relative_to == "initial" else threshold
        )
        return onset(ds, measure, level, above=rule.above, sustained=rule.sustained)

    return (
        one(rule.train, rule.train_threshold),
        one(rule.validation, rule.validation_threshold),
    )


def grokking(ds: xr.Dataset, rule: GrokkingRule | None = None) -> xr.Dataset:
    """Return t_mem, t_grok, delay, ratio (each with _after and _seen) and phase per trial."""
    rule = rule or GrokkingRule()
    trials = [d for d in curve(ds, rule.train).dims if d != "step"]
    ds = ds.transpose(*trials, ...)  # one order of dims: the masks below are plain arrays
    t_mem, t_grok = onsets(ds, rule)
    lag = delay(t_mem, t_grok)
    relative = ratio(t_mem, t_grok, log_interval=first_interval(ds))
    late = relative.step > rule.max_ratio if rule.max_delay is None else lag.step > rule.max_delay
    values = np.select(
        [
            # How a trial ended goes before what it reached on the way.
            (ds.outcome == Outcome.NOT_PLANNED).values,
            (ds.outcome == Outcome.DIVERGED).values,
            ds.outcome.isin([Outcome.FAILED, Outcome.OUT_OF_MEMORY]).values,
            # Still running, so in no phase yet, unless both onsets have been seen.
            ((t_mem.seen == Seen.NOT_RUN) | (t_grok.seen == Seen.NOT_RUN)).values,
            (t_mem.observed & t_grok.observed & late).values,
            (t_mem.observed & t_grok.observed).values,
            t_mem.observed.values,
        ],
        [
            Phase.NOT_PLANNED,
            Phase.DIVERGED,
            Phase.LOST,
            Phase.NOT_RUN,
            Phase.GROKKING,
            Phase.COMPREHENSION,
            Phase.MEMORISATION,
        ],
        Phase.CONFUSION,
    )
    phase = t_mem.seen.copy(data=values.astype(np.uint8))
    return xr.merge(
        [
            t_mem.dataset("t_mem", f"first step with {rule.train} past its threshold"),
            t_grok.dataset("t_grok", f"first step with {rule.validation} past its threshold"),
            lag.dataset("delay", "t_grok - t_mem"),
            relative.dataset("ratio", "t_grok / t_mem", unit="1"),
            phase.assign_attrs(
                long_name="phase", rule=rule.sentence(), **flags_of(Phase)
            ).to_dataset(name="phase"),
        ],
        combine_attrs="drop_conflicts",
        compat="override",
        join="exact",
    )


def majority(
    phase: xr.DataArray,
    over: Sequence[Hashable],
    *,
    of: Sequence[IntEnum] = SETTLED_PHASES,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Return each cell's commonest phase over the dims `over`, and how sure it is.

    Variables: phase; share of the settled trials in it with share_low and share_high
    (Wilson); n_settled; count (over a new dim `of_phase`). Of phases equally common the
    first of `of` is named, the phases of settled trials. A cell without a settled trial is
    NOT_RUN, or NOT_PLANNED if it has no trial at all.
    """
    kinds = type(of[0])
    count = xr.concat([(phase == p).sum(over) for p in of], dim="of_phase")
    count = count.transpose(..., "of_phase").assign_coords(of_phase=[p.name.lower() for p in of])
    n_settled = count.sum("of_phase")
    best = count.argmax("of_phase")
    named = xr.DataArray(np.array(of, np.uint8), dims="of_phase")[best]
    planned = (phase != kinds["NOT_PLANNED"]).any(over)
    empty = xr.full_like(planned, kinds["NOT_RUN"], np.uint8).where(planned, kinds["NOT_PLANNED"])
    hits = count.max("of_phase")
    share = wilson(hits.values, n_settled.values, confidence=confidence)
    dims = hits.dims
    return xr.Dataset(
        {
            "phase": named.drop_vars("of_phase", errors="ignore")
            .where(n_settled > 0, empty)
            .astype(np.uint8)
            .assign_attrs(long_name="commonest phase", **flags_of(kinds)),
            "share": (dims, share.value, {"long_name": "share of settled trials in it"}),
            "share_low": (dims, share.low),
            "share_high": (dims, share.high),
            "n_settled": n_settled,
            "count": count,
        }
    )


@dataclass(frozen=True)
class DelayLaw:
    """log t_grok = slope * log(lr * weight_decay) + one intercept per group of trials.

    A group shares every axis but those of lr, weight_decay and the seeds, so that a
    dependence on another axis does not pass for one on the rate. `low`, `high`: interval
    of the slope at `confidence` under independent errors; r_squared is within groups.
    `n_censored` trials had not grokked by their end; they are left out, which pulls the
    slope towards 0 where they gather at small rates.
    """

    slope: float
    low: float
    high: float
    r_squared: float
    n: int
    n_groups: int
    n_censored: int
    confidence: float


def delay_law(
    t_grok: Onset,
    lr: xr.DataArray,
    weight_decay: xr.DataArray,
    *,
    over: Sequence[Hashable] = ("seed",),
    confidence: float = 0.95,
) -> DelayLaw:
    """Fit the delay law by least squares within groups.

    Raises StudyError where fewer than 3 trials, or no group with 2 rates, were seen to grok.
    """
    from scipy import stats

    rate_grid, step_grid, censored_grid = xr.broadcast(
        lr * weight_decay, t_grok.step, t_grok.censored
    )
    within = [d for d in step_grid.dims if d in (lr * weight_decay).dims or d in over]
    others = [d for d in step_grid.dims if d not in within]
    # One row per group, one column per trial in it.
    rate_GT, step_GT, censored_GT = (
        a.transpose(*others, *within).values.reshape(int(np.prod([a.sizes[d] for d in others])), -1)
        for a in (rate_grid, step_grid, censored_grid)
    )
    x_GT = np.log(np.where(np.isfinite(step_GT) & (step_GT > 0) & (rate_GT > 0), rate_GT, np.nan))
    usable = np.array([np.unique(x[~np.isnan(x)]).size > 1 for x in x_GT])
    n, n_groups = int((~np.isnan(x_GT[usable])).sum()), int(usable.sum())
    if n - n_groups < 2:
        raise StudyError(
            "the delay law needs 3 trials that grokked at 2 different lr * weight_decay > 0 "
            f"with all other axes alike, found {n} trials in {n_groups} such groups"
        )
    x_GT, y_GT = x_GT[usable], np.log(np.where(np.isnan(x_GT), 1.0, step_GT))[usable]
    y_GT = np.where(np.isnan(x_GT), np.nan, y_GT)
    x_GT = x_GT - np.nanmean(x_GT, axis=1, keepdims=True)
    y_GT = y_GT - np.nanmean(y_GT, axis=1, keepdims=True)
    slope = float(np.nansum(x_GT * y_GT) / np.nansum(x_GT**2))
    unexplained = float(np.nansum((y_GT - slope * x_GT) ** 2))
    free = n - n_groups - 1
    error = np.sqrt(unexplained / free / np.nansum(x_GT**2))
    half = float(stats.t.ppf(0.5 + confidence / 2, free) * error)
    total = float(np.nansum(y_GT**2))
    return DelayLaw(
        slope,
        slope - half,
        slope + half,
        1 - unexplained / total if total > 0 else 1.0,
        n,
        n_groups,
        int((censored_GT.astype(bool) & (rate_GT > 0)).sum()),
        confidence,
    )
