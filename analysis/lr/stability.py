"""Over which learning rates a model trains: three labels of a run, sensitivity, the optimum.

Three questions that one word, "stable", would mix up:

- not_diverged: the run ended in good order, with its measure not above a bound;
- converged: its measure has also come down to a bound;
- locally_stable: a run that was started beside a minimum came back: its measure (a
  distance) is below its own first record.

Each gives a boundary of its own (`along_axis.upper_boundary`). On a quartic the last two end
at lr = 1 and the first at lr = 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from phasecube.analysis.estimates.intervals import bootstrap
from phasecube.analysis.order_parameters import (
    IN_ORDER,
    curve,
    final_value,
    initial_value,
    taken,
)
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

Label = Literal["not_diverged", "converged", "locally_stable"]


@dataclass(frozen=True)
class StabilityRule:
    """When a run counts as stable. `tail` records at the end of a run are averaged."""

    label: Label = "not_diverged"
    loss_above: float | None = None  # not_diverged: None leaves it to the run's outcome
    converged_below: float | None = None
    tail: int = 1

    def sentence(self, measure: str) -> str:
        """Return the rule in words that follow "trials that"."""
        of = measure if self.tail == 1 else f"{measure} (mean of the last {self.tail} records)"
        if self.label == "locally_stable":
            return f"did not diverge and ended with a {of} below its first"
        bound = self.converged_below if self.label == "converged" else self.loss_above
        return "did not diverge" + (
            "" if bound is None else f" and ended with a {of} of at most {bound:g}"
        )


def tail_mean(ds: xr.Dataset, measure: str, tail: int) -> xr.DataArray:
    """Return the mean of the last `tail` records of each trial that ended in good order.

    Records are those at which `measure` was taken. NaN for other trials. -inf, as of a logarithm
    that underflowed, stays -inf.
    """
    if tail == 1:
        return final_value(ds, measure).astype(np.float64)  # reads one record, not the curves
    ds = taken(ds, measure)
    values = curve(ds, measure)
    position_S = xr.DataArray(np.arange(ds.sizes["step"]), dims="step")
    if values.chunks is not None:
        position_S = position_S.chunk(step=values.chunksizes["step"])
    mine = (position_S < ds.n_recorded) & (position_S >= ds.n_recorded - tail)
    mean = values.astype(np.float64).where(mine).mean("step", skipna=True)
    in_order = ds.outcome.isin(IN_ORDER) & (ds.n_recorded > 0)
    return mean.where(in_order).assign_attrs(values.attrs)


def stable(ds: xr.Dataset, measure: str, rule: StabilityRule | None = None) -> xr.DataArray:
    """Return 1 for each trial that is stable by the rule, 0 for one that is not.

    NaN where a trial has not ended, was not planned, failed or ran out of memory. Raises
    StudyError where the rule lacks its bound.
    """
    rule = rule or StabilityRule()
    good = ds.outcome.isin(IN_ORDER)
    known = good | (ds.outcome == Outcome.DIVERGED)
    if rule.label == "converged":
        if rule.converged_below is None:
            raise StudyError('label = "converged" needs converged_below: come down to what?')
        good = good & (tail_mean(ds, measure, rule.tail) <= rule.converged_below)
    elif rule.label == "locally_stable":
        good = good & (tail_mean(ds, measure, rule.tail) < initial_value(ds, measure))
    elif rule.loss_above is not None:
        good = good & (tail_mean(ds, measure, rule.tail) <= rule.loss_above)
    found: xr.DataArray = good.astype(np.float64).where(known).compute()
    return found.rename("stable").assign_attrs(long_name="stable", units="1")


def capped_loss(ds: xr.Dataset, measure: str, *, lr: str = "lr", tail: int = 1) -> xr.DataArray:
    """Return the final loss of each trial, at most its first; that one where it diverged.

    The final loss is the mean of the last `tail` records; NaN where a trial has not ended
    in good order and did not diverge either.
    """
    final = tail_mean(ds, measure, tail)
    start = initial_value(ds, measure).astype(np.float64)
    # A run that diverged before its first record starts as its neighbours do.
    start = start.where(np.isfinite(start)).fillna(start.where(np.isfinite(start)).max(lr))
    final = final.where(~(ds.outcome == Outcome.DIVERGED), start)
    return final.where(~(final > start), start)  # NaN, not ended, stays NaN


def lr_sensitivity(
    ds: xr.Dataset,
    measure: str,
    *,
    lr: str = "lr",
    over: Sequence[str] = ("seed",),
    tail: int = 1,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Return how much is lost by a wrong learning rate, and which one is best, per slice.

    With l(lr) the final loss (mean of the last `tail` records), l0 that of the first
    record, a diverged run counting as l0, and l* = min l over the axis:

    - sensitivity: the mean of min(l, l0) - l* over log lr from lr_first to lr_last. Each
      value of the axis stands for its own cell in log lr, so a geometric axis gives the
      plain mean. It depends on that range: never compare two of different ranges.
    - sensitivity_up: the same over the values from the best on. Short runs are
      under-trained at small learning rates; this part leaves that out.
    - optimum: the lr of least mean loss over the members (capped at l0);
      optimum_low, _high hold the neighbours on the axis and the bootstrap's interval.
      at_edge: -1, 1 where it is the first or last value, so that the true one may lie
      beyond; 0 inside.
    - best_loss: the mean over members of the loss at the optimum.

    `_low` and `_high` are bootstrap intervals over the members whose every learning rate
    has ended (n_members). Reference: Wortsman et al. 2023, arXiv:2309.14322; the upper part
    is ours. Raises StudyError where `lr` is no axis of at least 2 positive numbers.
    """
    at_L, order_L = learning_rates(ds, lr)
    capped = capped_loss(ds, measure, lr=lr, tail=tail)
    members = [d for d in over if d in capped.dims]
    slices = [str(d) for d in capped.dims if d != lr and d not in members]
    values = capped.transpose(*slices, *members, lr).compute()
    shape = values.shape[: len(slices)]
    loss_CNL = values.values.reshape(int(np.prod(shape)), -1, len(at_L))[..., order_L]
    loss_CNL = np.where(np.isnan(loss_CNL).any(-1, keepdims=True), np.nan, loss_CNL)

    weight_L = _cells(np.log(at_L))
    best_CN = np.where(np.isnan(loss_CNL).any(-1), 0, loss_CNL.argmin(-1))
    excess_CNL = loss_CNL - np.take_along_axis(loss_CNL, best_CN[..., None], -1)
    upper_CNL = np.arange(len(at_L)) >= best_CN[..., None]
    whole = (excess_CNL * weight_L).sum(-1) / weight_L.sum()
    upper = (excess_CNL * weight_L * upper_CNL).sum(-1) / (weight_L * upper_CNL).sum(-1)
    found: dict[str, np.ndarray] = {}
    for name, per_member in (("sensitivity", whole), ("sensitivity_up", upper)):
        estimate = bootstrap(per_member, "mean", confidence=confidence)
        found |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    found |= _optimum(loss_CNL, at_L, confidence)
    unit = str(ds[measure].attrs.get("units", "1"))
    lr_unit = str(ds[lr].attrs.get("units", "1"))
    units = {"optimum": lr_unit, "at_edge": "1", "n_members": "1"}
    kept = {str(n): c for n, c in values.coords.items() if set(c.dims) <= set(slices)}
    return xr.Dataset(
        {
            name: (
                slices,
                np.asarray(v).reshape(shape),
                {"units": units.get(name.removesuffix("_low").removesuffix("_high"), unit)},
            )
            for name, v in found.items()
        },
        kept,
        {"lr": lr, "lr_first": at_L[0], "lr_last": at_L[-1], "measure": measure},
    )


