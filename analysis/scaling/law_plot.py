"""The analysis `scaling_law`: a law through a study's trials, and what speaks against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.labels import in_words, name_and_unit
from phasecube.analysis.plots import Plot
from phasecube.analysis.scaling.figure import fit_figure, line_figure
from phasecube.analysis.scaling.fit import fit_law
from phasecube.analysis.scaling.law import law_named
from phasecube.analysis.scaling.points import Points
from phasecube.analysis.scaling.statement import Statement, stated
from phasecube.analysis.scaling.study_rows import RowOptions, parts


@dataclass(frozen=True)
class Options(RowOptions):
    """What is fitted; docs/analysis.md says what each option means."""

    law: str = "power_with_floor"


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot a value of `by`; raise StudyError where no law can be fitted."""
    law = law_named(options.law)
    measured = name_and_unit(ds[options.measure]) if options.measure in ds else options.measure
    return tuple(
        _plot(place, where, points, measured, options)
        for place, (where, points) in enumerate(parts(ds, options, law.features, "last"))
    )


def _plot(
    place: int, where: Mapping[str, Any], points: Points, measured: str, options: Options
) -> Plot:
    law = law_named(options.law)
    fit = fit_law(law, points)
    # `compute_optimal` has the other approaches.
    statement = stated(fit, options.resamples, options.at, approaches=["surface"])
    title = in_words(where)

    def figure() -> Any:
        if len(law.features) == 1:
            x_text = (options.features or {}).get(law.features[0], law.features[0])
            return line_figure(statement, x_text, measured, title=title)
        return fit_figure(statement)

    heading = f"{measured}: {law.formula}" + (f", {title}" if title else "")
    name = f"scaling_law_{options.measure}_{place}"
    caption = " ".join(filter(None, statement.facts()))
    table = _table(statement, where)
    return Plot(name, heading, caption, table, figure, statement.cautions, fixed=where)


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
