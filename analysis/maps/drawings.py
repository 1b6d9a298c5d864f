"""From a request to what stands on the page: maps, tables, captions, curves per cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from phasecube.analysis.analyses import Request
from phasecube.analysis.drawn import Drawn, Map, Section
from phasecube.analysis.entropy.collapse import NOISE as ENTROPY_NOISE
from phasecube.analysis.grokking import onsets
from phasecube.analysis.labels import format_value, name_and_unit
from phasecube.analysis.maps import figures
from phasecube.analysis.maps.bands import seed_band
from phasecube.analysis.maps.cell_facts import phase_facts, place
from phasecube.analysis.maps.cell_look import FOUR_LOOKS, each_cell, phase_cell
from phasecube.analysis.maps.map_cautions import better
from phasecube.analysis.maps.map_making import first_upper, log_step, map_of, members_of, shaded
from phasecube.analysis.maps.phase_diagram import (
    Panel,
    arrange,
    map_axis,
    onset_map,
    phase_map,
    value_map,
)
from phasecube.analysis.order_parameters import onset
from phasecube.analysis.plots import PLOT_KINDS, draw_plots
from phasecube.engine.errors import StudyError

MAX_PANELS = 12
MAX_CELLS = 10_000


def draw(ds: xr.Dataset, wanted: Request) -> Drawn:
    """Return the maps of a request, one section per panel; raise StudyError if it cannot be."""
    if wanted.impossible:
        raise StudyError(wanted.impossible)
    if wanted.kind in PLOT_KINDS:
        plots = draw_plots(wanted.kind, ds, wanted.options)
        heading = wanted.title or (plots[0].title if plots else wanted.kind.replace("_", " "))
        return Drawn(heading, (), plots=plots)
    x, y = wanted.axes(ds)
    measures = _measures(ds, wanted)
    ds, thinned = _thinned(ds, x, y)
    panels = arrange(ds, x, y, measures=measures, select=wanted.select, over=wanted.over)
    # Here, for they build on this module.
    from phasecube.analysis.entropy.phase_map import phase_section
    from phasecube.analysis.lr.stability_drawing import stability_section

    makers: dict[str, Callable[[Panel, Request, tuple[str, ...]], Section]] = {
        "grokking": _grokking,
        "phase_diagram": _phase_diagram,
        "curves": _curves,
        "entropy_phase": phase_section,
        "lr_stability": partial(stability_section, ds),
    }
    sections = tuple(makers[wanted.kind](p, wanted, measures) for p in panels[:MAX_PANELS])
    if len(panels) > MAX_PANELS:
        thinned.append(
            f"{len(panels) - MAX_PANELS} further panels are left out; "
            "fix their axes with `select` or reduce them with `over`."
        )
    return Drawn(wanted.title or _heading(wanted, measures), sections, " ".join(thinned))


def _thinned(ds: xr.Dataset, x: str | None, y: str | None) -> tuple[xr.Dataset, list[str]]:
    """Return the study with so few places on both sides that a map can be pointed at.

    And what was left out, in words: every n-th value is kept of the longer side first.
    """
    sides = {name: map_axis(ds, name) for name in (x, y) if name}
    every = dict.fromkeys(sides, 1)
    lengths = {name: len(side.ticks) for name, side in sides.items()}

    def kept(name: str) -> int:
        return -(-lengths[name] // every[name])

    while every and math.prod(map(kept, every)) > MAX_CELLS:
        every[max(every, key=kept)] += 1
    said = [
        f"Of the {lengths[name]:,} values of {name} one in {n} is drawn: a map holds "
        f"{MAX_CELLS:,} cells."
        for name, n in every.items()
        if n > 1
    ]
    return ds.isel({sides[name].dim: slice(None, None, n) for name, n in every.items()}), said


def _heading(wanted: Request, measures: Sequence[str]) -> str:
    if wanted.kind == "grokking":
        return "Grokking: phases and onset"
    if wanted.kind == "curves":
        return "Learning curves"
    if wanted.kind == "lr_stability":
        return "Learning-rate stability"
    if wanted.kind == "entropy_phase":
        return "Entropy: collapsed, healthy, stalled"
    return f"Phase diagram: {measures[0]}"


def _measures(ds: xr.Dataset, wanted: Request) -> tuple[str, ...]:
    if wanted.kind == "grokking":
        return wanted.rule.train, wanted.rule.validation
    scalars = [str(n) for n, v in ds.data_vars.items() if "step" in v.dims]
    if not scalars:
        raise StudyError("the study recorded no scalar measure: there is nothing to draw")
    if wanted.kind == "entropy_phase":
        of_noise = tuple(name for name in ENTROPY_NOISE if name in scalars)
        return wanted.entropy.reward, wanted.entropy.entropy, *of_noise
    if wanted.kind == "phase_diagram":
        return (wanted.measure or scalars[0],)
    if wanted.kind == "lr_stability":
        first = wanted.measure or scalars[0]
        return tuple(dict.fromkeys((first, wanted.sensitivity or first)))
    return wanted.measures or tuple(scalars[:2])


def _grokking(panel: Panel, wanted: Request, measures: tuple[str, ...]) -> Section:
    rule = wanted.rule
    phases = phase_map(panel, rule)
    of = members_of(panel)
    caption = (
        f"Commonest phase{of}. n/N: trials in that phase of those planned. Where {rule.sentence()}."
    )
    t_mem, t_grok = onsets(panel.ds, rule)
    maps = [
        map_of(
            panel,
            "phases",
            "Phases",
            phases,
            caption,
            [phase_cell(cell) for _, _, cell in each_cell(phases)],
            phase_facts,
            lambda: figures.phase_figure(panel, phases, caption),
            {f"{look.letter} {p.name.lower()}": look for p, look in FOUR_LOOKS.items()},
        )
    ]
    maps += [
        _onset(panel, onset_map(panel, found, name), name, f"{meaning}, {name}", measure)
        for name, meaning, found, measure in (
            ("t_grok", "Generalised", t_grok, rule.validation),
            ("t_mem", "Memorised", t_mem, rule.train),
        )
    ]
    thresholds = (
        (rule.train_threshold, rule.validation_threshold) if rule.relative_to == "none" else ()
    )
    return Section(
        panel.title,
        panel,
        tuple(maps),
        measures,
        log_step(panel),
        tuple(dict.fromkeys(thresholds)),
    )


def _onset(panel: Panel, cells: xr.Dataset, name: str, title: str, measure: str) -> Map:
    caption = (
        f"Kaplan–Meier median of {name}{members_of(panel)}; {measure} past its threshold. "
        f"> T: the median lies beyond the {format_value(float(panel.ds.step[-1]))} steps watched. "
        "n/N > T: of N trials n had not crossed by their last step."
    )
    # An early onset is no optimum that a sweep looks for: no end is the better one.
    return shaded(panel, cells, name, title, caption, log=True, end=None)


def _phase_diagram(panel: Panel, wanted: Request, measures: tuple[str, ...]) -> Section:
    measure = measures[0]
    of = members_of(panel)
    if wanted.quantity == "onset":
        if wanted.threshold is None:
            raise StudyError('quantity = "onset" needs a threshold: the onset of what?')
        found = onset(
            panel.ds, measure, wanted.threshold, above=wanted.above, sustained=wanted.sustained
        )
        sign = "≥" if wanted.above else "≤"
        label = f"first step with {measure} {sign} {wanted.threshold:g}"
        maps = (_onset(panel, onset_map(panel, found, label), f"onset_{measure}", label, measure),)
    else:
        cells = value_map(panel, measure, statistic=wanted.statistic, threshold=wanted.threshold)
        label = str(cells.value.attrs["long_name"])
        caption = (
            f"{first_upper(label)}: {wanted.statistic}{of} of trials that ended in good order, "
            f"{cells.attrs['interval']} interval in the table."
        )
        log = wanted.scale == "log"
        end = better(measure, label)
        title = first_upper(label)
        maps = (shaded(panel, cells, f"final_{measure}", title, caption, log=log, end=end),)
    thresholds = () if wanted.threshold is None else (wanted.threshold,)
    return Section(panel.title, panel, maps, measures, log_step(panel), thresholds)


def _curves(panel: Panel, wanted: Request, measures: tuple[str, ...]) -> Section:
    """A map of how each cell ended leads to its curves; for print, a sample of cells."""
    cells = value_map(panel, measures[-1])
    title = f"Final {measures[-1]}"
    caption = f"Median and range{members_of(panel)} at each step."
    log = log_step(panel) if wanted.scale is None else wanted.scale == "log"
    shown = f"{title}, median{members_of(panel)}. The figure for print: {caption.lower()}"
    end = better(measures[-1])
    base = shaded(panel, cells, "curves", title, shown, log=False, end=end)

    def figure() -> Figure:
        lines = []
        for row, column in spread_cells(panel):
            cell = panel.ds.isel(row=row, column=column)
            bands = [seed_band(cell[m], m) for m in measures]
            lines.append((", ".join(f"{n} = {v}" for n, v in place(panel, row, column)), bands))
        label = name_and_unit(panel.ds[measures[0]]) if len(measures) == 1 else "value"
        return figures.curves_figure(lines, label, caption, log_step=log)

    drawn = replace(base, figure=figure)
    return Section(panel.title, panel, (drawn,), measures, log)


def spread_cells(panel: Panel, most: int = 9) -> list[tuple[int, int]]:
    """Return at most `most` cells with records, spread evenly over the map, corners first."""
    n_rows, n_columns = panel.ds.sizes["row"], panel.ds.sizes["column"]
    side = max(1, int(most**0.5))
    rows = np.unique(np.linspace(0, n_rows - 1, min(n_rows, side)).round().astype(int))
    columns = np.unique(
        np.linspace(0, n_columns - 1, min(n_columns, most // len(rows))).round().astype(int)
    )
    some = (panel.ds.n_recorded > 0).any("member").values
    return [(int(r), int(c)) for r in rows[::-1] for c in columns if some[r, c]]
