"""What speaks against a finite-size collapse, by name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phasecube.analysis.caution import Caution
from phasecube.analysis.estimates.intervals import widened
from phasecube.analysis.finite_size.curves import Members
from phasecube.analysis.finite_size.quality import Curves, n_compared

Floats = npt.NDArray[np.float64]
FEW = 3  # places within the change of the curve, of any one size
_INSIDE = 0.05  # of the change of the scaled curves: a point nearer to an end tells nothing
_UNLIKELY = 4.0  # standard deviations of S
_SURE = 0.99  # of a drift; two or three parameters are looked at


def cautions_of(
    members: Members,
    curves: Curves,
    point_P: Floats,
    least_s: float,
    again_BP: Floats,
    smaller: tuple[Floats, Floats] | None,
) -> tuple[Caution, ...]:
    """Return the cautions of a fit: `smaller` is the fit, and resamples, without one size."""
    found = []
    if len(curves.size_L) == 2:
        found.append(
            Caution(
                "two_sizes_only",
                "two curves can be laid upon each other whatever the law; nothing tests it",
            )
        )
    n = n_compared(curves, point_P)
    # S is a mean of n squares of about unit variance each, fewer where members go together.
    most = 1 + _UNLIKELY * (2 / max(n * members.independent_share(), 3.0)) ** 0.5
    if not least_s <= most:
        found.append(
            Caution(
                "poor_collapse",
                f"S is {least_s:.2f}; where the law holds it is about 1 or less, {most:.2f} at the "
                "most: other exponents, corrections of small sizes, or no such law",
            )
        )
    x = curves.x_LX[np.isfinite(curves.x_LX)]
    if not x.min() < point_P[0] < x.max():
        found.append(
            Caution(
                "x_c_outside",
                f"x_c = {point_P[0]:.4g} lies outside of {x.min():.4g} to {x.max():.4g}, where "
                "nothing was measured; move the axis",
            )
        )
    few = _few(curves, point_P)
    if few:
        found.append(
            Caution(
                "few_points_in_window",
                f"fewer than {FEW} places within the change of the curve at size "
                f"{', '.join(few)}; refine the axis near x_c = {point_P[0]:.4g}",
            )
        )
    if smaller is not None:
        found += _drift(curves, point_P, again_BP, *smaller, members.n_members)
    return tuple(found)


def _few(curves: Curves, point_P: Floats) -> list[str]:
    """Return the sizes with too few places between the two ends of the scaled curves."""
    _, y_BLX, _ = curves.scaled(point_P[None])
    y_LX = np.where(np.isfinite(curves.x_LX), y_BLX[0], np.nan)
    low, high = float(np.nanmin(y_LX)), float(np.nanmax(y_LX))
    margin = _INSIDE * (high - low)
    inside_L = ((y_LX > low + margin) & (y_LX < high - margin)).sum(1)
    return [f"{size:g}" for size, n in zip(curves.size_L, inside_L, strict=True) if n < FEW]


def _drift(
    curves: Curves,
    point_P: Floats,
    again_BP: Floats,
    rest_P: Floats,
    rest_BP: Floats,
    n_members: int,
) -> list[Caution]:
    moved = []
    for p, name in enumerate(("x_c", "1/nu", "beta/nu")[: len(point_P)]):
        change_B = np.append(rest_P[p] - point_P[p], rest_BP[:, p] - again_BP[:, p])
        low, high = widened(change_B, n_members, confidence=_SURE)
        if not low <= 0 <= high:
            ends = (point_P[p], rest_P[p]) if p != 1 else np.exp([point_P[p], rest_P[p]])
            moved.append(f"{name} from {ends[0]:.4g} to {ends[1]:.4g}")
    if not moved:
        return []
    return [
        Caution(
            "drift_with_smallest_size",
            f"without size {curves.size_L.min():g}, {' and '.join(moved)}: more than resampled "
            "members explain. Small sizes have corrections; the limit lies further that way",
        )
    ]