def learning_rates(ds: xr.Dataset, lr: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of the axis in rising order, and their places on it.

    Raises StudyError where it is no axis of at least 2 positive numbers.
    """
    if lr not in ds.dims or lr not in ds.coords or ds[lr].dtype.kind not in "fiu":
        axes = ", ".join(str(d) for d in ds.outcome.dims)
        raise StudyError(f"{lr!r} is no axis of numbers; the study has {axes}")
    values = np.asarray(ds[lr].values, np.float64)
    if len(values) < 2 or (values <= 0).any():
        raise StudyError(f"the axis {lr!r} needs at least 2 values, all above 0")
    order = np.argsort(values)
    return values[order], order


def _cells(place_L: np.ndarray) -> np.ndarray:
    """Return the width of each value's cell; the outermost reach as far out as in."""
    gaps = np.diff(place_L)
    width_L: np.ndarray = (np.append(gaps[:1], gaps) + np.append(gaps, gaps[-1:])) / 2
    return width_L


def _optimum(loss_CNL: np.ndarray, at_L: np.ndarray, confidence: float) -> dict[str, np.ndarray]:
    n_slices, n_lr = len(loss_CNL), len(at_L)
    whole_CN = ~np.isnan(loss_CNL).any(-1)
    best_C, low_C, high_C = (np.full(n_slices, -1) for _ in range(3))
    loss_C = np.full(n_slices, np.nan)
    rng = np.random.default_rng(0)
    tail = (1 - confidence) / 2
    for c in np.flatnonzero(whole_CN.any(-1)):
        mine_NL = loss_CNL[c, whole_CN[c]]
        mean_L = mine_NL.mean(0)
        best_C[c], loss_C[c] = mean_L.argmin(), mean_L.min()
        low_C[c], high_C[c] = max(best_C[c] - 1, 0), min(best_C[c] + 1, n_lr - 1)
        if len(mine_NL) > 1:
            drawn_BN = rng.integers(len(mine_NL), size=(1000, len(mine_NL)))
            places_B = mine_NL[drawn_BN].mean(1).argmin(-1)
            low_C[c] = min(low_C[c], np.quantile(places_B, tail, method="lower"))
            high_C[c] = max(high_C[c], np.quantile(places_B, 1 - tail, method="higher"))
    at_or_nan = np.concatenate([at_L, [np.nan]])
    return {
        "optimum": at_or_nan[best_C],
        "optimum_low": at_or_nan[low_C],
        "optimum_high": at_or_nan[high_C],
        "at_edge": np.where(best_C == n_lr - 1, 1, np.where(best_C == 0, -1, 0)),
        "best_loss": loss_C,
        "n_members": whole_CN.sum(-1),
    }
