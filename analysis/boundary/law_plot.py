"""The analysis `boundary_law`: how a boundary, or an onset, moves with another axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phasecube.analysis.boundary.law_check import law_cautions
from phasecube.analysis.boundary.law_rows import (
    Bounded,
    Unit,
    boundary_rows,
    onset_rows,
    shift_onset,
)
from phasecube.analysis.caution import Caution
from phasecube.analysis.estimates.censored_regression import BoundaryLaw, boundary_law
from phasecube.analysis.labels import format_value, in_words, long_name, name_and_unit
from phasecube.analysis.lines.free_places import free_places
from phasecube.analysis.lr.stability import Label, StabilityRule, stable, tail_mean
from phasecube.analysis.maps.phase_diagram import map_axis, sweep_dims
from phasecube.analysis.order_parameters import onset
from phasecube.analysis.plots import Plot
from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """What is fitted; docs/boundaries.md says what each option means."""

    measure: str
    against: str
    x: str | None = None  # the axis of the boundary; an onset has the steps
    by: str | None = None
    title: str = ""
    over: tuple[str, ...] = ("seed",)
    select: Mapping[str, Any] = field(default_factory=dict)
    quantity: Literal["boundary", "onset", "level_shift"] = "boundary"
    rows: Unit = "members"
    label: Label = "not_diverged"
    loss_above: float | None = None
    converged_below: float | None = None
    tail: int = 1
    threshold: float | None = None
    above: bool = True
    sustained: bool = False
    yes: Literal["below", "above"] = "below"
    exponent: float | None = None


@dataclass(frozen=True)
class Line:
    """One value of `by`: rows [W, N] at the widths, their law, and its name."""

    label: str
    places: Mapping[str, Any]
    width_W: Floats
    rows: Bounded
    law: BoundaryLaw


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot for each place on the axes that no option names, at most MAX_PLOTS."""
    if (options.quantity == "boundary") == (options.x is None):
        raise StudyError(
            'quantity = "boundary" needs x, the axis that the boundary lies on; onsets have the '
            "steps and take none"
        )
    if options.quantity == "onset" and options.threshold is None:
        raise StudyError('quantity = "onset" needs a threshold: the onset of what?')
    names = [n for n in (options.against, options.x, options.by) if n is not None]
    dims = [map_axis(ds, name).dim for name in names]
    if len(set(dims)) < len(dims):
        raise StudyError(f"{', '.join(names)} must be different axes")
    members = [d for d in options.over if d in sweep_dims(ds) and d not in dims]
    return tuple(
        _plot(place, shown, part, members, options)
        for place, (shown, part) in enumerate(free_places(ds, dims, members, options.select))
    )


def _plot(
    place: int, shown: Mapping[str, Any], part: xr.Dataset, members: list[str], options: Options
) -> Plot:
    by_dim = map_axis(part, options.by).dim if options.by else None
    parts = (
        [part] if by_dim is None else [part.isel({by_dim: i}) for i in range(part.sizes[by_dim])]
    )
    lines = [_line(one, members, options) for one in parts]
    cautions = _merged(lines)
    caption = _caption(lines, options)
    where = in_words(shown)
    y_label = name_and_unit(part[options.x]) if options.x else _onset_name(part, options)
    x_label = name_and_unit(part[options.against])

    def figure() -> Any:
        from phasecube.analysis.boundary.law_figure import law_figure

        return law_figure(lines, x_label, y_label, caption, exponent=options.exponent, title=where)

    table = pd.concat([_table(line, shown, options) for line in lines], ignore_index=True)
    told = "; ".join(map(str, cautions))
    heading = options.title or f"{y_label} against {x_label}"
    return Plot(
        f"boundary_law_{options.measure}_{place}",
        heading + (f", {where}" if where else ""),
        caption,
        table.assign(warnings=told),
        figure,
        cautions,
    )


def _line(part: xr.Dataset, members: Sequence[str], options: Options) -> Line:
    against = map_axis(part, options.against).dim
    width_W = part[options.against].values
    if width_W.dtype.kind not in "fiu" or not (width_W > 0).all():
        raise StudyError(f"a law in {options.against!r} needs numbers above 0 on that axis")
    width_W = width_W.astype(np.float64)
    rows = _rows(part, against, members, options)
    width_WN = np.broadcast_to(width_W[:, None], rows.low_WN.shape)
    law = boundary_law(width_WN, rows.low_WN, rows.high_WN)
    member_WN = np.broadcast_to(np.arange(rows.low_WN.shape[1]), rows.low_WN.shape)
    # The rows that the law leaves out.
    used_WN = np.isfinite(rows.low_WN) & ~((rows.low_WN == 0) & np.isposinf(rows.high_WN))
    checked = law_cautions(law, member_WN[used_WN])
    found = (*rows.cautions, *law.cautions, *checked)
    places = {} if options.by is None else {options.by: part[options.by].values.item()}
    bounded = Bounded(rows.low_WN, rows.high_WN, rows.n_trials_W, found)
    return Line(in_words(places), places, width_W, bounded, law)


