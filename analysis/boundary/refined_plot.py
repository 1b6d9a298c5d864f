"""The analysis `refined_boundary`: a searched boundary with its band, beside exact lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from phasecube.analysis.boundary.refined import (
    Crossings,
    TriedPoints,
    Verdict,
    bracket_crossings,
    crossings,
    model_of,
    n_against,
    pieces_of,
    tried_points,
    unsure_at,
    values_of,
    verdict_of,
)
from phasecube.analysis.boundary.refined_words import caption_of, in_question
from phasecube.analysis.labels import in_words
from phasecube.analysis.maps.exact_lines import EXACT, exact_line, fixed_numbers
from phasecube.analysis.plots import Plot
from phasecube.analysis.search.facts import asked, search_facts
from phasecube.engine.errors import StudyError
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.boundary_model import BoundaryModel, lattice
from phasecube.sweeps.expression import Expression

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SLICES = 65  # places along x at which the boundary is told
MAP_SIDE = 81  # of the map that says where nobody knows
LEVELS = (1 / 6, 1 / 2, 5 / 6)  # of a third axis, one panel each
NOT_TOLD = np.zeros((0, 0), np.bool_)
NOTHING = Crossings(np.zeros(0, np.int64), *[np.zeros(0)] * 3)


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    title: str = ""
    x: str | None = None
    y: str | None = None
    question: Mapping[str, Any] | None = None
    reference: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """A line that is drawn dashed: its value on y at each slice, NaN where it has none."""

    label: str
    value_L: Floats


@dataclass(frozen=True)
class Panel:
    """One map, in the values of its axes: slices along x, what was found on them, who was tried.

    With one searched axis `y` is None, and the boundary lies along x. `share_L` are the slices as
    shares of x; `unsure_YX` is over the shares of both axes.
    """

    title: str
    x: SearchedAxis
    y: SearchedAxis | None
    tried: TriedPoints
    shown_N: Bools
    slice_L: Floats
    share_L: Floats
    found: Crossings
    references: tuple[Reference, ...] = ()
    unsure_YX: Bools = field(default_factory=lambda: NOT_TOLD)

    def values(self, name: str) -> Floats:
        """Return the values of the tried points on an axis."""
        place = [axis.name for axis in self.tried.axes].index(name)
        return values_of(self.tried.axes[place], self.tried.shares_ND[:, place])

    @property
    def along(self) -> SearchedAxis:
        """Return the axis along which the boundary is told."""
        return self.y or self.x


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot of the boundary; raise StudyError where the study is no search for one."""
    facts = search_facts(ds)
    question = facts.question if options.question is None else asked(options.question)
    if question is None:
        raise StudyError(
            'the sweep asks no question; give one: question = { outcome = "diverged" }, or '
            "{ measure = ..., above = ... }"
        )
    if any(axis.choices for axis in facts.axes) or len(facts.axes) > 3:
        raise StudyError("a boundary is drawn over one to three searched axes of numbers")
    x, y, rest = _sides(facts.axes, options)
    tried = tried_points(ds, facts.axes, question)
    model = model_of(tried)
    pieces = pieces_of(tried)
    fixed = fixed_numbers(ds)
    if y is None:
        panels = [_line_panel(tried, x, options, fixed)]
    else:
        panels = [
            _map_panel(tried, model, (x, y, rest), level, options, fixed)
            for level in (LEVELS if rest is not None else (0.0,))
        ]
    joined = _joined([panel.found for panel in panels])
    against = 0 if model is None else n_against(model, tried)
    verdict = verdict_of(tried, pieces, against, joined)
    if verdict is Verdict.NOT_SMOOTH:
        # Nor does the process, which took answers for chance, tell where it does not know.
        panels = [replace(panel, found=NOTHING, unsure_YX=NOT_TOLD) for panel in panels]
    caption = caption_of(tried, model, y or x, joined, verdict, pieces, against, question)

    def figure() -> Any:
        from phasecube.analysis.boundary.refined_figure import boundary_figure

        return boundary_figure(panels, caption)

    title = options.title or f"Where the answer changes: {in_question(question)}"
    table = pd.concat([_table(panel) for panel in panels], ignore_index=True)
    return (Plot("refined_boundary", title, caption, table, figure),)


def _sides(
    axes: tuple[SearchedAxis, ...], options: Options
) -> tuple[SearchedAxis, SearchedAxis | None, SearchedAxis | None]:
    """Return the axes drawn as x and y, and the third."""
    by_name = {axis.name: axis for axis in axes}
    for name in (options.x, options.y):
        if name is not None and name not in by_name:
            raise StudyError(f"{name!r} was not searched; the axes are {', '.join(by_name)}")
    if options.x is not None and options.x == options.y:
        raise StudyError(f"x and y are both {options.x!r}; name two axes")
    left = [n for n in by_name if n not in (options.x, options.y)]
    x = options.x or (left.pop(0) if left else "")
    if len(axes) == 1:
        return axes[0], None, None
    y = options.y or left.pop(0)
    return by_name[x], by_name[y], by_name[left[0]] if left else None


