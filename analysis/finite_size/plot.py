"""The analysis `finite_size`: curves of several sizes laid upon each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phasecube.analysis.caution import Caution
from phasecube.analysis.estimates.estimated import Estimated
from phasecube.analysis.finite_size.collapse import Collapse, finite_size_collapse
from phasecube.analysis.labels import format_value, in_words, long_name, name_and_unit
from phasecube.analysis.lines.free_places import free_places
from phasecube.analysis.lr.stability import Label, StabilityRule, stable, tail_mean
from phasecube.analysis.maps.phase_diagram import map_axis, sweep_dims
from phasecube.analysis.plots import Plot
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

Floats = npt.NDArray[np.float64]
NAMES = ("x_c", "inverse_nu", "beta_over_nu")


@dataclass(frozen=True)
class Options:
    """What is collapsed; docs/boundaries.md says what each option means."""

    measure: str
    x: str
    size: str
    title: str = ""
    over: tuple[str, ...] = ("seed",)
    select: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None  # share of trials that end at or above it
    above: bool = True
    label: Label | None = None  # share of trials that are stable so
    loss_above: float | None = None
    converged_below: float | None = None
    tail: int = 1
    beta: bool = False
    resamples: int = 200
    expected: Mapping[str, float] = field(default_factory=dict)


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot for each place on the axes that no option names, at most MAX_PLOTS."""
    unknown = sorted(set(options.expected) - set(NAMES))
    if unknown:
        raise StudyError(f"expected takes {', '.join(NAMES)}; it has {', '.join(unknown)}")
    size_dim = map_axis(ds, options.size).dim
    x_dim = _x_dim(ds, options, size_dim)
    members = [d for d in options.over if d in sweep_dims(ds)]
    parts = free_places(ds, (size_dim, x_dim), members, options.select)
    return tuple(
        _plot(place, shown, part, size_dim, x_dim, members, options)
        for place, (shown, part) in enumerate(parts)
    )


def _x_dim(ds: xr.Dataset, options: Options, size_dim: str) -> str:
    """Return the axis that x lies along; x may differ from size to size."""
    if options.x in ds.coords and set(ds[options.x].dims) <= set(sweep_dims(ds)):
        along = [str(d) for d in ds[options.x].dims if d != size_dim and d not in options.select]
        if len(along) == 1:
            return along[0]
    found = map_axis(ds, options.x).dim
    if found == size_dim:
        raise StudyError(f"x = {options.x!r} and size = {options.size!r} are the same axis")
    return found


def _values(ds: xr.Dataset, options: Options) -> tuple[xr.DataArray, str]:
    """Return what is averaged over members, and its name in words."""
    if options.label is not None:
        rule = StabilityRule(
            options.label, options.loss_above, options.converged_below, options.tail
        )
        return stable(ds, options.measure, rule), f"share {options.label.replace('_', ' ')}"
    final = tail_mean(ds, options.measure, options.tail).compute()
    if options.threshold is None:
        return final, f"mean {name_and_unit(ds[options.measure])}"
    holds = final >= options.threshold if options.above else final <= options.threshold
    sign = "≥" if options.above else "≤"
    name = f"share with {long_name(ds[options.measure])} {sign} {format_value(options.threshold)}"
    return holds.astype(np.float64).where(final.notnull()), name


def _numbers(coordinate: xr.DataArray, name: str) -> Floats:
    if coordinate.dtype.kind not in "fiu":
        raise StudyError(f"a collapse along {name!r} needs numbers on that axis")
    return np.asarray(coordinate.values, np.float64)


def _plot(
    place: int,
    shown: Mapping[str, Any],
    part: xr.Dataset,
    size_dim: str,
    x_dim: str,
    members: list[str],
    options: Options,
) -> Plot:
    values, measured = _values(part, options)
    values_LXN = values.transpose(size_dim, x_dim, *members).values
    values_LXN = values_LXN.reshape(*values_LXN.shape[:2], -1)
    x = part[options.x]
    along = xr.broadcast(x, part.outcome.isel(dict.fromkeys(members, 0)))[0]
    x_LX = _numbers(along.transpose(size_dim, x_dim), options.x)
    size_L = _numbers(part[options.size], options.size)
    found = finite_size_collapse(
        size_L, x_LX, values_LXN, beta=options.beta, resamples=options.resamples
    )
    lost = int((part.outcome == Outcome.DIVERGED).sum()) if options.label is None else 0
    cautions = found.cautions
    if lost:
        cautions += (Caution("diverged_left_out", f"{lost} trials diverged and have no value"),)
    caption = _caption(found, options)
    where = in_words(shown)
    x_name, size_name = name_and_unit(x), name_and_unit(part[options.size])

    def figure() -> Any:
        from phasecube.analysis.finite_size.figure import collapse_figure

        return collapse_figure(found, (x_name, measured, size_name), caption, title=where)

    heading = options.title or f"Finite-size collapse of {measured}"
    table = _table(found, shown, int(np.isfinite(values_LXN).sum()), options)
    return Plot(
        f"finite_size_{options.measure}_{place}",
        heading + (f", {where}" if where else ""),
        caption,
        table,
        figure,
        cautions,
    )


def _parameters(found: Collapse) -> dict[str, Estimated]:
    some = (found.x_c, found.inverse_nu, found.beta_over_nu)
    return {n: e for n, e in zip(NAMES, some, strict=True) if e is not None}


def _table(
    found: Collapse, shown: Mapping[str, Any], n_trials: int, options: Options
) -> pd.DataFrame:
    rows = []
    for p, (name, number) in enumerate(_parameters(found).items()):
        wide = found.by_s_plus_one[p]
        less = found.without_smallest
        rows.append(
            {
                **shown,
                "parameter": name,
                "value": number.value,
                "low": number.low,
                "high": number.high,
                "low_s_plus_one": wide.low,
                "high_s_plus_one": wide.high,
                "by_seno": found.seno[p],
                "without_smallest": np.nan if less is None else less[p],
                "expected": options.expected.get(name, np.nan),
            }
        )
    told = "; ".join(map(str, found.cautions))
    return pd.DataFrame(rows).assign(
        quality_s=found.quality,
        seno_p_b=found.seno[-1],
        n_points=found.n_points,
        n_sizes=len(found.curves.size_L),
        n_trials=n_trials,
        warnings=told,
    )


def _caption(found: Collapse, options: Options) -> str:
    words = {"x_c": f"{options.x}_c", "inverse_nu": "1/ν", "beta_over_nu": "β/ν"}
    numbers = []
    for name, number in _parameters(found).items():
        exact = options.expected.get(name)
        told = "" if exact is None else f", expected {exact:g}"
        numbers.append(f"{words[name]} = {number.text()}{told}")
    return (
        f"Left: means over members with their standard errors. Right: the same, scaled. "
        f"{'; '.join(numbers)}: intervals hold 95 % of resampled members. "
        f"S = {found.quality:.2f} over {found.n_points} points."
    ).replace("-", "−")
