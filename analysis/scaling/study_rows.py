"""Which trials and records of a study a law is fitted to: the options, and the rows they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import xarray as xr

from phasecube.analysis.maps.phase_diagram import map_axis, place_on
from phasecube.analysis.scaling.convention import Count, Flop
from phasecube.analysis.scaling.from_cube import Asked, Records, rows_of
from phasecube.analysis.scaling.points import Points
from phasecube.analysis.scaling.tuned import tuned


@dataclass(frozen=True)
class RowOptions:
    """What is fitted to what; docs/analysis.md says what each option means."""

    measure: str
    features: Mapping[str, str] | None = None
    by: str | None = None
    title: str = ""
    select: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None
    records: Records | None = None  # None: as suits the analysis
    from_step: int = 0
    average: Sequence[str] = ()
    best_over: Sequence[str] = ()
    count: Count = "all"
    flop: Flop = "6ND"
    resamples: int = 300
    at: Sequence[float] = ()


def parts(
    ds: xr.Dataset, options: RowOptions, needed: tuple[str, ...], records: Records
) -> Iterator[tuple[dict[str, Any], Points]]:
    """Yield (where, rows) of each value of `by`, or of the whole study.

    `needed` are the law's features and `records` what counts where the options do not say.
    """
    chosen = dict(place_on(ds, name, value) for name, value in options.select.items())
    ds = ds.isel(chosen)
    ds, of_choice = tuned(ds, options.measure, options.best_over, step=options.step)
    dim = None if options.by is None else map_axis(ds, options.by).dim
    asked = Asked(
        options.measure,
        options.features,
        needed=needed,
        step=options.step,
        records=options.records or ("last" if options.step is not None else records),
        from_step=options.from_step,
        average=tuple(options.average),
        count=options.count,
        flop=options.flop,
    )
    for i in range(1 if dim is None else ds.sizes[dim]):
        part = ds if dim is None else ds.isel({dim: [i]})
        where = {} if options.by is None else {options.by: part[options.by].values[0]}
        points = rows_of(part, asked)
        yield where, replace(points, cautions=(*points.cautions, *of_choice))
