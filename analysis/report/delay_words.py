"""The delay law of a grokking study in words, where its rates vary and enough trials grokked."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import xarray as xr

from phasecube.analysis.analyses import Request
from phasecube.analysis.grokking import Phase, delay_law, grokking, onsets
from phasecube.engine.errors import StudyError


def delay_in_words(ds: xr.Dataset, wanted: Request) -> list[str]:
    """Return the delay law in words where lr * weight_decay varies and enough trials grokked."""
    rates = [parameter(ds, name) for name in ("lr", "weight_decay")]
    if rates[0] is None or rates[1] is None or (rates[0] * rates[1]).size < 2:
        return []
    rate = rates[0] * rates[1]
    t_grok = onsets(ds, wanted.rule)[1]
    late = grokking(ds, wanted.rule).phase == Phase.GROKKING
    # At large rates t_grok meets a floor and the law ends; the lower half shows the difference.
    middle = float(np.median(np.unique(rate.values[rate.values > 0])))
    said = []
    for words, within in (("", late), (" at the lower half of the rates", late & (rate <= middle))):
        try:
            part = replace(t_grok, step=t_grok.step.where(within))
            law = delay_law(part, rates[0], rates[1], over=wanted.over)
        except StudyError:
            continue  # too few trials grokked there: the maps say so
        ends = f"{law.low:.2f} to {law.high:.2f}".replace("-", "−")
        exponent = f"{law.slope:.2f}".replace("-", "−")
        said.append(f"{exponent}{words} (95 % {ends}; {law.n} trials, R² {law.r_squared:.2f})")
    if not said:
        return []
    sentence = (
        "Delay law of the trials in the grokking phase, all other axes alike: t_grok goes as "
        f"lr × weight decay to the power of {', '.join(said)}. −1 is expected where weight decay "
        "drives the onset; trials that had not generalised by their end are left out."
    )
    return [sentence]


def parameter(ds: xr.Dataset, name: str) -> xr.DataArray | None:
    """Return a parameter as an axis, a derived coordinate or fixed value, None if absent."""
    if name in ds.coords:
        return ds[name]
    value = json.loads(ds.attrs.get("fixed", "{}")).get(name)
    return xr.DataArray(value) if isinstance(value, int | float) else None