def _line_panel(
    tried: TriedPoints, x: SearchedAxis, options: Options, fixed: Mapping[str, float]
) -> Panel:
    references = _references(options, {}, fixed, 1)
    shown_N = np.ones(len(tried.shares_ND), np.bool_)
    found = bracket_crossings(tried)
    nowhere = np.zeros(1)
    return Panel("", x, None, tried, shown_N, nowhere, nowhere, found, references)


def _map_panel(
    tried: TriedPoints,
    model: BoundaryModel | None,
    sides: tuple[SearchedAxis, SearchedAxis, SearchedAxis | None],
    level: float,
    options: Options,
    fixed: Mapping[str, float],
) -> Panel:
    x, y, rest = sides
    names = [axis.name for axis in tried.axes]
    at_x, at_y = names.index(x.name), names.index(y.name)
    share_L = np.linspace(0, 1, SLICES)
    if x.is_integer:
        share_L = np.unique([x.share_of(x.at(float(share))) for share in share_L])
    lines_LD = np.full((len(share_L), len(names)), level)
    lines_LD[:, at_x] = share_L
    columns = {x.name: [x.at(float(share)) for share in share_L]}
    shown_N, title = np.ones(len(tried.shares_ND), np.bool_), ""
    if rest is not None:
        place = names.index(rest.name)
        level = rest.share_of(rest.at(level))
        lines_LD[:, place] = level
        columns[rest.name] = [rest.at(level)] * len(share_L)
        shown_N = np.abs(tried.shares_ND[:, place] - level) <= 1 / (2 * len(LEVELS))
        title = in_words({rest.name: rest.at(level)})
    slice_L = np.array(columns[x.name], np.float64)
    if model is None:
        found = NOTHING
        unsure_YX = np.ones((MAP_SIDE, MAP_SIDE), np.bool_)
    else:
        found = crossings(model, tried, lines_LD, at_y)
        grid = np.full((MAP_SIDE, MAP_SIDE, len(names)), level)
        grid[..., [at_y, at_x]] = lattice(2, MAP_SIDE)
        unsure_YX = unsure_at(model, grid.reshape(-1, len(names))).reshape(MAP_SIDE, MAP_SIDE)
    references = _references(options, columns, fixed, len(share_L))
    return Panel(title, x, y, tried, shown_N, slice_L, share_L, found, references, unsure_YX)


def _references(
    options: Options, columns: Mapping[str, list[Any]], fixed: Mapping[str, float], n: int
) -> tuple[Reference, ...]:
    """Return what is drawn dashed, at each slice."""
    found = []
    for text in options.reference:
        try:
            expression = Expression(text)
        except ValueError as error:
            raise StudyError(f"reference: {error}") from error
        known = {*columns, *fixed}
        if unknown := sorted(set(expression.names) - known):
            raise StudyError(
                f"reference {text!r} reads {', '.join(unknown)}; here there are "
                f"{', '.join(sorted(known))}"
            )
        rows = [{**fixed, **{name: c[i] for name, c in columns.items()}} for i in range(n)]
        try:
            values = [float(expression(row)) for row in rows]
        except (TypeError, ValueError) as error:
            raise StudyError(f"reference {text!r} gives no number here: {error}") from error
        found.append(Reference(text, np.array(values)))
    for name in options.exact:
        value_L = np.broadcast_to(exact_line(name, columns, fixed), n)
        found.append(Reference(EXACT[name].label, np.asarray(value_L, np.float64)))
    return tuple(found)


def _numbers(found: Crossings) -> tuple[Floats, Floats, Floats]:
    return found.value_C, found.low_C, found.high_C


def _joined(parts: list[Crossings]) -> Crossings:
    line_C = np.concatenate([part.line_C for part in parts])
    columns = zip(*(_numbers(part) for part in parts), strict=True)
    return Crossings(line_C, *(np.concatenate(column) for column in columns))


def _table(panel: Panel) -> pd.DataFrame:
    """Return a row for each crossing of a slice, with the exact values there."""
    found, along = panel.found, panel.along
    columns: dict[str, Any] = {}
    if panel.title:
        columns["at"] = [panel.title] * len(found.value_C)
    if panel.y is not None:
        columns[panel.x.name] = panel.slice_L[found.line_C]
    for name, share_C in zip(("", "_low", "_high"), _numbers(found), strict=True):
        columns[f"{along.name}{name}"] = values_of(along, share_C)
    columns["is_bounded"] = found.is_bounded
    columns |= {f"reference {r.label}": r.value_L[found.line_C] for r in panel.references}
    return pd.DataFrame(columns)