def _rows(part: xr.Dataset, against: str, members: Sequence[str], options: Options) -> Bounded:
    if options.x is None:
        if options.quantity == "level_shift":
            found = shift_onset(part, options.measure, "up" if options.above else "down")
        else:
            assert options.threshold is not None  # asked for in draw
            found = onset(
                part,
                options.measure,
                options.threshold,
                above=options.above,
                sustained=options.sustained,
            )
        return onset_rows(found, against, members)
    if options.threshold is None:
        rule = StabilityRule(
            options.label, options.loss_above, options.converged_below, options.tail
        )
        holds = stable(part, options.measure, rule)
    else:
        final = tail_mean(part, options.measure, options.tail).compute()
        hit = final >= options.threshold if options.above else final <= options.threshold
        holds = hit.astype(np.float64).where(final.notnull())
    return boundary_rows(holds, options.x, against, members, options.rows, options.yes)


def _merged(lines: Sequence[Line]) -> tuple[Caution, ...]:
    """Return the cautions of all lines, each with the lines that it speaks of."""
    said: dict[str, list[str]] = {}
    for line in lines:
        for caution in line.rows.cautions:
            of = f"{line.label}: " if line.label else ""
            said.setdefault(caution.name, []).append(of + caution.message)
    return tuple(Caution(name, "; ".join(texts)) for name, texts in said.items())


def _table(line: Line, shown: Mapping[str, Any], options: Options) -> pd.DataFrame:
    law, rows = line.law, line.rows
    low_WN, high_WN = rows.low_WN, rows.high_WN
    known_WN = np.isfinite(low_WN)
    two_WN = known_WN & (low_WN > 0) & np.isfinite(high_WN)
    at = [law.boundary_at(float(width)) for width in line.width_W]
    n = len(line.width_W)
    columns: dict[str, Any] = {k: [v] * n for k, v in {**shown, **line.places}.items()}
    columns |= {
        options.against: line.width_W,
        "law": [e.value for e in at],
        "law_low": [e.low for e in at],
        "law_high": [e.high for e in at],
        "least_end": _extreme(np.where(known_WN, low_WN, np.inf), np.min),
        "greatest_end": _extreme(np.where(known_WN, high_WN, -np.inf), np.max),
        "n_bracketed": two_WN.sum(1),
        "n_one_sided": (known_WN & ~two_WN).sum(1),
        "n_trials": rows.n_trials_W,
        "exponent": law.slope.value,
        "exponent_low": law.slope.low,
        "exponent_high": law.slope.high,
        "exponent_expected": np.nan if options.exponent is None else options.exponent,
        "scatter_ln": law.sigma.value,
    }
    return pd.DataFrame(columns)


def _extreme(values_WN: Floats, of: Any) -> Floats:
    found: Floats = of(values_WN, axis=1)
    return found


def _onset_name(part: xr.Dataset, options: Options) -> str:
    name = long_name(part[options.measure])
    if options.quantity == "level_shift":
        return f"step at which {name} jumps {'up' if options.above else 'down'}"
    assert options.threshold is not None  # asked for in draw
    sign = "≥" if options.above else "≤"
    return f"first step with {name} {sign} {format_value(options.threshold)}"


def _caption(lines: Sequence[Line], options: Options) -> str:
    what = "boundary" if options.quantity == "boundary" else "onset"
    each = "one for each place" if options.rows == "slices" else "one for each member"
    said = [
        f"Bars: between which values each {what} lies, {each}; triangles: beyond the last one. "
        f"Line: {what} ∝ {options.against}^p by interval-censored maximum likelihood, with its "
        "95 % band."
    ]
    for line in lines:
        law = line.law
        if not np.isfinite(law.slope.value):
            told = "the exponent is not known"
        else:
            told = f"p = {law.slope.text()}, scatter {law.sigma.value:.2g} in ln".replace("-", "−")
        counts = f"{law.n_bracketed} with two ends, {law.n_one_sided} with one"
        said.append((f"{line.label}: " if line.label else "") + f"{told} ({counts}).")
    if options.exponent is not None:
        said.append(f"Dotted: p = {options.exponent:g}.".replace("-", "−"))
    return " ".join(said)
