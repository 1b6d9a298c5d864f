"""The analysis `lr_stability`: a map of what became of each learning rate, and its boundary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from phasecube.analysis.analyses import Request
from phasecube.analysis.boundary.along_axis import Edge, power_law, upper_boundary
from phasecube.analysis.boundary.estimators import Method, boundary_of_members
from phasecube.analysis.caution import Caution
from phasecube.analysis.drawn import Map, Section
from phasecube.analysis.estimates.intervals import wilson
from phasecube.analysis.labels import format_value
from phasecube.analysis.lr.stability import lr_sensitivity, stable
from phasecube.analysis.maps import figures
from phasecube.analysis.maps.cell_facts import value_facts
from phasecube.analysis.maps.cell_look import each_cell, value_cell
from phasecube.analysis.maps.exact_lines import EXACT, exact_line, fixed_numbers
from phasecube.analysis.maps.map_lines import MapLine, row_of
from phasecube.analysis.maps.map_making import log_step, map_of, members_of
from phasecube.analysis.maps.phase_diagram import Panel, value_map
from phasecube.engine.errors import StudyError

MEASURED, EXACT_COLOURS = "#000000", ("#D55E00", "#0072B2", "#009E73", "#CC79A7")


def stability_section(
    ds: xr.Dataset, panel: Panel, wanted: Request, measures: tuple[str, ...]
) -> Section:
    """Return the section of one panel whose rows are learning rates."""
    lrs = _numbers(ds, panel.y.name)
    if lrs is None:
        raise StudyError(f"lr = {panel.y.name!r} is no axis of numbers")
    x = _numbers(ds, panel.x.name) if panel.x.name else None
    runs = panel.ds.assign_coords(row=lrs)
    if x is not None:
        runs = runs.assign_coords(column=x)
    holds = stable(runs, measures[0], wanted.stability)
    found = upper_boundary(holds, "row", over=("member",))
    found, cautions = _estimated(found, holds, lrs, wanted.estimator, panel)
    places: dict[str, Any] = dict(panel.fixed)
    columns = {name: [value] * panel.ds.sizes["column"] for name, value in places.items()}
    if x is not None:
        columns[panel.x.name] = list(x)
    shared, n = fixed_numbers(ds), panel.ds.sizes["column"]
    exact = {e: np.broadcast_to(exact_line(e, columns, shared), n) for e in wanted.exact}

    cells = _cells(panel, holds, found, exact, wanted, measures[0])
    caption = [
        f"Share{members_of(panel) or ' of trials'} that {wanted.stability.sentence(measures[0])}.",
        f"Points: the {panel.y.name} at which the share passes 1/2{_by(wanted)}; bars: 95 % of "
        "resampled members, and at least the cell. A triangle at the edge: it lies beyond.",
    ]
    if x is not None:
        caption += _law(found, panel.x.name)
    if wanted.sensitivity:
        sensitivity = lr_sensitivity(runs, wanted.sensitivity, lr="row", over=("member",))
        cells = cells.assign(_along_rows(sensitivity, panel))
        caption += _sensitivity(sensitivity, panel, wanted.sensitivity)
    lines = (
        replace(_measured(found, lrs), joined=x is not None and not exact),
        *_exact(exact, lrs),
    )
    drawn = _map(panel, cells, " ".join(caption), lines)
    drawn = replace(drawn, cautions=(*drawn.cautions, *cautions))
    thresholds = [wanted.stability.loss_above, wanted.stability.converged_below]
    return Section(
        panel.title,
        panel,
        (drawn,),
        measures,
        log_step(panel),
        tuple(t for t in thresholds if t is not None),
    )


def _numbers(ds: xr.Dataset, name: str) -> np.ndarray | None:
    if name not in ds.coords or ds[name].dtype.kind not in "fiu":
        return None
    return np.asarray(ds[name].values, np.float64)


def _by(wanted: Request) -> str:
    return "" if wanted.estimator == "bracket" else f" ({wanted.estimator} estimate)"


def _estimated(
    found: xr.Dataset, holds: xr.DataArray, lrs: np.ndarray, method: Method, panel: Panel
) -> tuple[xr.Dataset, tuple[Caution, ...]]:
    """Return the boundaries by another estimator, and what speaks against them by column."""
    numbers = {name: found[name].values.copy() for name in ("boundary", "low", "high")}
    holds_CAN = holds.transpose("column", "row", "member").values
    where: dict[str, list[str]] = {}
    messages: dict[str, str] = {}
    for column, holds_AN in enumerate(holds_CAN):
        if found.state.values[column] == Edge.UNKNOWN or len(lrs) < 2:
            continue
        one = boundary_of_members(lrs, holds_AN, method=method)
        if method != "bracket":
            ends = zip(numbers, (one.value, one.low, one.high), strict=True)
            for name, value in ends:
                numbers[name][column] = value
        for caution in one.cautions:
            if method != "bracket" or caution.name in ("not_bracketed", "not_monotone"):
                where.setdefault(caution.name, []).append(panel.x.ticks[column])
                messages[caution.name] = caution.message
    at = f"at {panel.x.name} = " if panel.x.name else ""
    cautions = tuple(
        Caution(name, (at + ", ".join(ticks) + ": " if at else "") + messages[name])
        for name, ticks in where.items()
    )
    return found.assign({n: found[n].copy(data=v) for n, v in numbers.items()}), cautions


def _cells(
    panel: Panel,
    holds: xr.DataArray,
    found: xr.Dataset,
    exact: Mapping[str, np.ndarray],
    wanted: Request,
    measure: str,
) -> xr.Dataset:
    """Return the share of each cell, and beside it what is known of its column."""
    n_used = holds.notnull().sum("member")
    share = wilson(holds.sum("member").values, n_used.values)
    word = wanted.stability.label.replace("_", " ")
    attrs = {"long_name": f"share {word}", "units": "1"}
    # The counts of ended, diverged and lost trials are those of any map.
    cells = value_map(panel, measure, statistic="share", threshold=0.0)
    shares = {"value": share.value, "low": share.low, "high": share.high}
    dims = ("row", "column")
    cells = cells.assign({n: (dims, v, attrs) for n, v in shares.items()})
    cells = cells.assign(n_used=(dims, n_used.values))
    named = found[["boundary", "low", "high"]].rename(low="boundary_low", high="boundary_high")
    cells = cells.assign(_along_rows(named, panel))
    states = np.array([Edge(int(s)).name.lower() for s in found.state.values])
    lines = {"boundary_state": states} | {f"exact_{n}": v for n, v in exact.items()}
    return cells.assign({n: (dims, _repeated(v, panel)) for n, v in lines.items()})


def _along_rows(found: xr.Dataset, panel: Panel) -> dict[str, tuple[tuple[str, str], np.ndarray]]:
    return {
        str(n): (("row", "column"), _repeated(v.values, panel))
        for n, v in found.data_vars.items()
        if v.dims == ("column",)
    }


def _repeated(values_C: np.ndarray, panel: Panel) -> np.ndarray:
    return np.repeat(np.asarray(values_C)[None], panel.ds.sizes["row"], 0)


def _law(found: xr.Dataset, name: str) -> list[str]:
    try:
        law = power_law(found, "column")
    except StudyError:
        return []  # no positive numbers
    if not np.isfinite(law.exponent):
        return []
    ends = f"{float(law.low):.2f} to {float(law.high):.2f}"
    text = f"boundary ∝ {name}^{float(law.exponent):.2f} (95 % {ends}; {int(law.n)} boundaries"
    censored = f", {int(law.n_censored)} beyond the axis left out" if law.n_censored else ""
    bent = ""
    if law.misfit > 3:
        bent = (
            f" It is no straight line in logarithms: its residuals are {float(law.misfit):.0f} "
            "times what the grid explains."
        )
    return [f"Power law: {text}{censored}).{bent}".replace("-", "−")]


def _sensitivity(found: xr.Dataset, panel: Panel, measure: str) -> list[str]:
    first, last = (format_value(float(found.attrs[n]), 3) for n in ("lr_first", "lr_last"))
    said = []
    for column, tick in enumerate(panel.x.ticks[:6]):
        here = {str(n): v.values[column] for n, v in found.data_vars.items()}
        if not np.isfinite(here["sensitivity"]):
            continue
        where = f"{panel.x.name} = {tick}: " if panel.x.name else ""
        edge = " (at the end of the axis: the best may lie beyond)" if here["at_edge"] else ""
        whole, upper, best = (
            format_value(float(here[n]), 3) for n in ("sensitivity", "sensitivity_up", "optimum")
        )
        said.append(f"{where}{whole}, {upper} from the best on, which is {best}{edge}")
    if not said:
        return []
    more = "; …" if len(panel.x.ticks) > 6 else ""
    return [
        f"Sensitivity of {measure} over {panel.y.name} from {first} to {last}: "
        f"{'; '.join(said)}{more}."
    ]


def _measured(found: xr.Dataset, lrs: np.ndarray) -> MapLine:
    known = (found.state == Edge.FOUND).values
    past = {Edge.ABOVE: True, Edge.BELOW: False}
    return MapLine(
        "boundary, 95 %",
        row_of(found.boundary.values, lrs, clip=False),
        MEASURED,
        low_C=np.where(known, row_of(found.low.values, lrs, clip=True), np.nan),
        high_C=np.where(known, row_of(found.high.values, lrs, clip=True), np.nan),
        past=tuple(
            (c, past[Edge(int(s))]) for c, s in enumerate(found.state.values) if int(s) in past
        ),
    )


def _exact(exact: Mapping[str, np.ndarray], lrs: np.ndarray) -> list[MapLine]:
    return [
        MapLine(
            f"exact: {EXACT[name].label}",
            row_of(values, lrs, clip=False),
            EXACT_COLOURS[place % len(EXACT_COLOURS)],
            dashed=place > 0,
        )
        for place, (name, values) in enumerate(exact.items())
    ]


def _map(panel: Panel, cells: xr.Dataset, caption: str, lines: tuple[MapLine, ...]) -> Map:
    shades = figures.shades(cells.value.values, log=False, ends=figures.ends_of(cells))
    looks = [
        value_cell(c, shade) for (_, _, c), shade in zip(each_cell(cells), shades, strict=True)
    ]
    name = str(cells.value.attrs["long_name"])

    def facts(cell: Mapping[str, Any]) -> list[tuple[str, str]]:
        told = [*value_facts(cell, name), ("boundary here", _said(cell, panel))]
        exact = [(n, v) for n, v in cell.items() if n.startswith("exact_")]
        return told + [
            (EXACT[n.removeprefix("exact_")].label, format_value(float(v))) for n, v in exact
        ]

    drawn = map_of(
        panel,
        "stability",
        "Where it is stable",
        cells,
        caption,
        looks,
        facts,
        lambda: figures.value_figure(panel, cells, caption, log=False, lines=lines),
        {},
    )
    bar = figures.shade_bar(cells.value.values, log=False, ends=figures.ends_of(cells))
    return replace(drawn, shades=bar, lines=lines)


def _said(cell: Mapping[str, Any], panel: Panel) -> str:
    low, high = (format_value(float(cell[f"boundary_{end}"])) for end in ("low", "high"))
    state = str(cell["boundary_state"])
    if state == "found":
        return f"{format_value(float(cell['boundary']))} ({low} to {high})"
    if state == "above":
        return f"above {panel.y.ticks[-1]}, the last value"
    return f"below {panel.y.ticks[0]}, the first value" if state == "below" else "not known yet"
