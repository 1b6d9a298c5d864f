"""Entropy collapse of a policy, trial by trial: when, how early, at which reward, how it ended.

    t_collapse   first record with H <= share * H(0), right-censored where it did not come
    drop_spent   share of the whole fall of H that the first twelfth of the steps spends
    at_reward    H at the first record with R >= learnt: the frontier
    labels       collapsed without reward, collapsed with it, healthy, active, stalled

H is the entropy of a token, R the reward. A policy whose first H is below FLOOR is
deterministic: nothing of it can collapse, and every number here is NaN. On the frontier a
method that keeps entropy is told from one that is merely slow. The fall of entropy and the
trade for reward: Cui et al. 2025, arXiv:2505.22617.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import xarray as xr

from phasecube.analysis.entropy.stability import RATIO_STD, SHARE, thrown_about
from phasecube.analysis.grokking import flags_of
from phasecube.analysis.order_parameters import (
    IN_ORDER,
    Onset,
    curve,
    final_value,
    initial_value,
    onset,
    taken,
)
from phasecube.engine.record import Outcome

FLOOR = 1e-3  # nat: below it a policy is deterministic
FALL, FALL_SHARE, FALL_ERRORS = 0.05, 1 / 3, 6.0  # of the reward: no noise, no small dip
NOISE = ("reward_error", "ratio_std")  # measures read where there are, to tell the unstable


class Label(IntEnum):
    """What became of a trial's entropy and reward, or why that is not known."""

    NOT_PLANNED = 0
    NOT_RUN = 1
    HEALTHY = 2
    COLLAPSED_LEARNT = 3  # COL+
    ACTIVE = 4
    COLLAPSED = 5  # COL-
    STALLED = 6
    UNSTABLE = 7
    DETERMINISTIC = 8  # from the start
    DIVERGED = 9
    LOST = 10


SETTLED_LABELS = tuple(Label)[2:]


@dataclass(frozen=True)
class EntropyRule:
    """What counts as collapsed, learnt and active; the measures that are read.

    `collapse` is a share of a trial's first entropy, `learnt` a reward, `active` a multiple of
    its first reward; the first record is that at or after `from_step`.
    """

    reward: str = "reward"
    entropy: str = "entropy"
    collapse: float = 0.1
    learnt: float = 0.9
    active: float = 2.0
    from_step: int = 0

    def sentence(self) -> str:
        """Return the rule in words, for captions."""
        gone, learnt = f"H < {self.collapse:g} H(0)", f"R > {self.learnt:g}"
        begun = f", H(0) and R(0) those of step {self.from_step}" if self.from_step else ""
        return (
            f"At the last record, with H the {self.entropy} and R the {self.reward}{begun}: "
            f"collapsed without reward: {gone} and not {learnt}; collapsed with reward: {gone} "
            f"and {learnt}; healthy: {learnt} and not {gone}; active: neither, "
            f"R > {self.active:g} R(0); stalled: none of these. Unstable, instead of any that has "
            f"not learnt: R fell by more than 1/3 of its range and {FALL:g}, or by "
            f"{FALL_ERRORS:g} standard errors where they are more, or over {100 * SHARE:g} % of "
            f"the records had ratios of a standard deviation above {RATIO_STD:g}"
        )


def since(ds: xr.Dataset, from_step: int) -> xr.Dataset:
    """Return the study without the records before `from_step`, such as those of a warm start.

    A trial that ended before it has no records.
    """
    n_before = int(np.searchsorted(ds.step.values, from_step))
    if not n_before:
        return ds
    later = ds.isel(step=slice(n_before, None))
    return later.assign(n_recorded=(ds.n_recorded - n_before).clip(min=0))


def collapse_time(ds: xr.Dataset, entropy: str = "entropy", *, share: float = 0.1) -> Onset:
    """Return the first step with entropy at or below `share` of its first value.

    Without a time, observed or censored, for a trial that was deterministic from the start.
    """
    start = initial_value(ds, entropy)
    found = onset(ds, entropy, share * start, above=False)
    begun = (start >= FLOOR).compute()
    return Onset(found.step.where(begun), found.after.where(begun), found.seen)


def drop_spent(ds: xr.Dataset, entropy: str = "entropy", *, by: float = 1 / 12) -> xr.DataArray:
    """Return the share of H(0) - H(end) that was spent after the first `by` of a trial's steps.

    Linear between records. NaN where entropy did not fall, was nothing to begin with, or the
    trial did not end in good order. Published for language models: about 0.73 of the entropy
    in the first 1/12 of the steps (Cui et al. 2025).
    """
    ds = taken(ds, entropy)
    values = curve(ds, entropy).transpose(..., "step")
    last = final_value(ds, entropy).transpose(*values.dims[:-1])
    step_S = np.asarray(ds.step.values, np.float64)
    curves_NS = np.asarray(values.values, np.float64).reshape(-1, len(step_S))
    recorded_N = ds.n_recorded.transpose(*values.dims[:-1]).values.ravel()
    found_N = np.full(len(curves_NS), np.nan)
    for place, (value_S, n, end) in enumerate(
        zip(curves_NS, recorded_N, np.asarray(last.values, np.float64).ravel(), strict=True)
    ):
        if n < 2 or not np.isfinite(end) or value_S[0] < FLOOR or value_S[0] <= end:
            continue
        at = step_S[0] + by * (step_S[n - 1] - step_S[0])
        found_N[place] = (value_S[0] - np.interp(at, step_S[:n], value_S[:n])) / (value_S[0] - end)
    return last.copy(data=found_N.reshape(last.shape)).assign_attrs(
        long_name=f"share of the fall of {entropy} in the first {by:.3g} of the steps", units="1"
    )


