"""The analysis `boundary_dimension`: how rough a boundary is, and the maps that it is drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phasecube.analysis.boundary.dimension import (
    FINEST,
    SMOOTH_BELOW,
    Roughness,
    boundary_dimension,
)
from phasecube.analysis.labels import in_words, name_and_unit
from phasecube.analysis.lr.stability import Label, StabilityRule, stable
from phasecube.analysis.maps.phase_diagram import coords_at, map_axis, place_on, sweep_dims
from phasecube.analysis.order_parameters import curve
from phasecube.analysis.plots import Plot
from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]
MAX_MAPS = 6
MOST = 1e6  # what a loss counts at most, in units of the first

VERDICTS = {
    Roughness.NO_BOUNDARY: "no boundary here",
    Roughness.SMOOTH: "a smooth line would do",
    Roughness.OPEN: "rougher than a line, but not at each scale",
    Roughness.ROUGH: "no smooth boundary at these scales",
}


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    measure: str
    x: str
    y: str
    title: str = ""
    label: Label = "not_diverged"
    loss_above: float | None = None
    converged_below: float | None = None
    tail: int = 1
    select: Mapping[str, Any] = field(default_factory=dict)
    shown_x: str | None = None
    shown_y: str | None = None


@dataclass(frozen=True)
class Window:
    """One map: its place on the other axes, labels, intensity and the values along its sides."""

    title: str
    holds_YX: Floats
    intensity_YX: Floats
    x: tuple[str, Floats]
    y: tuple[str, Floats]


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return the box counts of all maps, and the maps, at most MAX_MAPS of them."""
    rule = StabilityRule(options.label, options.loss_above, options.converged_below, options.tail)
    sides = [map_axis(ds, name) for name in (options.x, options.y)]
    fixed = dict(place_on(ds, name, value) for name, value in options.select.items())
    both = sorted({side.dim for side in sides} & set(fixed))
    if both:
        raise StudyError(f"select fixes {', '.join(both)}, which x or y names")
    here = ds.isel(fixed)
    holds = stable(here, options.measure, rule)
    dims = (sides[0].dim, sides[1].dim)
    found = boundary_dimension(holds, *dims)
    free = [d for d in sweep_dims(here) if d not in dims]
    windows = list(islice(_windows(ds, here, holds, free, dims, options), MAX_MAPS))
    places = [
        dict(zip(free, at, strict=True)) for at in product(*(range(here.sizes[d]) for d in free))
    ]
    labels = [in_words(coords_at(ds, {**fixed, **at})) for at in places]
    slices = [found.isel(at) for at in places]
    title = options.title or "Dimension of a boundary"
    whose = f"trials that {rule.sentence(options.measure)}"
    return (
        Plot(
            f"boundary_dimension_{options.measure}",
            title,
            caption := _caption(slices, labels, whose),
            _table(slices, labels),
            lambda: _figures().counts_figure(labels, slices, caption),
        ),
        Plot(
            f"boundary_maps_{options.measure}",
            f"{title}: the maps",
            shown := _maps_caption(len(places), whose),
            _map_table(windows),
            lambda: _figures().maps_figure(windows, shown),
        ),
    )


def _figures() -> Any:
    import phasecube.analysis.boundary.dimension_figures as found

    return found


def intensity(ds: xr.Dataset, measure: str, holds: xr.DataArray) -> xr.DataArray:
    """Return how soon each run came down (below 0) or was lost (above 0), by its loss curve.

    With v the recorded losses over the first, at most MOST, and MOST after a run diverged:
    minus their sum where `holds` is 1, the sum of 1 / v where it is 0, NaN elsewhere. As the
    published pictures are shaded: Sohl-Dickstein 2024, arXiv:2402.06184, its code.
    """
    values = curve(ds, measure).astype(np.float64)
    v = (values / values.isel(step=0, drop=True)).fillna(MOST).clip(0, MOST).compute()
    found: xr.DataArray = (-v.sum("step")).where(holds == 1, (1 / v).sum("step"))
    return found.where(holds.notnull())


