"""The curves of a cell as one line with a band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class Band:
    """One line with its band over members: arrays over the steps."""

    label: str
    steps: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def seed_band(curves: xr.DataArray, label: str) -> Band:
    """Return the median and the range over `member` of curves (member, step)."""
    values = np.asarray(curves.transpose("member", "step").values, np.float64)
    some = ~np.isnan(values).all(0)  # steps past every member's end have no band
    values = values[:, some]
    return Band(
        label,
        np.asarray(curves.step.values)[some],
        np.nanmedian(values, 0),
        np.nanmin(values, 0),
        np.nanmax(values, 0),
    )
