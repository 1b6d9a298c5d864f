"""The analysis `compute_optimal`: the best size at each budget, by every approach, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from phasecube.analysis.caution import Caution
from phasecube.analysis.labels import in_words, name_and_unit
from phasecube.analysis.plots import Plot
from phasecube.analysis.scaling import optimal_figures
from phasecube.analysis.scaling.compute_optimal import (
    APPROACHES,
    Approach,
    ComputeOptimal,
    compute_optimal,
)
from phasecube.analysis.scaling.fit import Fit, fit_law
from phasecube.analysis.scaling.law import CHINCHILLA
from phasecube.analysis.scaling.optimum import asked_beyond
from phasecube.analysis.scaling.points import Points
from phasecube.analysis.scaling.resampled import Resampled, resampled
from phasecube.analysis.scaling.statement import optimum_lines
from phasecube.analysis.scaling.study_rows import RowOptions, parts
from phasecube.engine.errors import StudyError


@dataclass(frozen=True)
class Options(RowOptions):
    """What is sought; docs/analysis.md says what each option means."""

    approaches: Sequence[Approach] = APPROACHES


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return up to three plots a value of `by`: envelope, parabolas, all approaches."""
    measured = name_and_unit(ds[options.measure]) if options.measure in ds else options.measure
    return tuple(
        plot
        for place, (where, points) in enumerate(parts(ds, options, ("N", "D"), "all"))
        for plot in _plots(place, where, points, measured, options)
    )


def _plots(
    place: int, where: Mapping[str, Any], points: Points, measured: str, options: Options
) -> Iterator[Plot]:
    fit, again, said = _surface(points, options)
    optimal = compute_optimal(points, fit, again, options.approaches)
    title = in_words(where)
    ending = f", {title}" if title else ""
    stem = f"compute_optimal_{options.measure}_{place}"
    about = f"{points.convention}; {', '.join(points.read)}."
    for approach, figure, heading in (
        ("envelope", optimal_figures.envelope_figure, "Best size, by the envelope of curves"),
        ("isoflop", optimal_figures.isoflop_figure, "Best size, by parabolas at fixed compute"),
    ):
        found = optimal.by(approach)  # type: ignore[arg-type]
        if found is not None:
            caption = " ".join([*optimum_lines([found], options.at), about])
            yield Plot(
                f"{stem}_{approach}",
                f"{heading}{ending}",
                caption,
                found.table.assign(**where),
                partial(figure, optimal, found, measured),
                _once([*points.cautions, *found.cautions]),
                fixed=where,
            )
    of_fit = fit.cautions if fit is not None else points.cautions
    beyond = [c for flop in options.at for c in (asked_beyond(fit, flop) if fit else ())]
    yield Plot(
        stem,
        f"Best size, all approaches{ending}",
        " ".join([*optimum_lines(optimal.optima, options.at), about]),
        optimal.table(options.at or _decades(optimal)).assign(**where),
        partial(optimal_figures.comparison_figure, optimal),
        _once([*of_fit, *said, *optimal.cautions, *beyond]),
        fixed=where,
    )


def _surface(
    points: Points, options: Options
) -> tuple[Fit | None, Resampled | None, list[Caution]]:
    """Return Chinchilla's surface through the rows; where there is none, why, as a caution."""
    if "surface" not in options.approaches:
        return None, None, []
    try:
        fit = fit_law(CHINCHILLA, points)
    except StudyError as error:
        return None, None, [Caution("approach_left_out", f"no surface: {error}")]
    return fit, resampled(fit, options.resamples) if options.resamples else None, []


def _decades(optimal: ComputeOptimal) -> list[float]:
    """Return the powers of ten of FLOP at which budgets lie, at most five."""
    flops = np.concatenate([o.table["flop"].to_numpy() for o in optimal.optima])
    low, high = np.log10(flops.min()), np.log10(flops.max())
    found = np.arange(np.floor(low), np.ceil(high) + 1)
    step = int(np.ceil(len(found) / 5))
    return [float(10.0**power) for power in found[::step]]


def _once(cautions: Sequence[Caution]) -> tuple[Caution, ...]:
    return tuple(dict.fromkeys(cautions))
