"""The analysis `lr_transfer`: loss against learning rate for each width, and where it is least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phasecube.analysis.estimates.intervals import bootstrap
from phasecube.analysis.labels import format_value, in_words, name_and_unit, tick_labels
from phasecube.analysis.lines.arranged import MAX_PLOTS
from phasecube.analysis.lr.stability import capped_loss
from phasecube.analysis.lr.transfer import lr_transfer
from phasecube.analysis.maps.phase_diagram import coords_at, map_axis, place_on, sweep_dims
from phasecube.analysis.plots import Plot
from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    measure: str
    x: str
    by: str | None = None
    lr: str = "lr"
    title: str = ""
    over: tuple[str, ...] = ("seed",)
    select: Mapping[str, Any] = field(default_factory=dict)
    tail: int = 1
    scale: Literal["linear", "log"] = "log"


@dataclass(frozen=True)
class _Arm:
    """One value of `by`: `loss_XL` with its interval, and what `lr_transfer` found."""

    label: str
    places: Mapping[str, Any]
    loss_XL: Floats
    low_XL: Floats
    high_XL: Floats
    found: xr.Dataset


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot for each place on the axes that no option names, at most MAX_PLOTS."""
    side = map_axis(ds, options.x)
    by_dim = map_axis(ds, options.by).dim if options.by else None
    if by_dim in {side.dim, options.lr}:
        raise StudyError(f"by = {options.by!r} is the axis of x or of the learning rates")
    fixed_at = dict(place_on(ds, name, value) for name, value in options.select.items())
    named = [n for n in (side.dim, options.lr, by_dim) if n in fixed_at]
    if named:
        raise StudyError(f"select fixes {', '.join(map(str, named))}, which another option draws")
    here = ds.isel(fixed_at)
    common: Any = {"x": options.x, "lr": options.lr, "over": options.over, "tail": options.tail}
    found = lr_transfer(here, options.measure, **common)
    loss = capped_loss(here, options.measure, lr=options.lr, tail=options.tail)
    members = [d for d in options.over if d in loss.dims]
    free = [d for d in sweep_dims(here) if d not in {side.dim, options.lr, by_dim, *members}]
    plots: list[Plot] = []
    for where in islice(product(*(range(here.sizes[d]) for d in free)), MAX_PLOTS):
        place = dict(zip(free, where, strict=True))
        own: list[dict[str, int]] = (
            [{by_dim: i} for i in range(here.sizes[by_dim])] if by_dim else [{}]
        )
        arms = [
            _arm(
                loss.isel({**place, **at}), found.isel({**place, **at}), members, side.dim, options
            )
            for at in own
        ]
        shown = coords_at(ds, {**fixed_at, **{d: i for d, i in place.items() if ds.sizes[d] > 1}})
        plots.append(_plot(len(plots), shown, arms, options, ds))
    return tuple(plots)


def _arm(
    loss: xr.DataArray,
    found: xr.Dataset,
    members: Sequence[str],
    dim: str,
    options: Options,
) -> _Arm:
    order = np.argsort(found[options.x].values)
    values = loss.isel({dim: order}).sortby(options.lr).transpose(dim, options.lr, *members)
    mean = bootstrap(values.values.reshape(*values.shape[:2], -1), "mean")
    places = {options.by: found[options.by].item()} if options.by else {}
    label = format_value(places[options.by]) if options.by else ""
    found = found.isel({dim: order})
    return _Arm(label, places, mean.value, mean.low, mean.high, found)


def _plot(
    place: int, shown: Mapping[str, Any], arms: Sequence[_Arm], options: Options, ds: xr.Dataset
) -> Plot:
    table = pd.concat([_table(arm, options) for arm in arms], ignore_index=True)
    caption = _caption(arms, options)
    lr_L = np.sort(np.asarray(ds[options.lr].values, np.float64))
    where = in_words(shown)

    def figure() -> Any:
        from phasecube.analysis.lr.transfer_figure import Curves, transfer_figure

        names = tick_labels(arms[0].found[options.x].values)
        curves = [
            Curves(
                *(arm.label, arm.loss_XL, arm.low_XL, arm.high_XL),
                *(arm.found[n].values for n in ("optimum", "optimum_low", "optimum_high")),
                *(arm.found[n].values for n in ("best_loss", "at_edge")),
            )
            for arm in arms
        ]
        return transfer_figure(
            curves,
            lr_L,
            np.asarray(arms[0].found[options.x].values, np.float64),
            [f"{options.x} = {name}" for name in names],
            labels=(name_and_unit(ds[options.lr]), measured, name_and_unit(ds[options.x])),
            caption=caption,
            title=where,
            by=options.by or "",
            log=options.scale == "log",
        )

    measured = name_and_unit(ds[options.measure])
    heading = options.title or f"Best learning rate along {name_and_unit(ds[options.x])}"
    name = f"lr_transfer_{options.measure}_{place}"
    return Plot(name, heading + (f", {where}" if where else ""), caption, table, figure)


def _table(arm: _Arm, options: Options) -> pd.DataFrame:
    found = arm.found
    n = found.sizes[found.optimum.dims[0]]
    columns: dict[str, Any] = {name: [value] * n for name, value in arm.places.items()}
    columns[options.x] = found[options.x].values
    names = ("optimum", "best_loss")
    for name in (*(f"{m}{end}" for m in names for end in ("", "_low", "_high")), "at_edge"):
        columns[name] = found[name].values
    columns["n_members"] = found.n_members.values.astype(int)
    return pd.DataFrame(columns)


def _caption(arms: Sequence[_Arm], options: Options) -> str:
    n = int(max(arm.found.n_members.max() for arm in arms))
    x = arms[0].found[options.x].values
    said = [
        f"Mean of {n} trials with its 95 % bootstrap interval, a diverged one counting as its "
        f"start. Stars and the last panel: vertex of the parabola through the least mean and its "
        f"neighbours in log {options.lr}; bars hold 95 % of resampled trials and what the "
        f"parabola leaves open. Drift of log2 {options.lr} from {options.x} {format_value(x[0])} "
        f"to {format_value(x[-1])}:"
    ]
    told = []
    for arm in arms:
        drift, low, high = (float(arm.found[f"drift{end}"]) for end in ("", "_low", "_high"))
        text = f"{drift:+.2f} (95 % {low:+.2f} to {high:+.2f})"
        told.append(
            (f"{arm.label}: " if arm.label else "")
            + (text if np.isfinite(drift) else "not known, an optimum lies past the axis")
        )
    edges = sum(int((arm.found.at_edge != 0).sum()) for arm in arms)
    warning = f" Optima past the end of the axis, drawn as arrows: {edges}." if edges else ""
    return (said[0] + " " + "; ".join(told) + "." + warning).replace("-", "−")