def _windows(
    ds: xr.Dataset,
    here: xr.Dataset,
    holds: xr.DataArray,
    free: list[str],
    dims: tuple[str, str],
    options: Options,
) -> Iterator[Window]:
    shades = intensity(here, options.measure, holds)
    for at in product(*(range(here.sizes[d]) for d in free)):
        place = dict(zip(free, at, strict=True))
        one = here.isel(place)
        sides = []
        for dim, name in zip(dims, (options.shown_x, options.shown_y), strict=True):
            shown = name or dim
            if shown not in one.coords or one[shown].dims != (dim,):
                raise StudyError(f"{shown!r} is no coordinate along {dim} on each map")
            sides.append((name_and_unit(one[shown]), np.asarray(one[shown].values, np.float64)))
        fixed = {d: i for d, i in place.items() if here.sizes[d] > 1}
        labels_YX, shades_YX = (
            a.isel(place).transpose(*dims[::-1]).values for a in (holds, shades)
        )
        yield Window(in_words(coords_at(ds, fixed)), labels_YX, shades_YX, sides[0], sides[1])


def _table(slices: list[xr.Dataset], labels: list[str]) -> pd.DataFrame:
    """Return one row for each side of boxes on each map."""
    rows = []
    for label, found in zip(labels, slices, strict=True):
        whole = {n: found[n].item() for n in ("dimension", "low", "high", "n_edges", "n_unknown")}
        verdict = VERDICTS[Roughness(int(found.roughness))]
        for side, boxes, slope in zip(
            found.box.values, found.boxes.values, found.slope.values, strict=True
        ):
            rows.append(
                {"map": label, "box": int(side), "boxes": boxes, "slope": slope}
                | whole
                | {"verdict": verdict}
            )
    return pd.DataFrame(rows)


def _map_table(windows: list[Window]) -> pd.DataFrame:
    """Return one row for each map: the share of runs that hold, and where its sides end."""
    rows: list[dict[str, Any]] = []
    for window in windows:
        known = window.holds_YX[np.isfinite(window.holds_YX)]
        rows.append({"map": window.title, "share": known.mean() if known.size else np.nan})
        for name, side in (window.x, window.y):
            rows[-1] |= {f"{name} from": side.min(), f"{name} to": side.max()}
    return pd.DataFrame(rows)


def _caption(slices: list[xr.Dataset], labels: list[str], whose: str) -> str:
    said = [
        f"Left: boxes that hold both {whose} and trials of which that is not true; dashed: a "
        "line (slope −1) and a filled plane (−2). Right: minus the slope between each side and "
        f"its double. Dimension (dotted): median of the {FINEST} finest, and in brackets their "
        f"range, which is no confidence interval; rough where all pass {SMOOTH_BELOW}."
    ]
    told = []
    for label, found in list(zip(labels, slices, strict=True))[:MAX_MAPS]:
        ends = f"{float(found.dimension):.2f} ({float(found.low):.2f} to {float(found.high):.2f})"
        rough = Roughness(int(found.roughness))
        number = "" if rough is Roughness.NO_BOUNDARY else f"{ends}, "
        told.append((f"{label}: " if label else "") + number + VERDICTS[rough])
    unknown = sum(int(found.n_unknown) for found in slices)
    note = f" {unknown:,} trials have no label yet." if unknown else ""
    return said[0] + " " + "; ".join(told) + "." + note


def _maps_caption(n: int, whose: str) -> str:
    left_out = f" {n - MAX_MAPS} further maps are left out." if n > MAX_MAPS else ""
    return (
        f"Blue: {whose}; red: those that are not; white: no label. Darker: sooner, by rank "
        "among those of its colour of the sum of the losses over the first, or of their inverse. "
        "Black: the cells that are counted, with both kinds at their corners, where they are few."
        f"{left_out}"
    )
