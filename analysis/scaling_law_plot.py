"""The analysis `scaling_law`: a law through a study's trials, and what speaks against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.labels import in_words, name_and_unit
from phasecube.analysis.phase_diagram import map_axis, place_on
from phasecube.analysis.plots import Plot
from phasecube.analysis.scaling.figure import fit_figure, line_figure
from phasecube.analysis.scaling.fit import fit_law
from phasecube.analysis.scaling.from_cube import points_from_cube
from phasecube.analysis.scaling.law import Law, law_named
from phasecube.analysis.scaling.statement import Statement, stated
from phasecube.analysis.scaling.tuned import tuned


@dataclass(frozen=True)
class Options:
    """What is fitted; docs/analysis.md says what each option means."""

    measure: str
    features: Mapping[str, str]
    law: str = "power_with_floor"
    by: str | None = None
    title: str = ""
    select: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None
    resamples: int = 300
    best_over: Sequence[str] = ()


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot a value of `by`; raise StudyError where no law can be fitted."""
    law = law_named(options.law)
    chosen = dict(place_on(ds, name, value) for name, value in options.select.items())
    ds = ds.isel(chosen)
    dim = None if options.by is None else map_axis(ds, options.by).dim
    parts = [ds] if dim is None else [ds.isel({dim: [i]}) for i in range(ds.sizes[dim])]
    return tuple(_plot(place, part, law, options) for place, part in enumerate(parts))


def _plot(place: int, ds: xr.Dataset, law: Law, options: Options) -> Plot:
    where = {} if options.by is None else {options.by: ds[options.by].values[0]}
    ds, of_choice = tuned(ds, options.measure, options.best_over, step=options.step)
    points = points_from_cube(ds, options.measure, options.features, step=options.step)
    points = replace(points, cautions=(*points.cautions, *of_choice))
    statement = stated(fit_law(law, points), options.resamples)
    table = _table(statement, where)
    measured = name_and_unit(ds[options.measure])
    title = in_words(where)
    named = law.features
    caption = " ".join(statement.lines())

    def figure() -> Any:
        if len(named) == 1:
            return line_figure(statement, options.features[named[0]], measured, title=title)
        return fit_figure(statement)

    heading = f"{measured}: {law.formula}" + (f", {title}" if title else "")
    name = f"scaling_law_{options.measure}_{place}"
    return Plot(name, heading, caption, table, figure, statement.cautions)


def _table(statement: Statement, where: Mapping[str, Any]) -> pd.DataFrame:
    found = statement.as_dict()
    rows = []
    for name, numbers in found["parameters"].items():
        low, high = numbers.get("interval_95", (np.nan, np.nan))
        error = numbers.get("standard_error", np.nan)
        rows.append(
            {
                **where,
                "parameter": name,
                "value": numbers["value"],
                "standard_error": error,
                "low": low,
                "high": high,
            }
        )
    table = pd.DataFrame(rows)
    told = "; ".join(f"{name}: {text}" for name, text in found["cautions"].items())
    return table.assign(n_rows=found["rows"], objective=found["objective"], warnings=told)
