"""The parts of a study that have a plot each: one for each place on the axes nothing names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

import xarray as xr

from phasecube.analysis.lines.arranged import MAX_PLOTS
from phasecube.analysis.maps.phase_diagram import coords_at, place_on, sweep_dims
from phasecube.engine.errors import StudyError


def free_places(
    ds: xr.Dataset, drawn: Sequence[str], over: Sequence[str], select: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
    """Return (names and values, part of the study) of each place, at most MAX_PLOTS.

    `drawn` are dims that stay, as do the axes in `over`; `select` fixes axes. Raises StudyError
    where an axis is both drawn and fixed.
    """
    fixed_at = dict(place_on(ds, name, value) for name, value in select.items())
    twice = [d for d in drawn if d in fixed_at]
    if twice:
        raise StudyError(f"select fixes {', '.join(twice)}, which another option draws")
    kept = {*drawn, *over, *fixed_at}
    free = [d for d in sweep_dims(ds) if d not in kept]
    for where in islice(product(*(range(ds.sizes[d]) for d in free)), MAX_PLOTS):
        place = dict(zip(free, where, strict=True))
        shown = {d: i for d, i in {**fixed_at, **place}.items() if ds.sizes[d] > 1}
        yield coords_at(ds, shown), ds.isel({**fixed_at, **place})