def entropy_at_reward(
    ds: xr.Dataset, reward: str = "reward", entropy: str = "entropy", *, learnt: float = 0.9
) -> xr.DataArray:
    """Return the entropy at the first record with reward at or above `learnt`, else NaN."""
    came = onset(ds, reward, learnt)
    values = curve(ds, entropy)
    place = np.searchsorted(ds.step.values, came.step.fillna(ds.step.values[0]).values)
    found = values.isel(step=came.step.copy(data=place).drop_vars("step", errors="ignore"))
    return (
        found.drop_vars("step")
        .where(came.observed)
        .assign_attrs(
            long_name=f"{entropy} at the first {reward} ≥ {learnt:g}",
            units=str(values.attrs.get("units", "1")),
        )
    )


def unstable(ds: xr.Dataset, rule: EntropyRule | None = None) -> xr.DataArray:
    """Return which trials lost what they had: their reward fell, or their ratios went far off.

    The fall is the largest from a reward reached before, told from noise by the measure
    `reward_error` where it was recorded; of the ratios `ratio_std` tells, where it was
    (`entropy_stability.thrown_about`).
    """
    rule = rule or EntropyRule()
    ds = since(ds, rule.from_step)
    values = curve(ds, rule.reward).transpose(..., "step")
    inside = (
        np.arange(ds.sizes["step"]) < ds.n_recorded.transpose(*values.dims[:-1]).values[..., None]
    )
    values_S = np.where(inside, np.asarray(values.values, np.float64), np.nan)
    reached_S = np.fmax.accumulate(values_S, axis=-1)
    known = np.isfinite(values_S).any(-1)
    fall, span = np.zeros(known.shape), np.zeros(known.shape)
    fall[known] = np.nanmax((reached_S - values_S)[known], axis=-1)
    span[known] = np.nanmax(values_S[known], -1) - np.nanmin(values_S[known], -1)
    limit = np.maximum(FALL, FALL_SHARE * span)
    if "reward_error" in ds:
        error = ds["reward_error"].transpose(*values.dims).max("step").fillna(0.0).values
        limit = np.maximum(limit, FALL_ERRORS * np.asarray(error, np.float64))
    lost = fall > limit
    if "ratio_std" in ds:
        lost |= thrown_about(ds).transpose(*values.dims[:-1]).values
    return values.isel(step=0, drop=True).copy(data=lost).assign_attrs(long_name="unstable")


def labels(ds: xr.Dataset, rule: EntropyRule | None = None) -> xr.DataArray:
    """Return the `Label` of every trial; `EntropyRule.sentence` says where they begin and end.

    A trial that was pruned or timed out is judged by its last record, as any other that ended
    in good order.
    """
    rule = rule or EntropyRule()
    ds = since(ds, rule.from_step)
    dims = curve(ds, rule.reward).transpose(..., "step").dims[:-1]
    first_h, last_h = initial_value(ds, rule.entropy), final_value(ds, rule.entropy)
    first_r, last_r = initial_value(ds, rule.reward), final_value(ds, rule.reward)
    collapsed = last_h < rule.collapse * first_h
    learnt = last_r > rule.learnt
    lost = unstable(ds, rule)
    ended = ds.outcome.isin(IN_ORDER) & last_h.notnull() & last_r.notnull()
    cases: list[tuple[xr.DataArray, Label]] = [
        (ds.outcome == Outcome.NOT_PLANNED, Label.NOT_PLANNED),
        (ds.outcome == Outcome.NOT_RUN, Label.NOT_RUN),
        (ds.outcome == Outcome.DIVERGED, Label.DIVERGED),
        (~ended, Label.LOST),
        (first_h < FLOOR, Label.DETERMINISTIC),
        (learnt & collapsed, Label.COLLAPSED_LEARNT),
        (learnt, Label.HEALTHY),
        (lost, Label.UNSTABLE),
        (collapsed, Label.COLLAPSED),
        (last_r > rule.active * first_r, Label.ACTIVE),
    ]
    holds = [np.asarray(case.transpose(*dims).values, bool) for case, _ in cases]
    found = np.select(holds, [label for _, label in cases], Label.STALLED)
    return lost.copy(data=found.astype(np.uint8)).assign_attrs(
        long_name="label of entropy and reward",
        rule=rule.sentence(),
        **flags_of(Label),
    )
