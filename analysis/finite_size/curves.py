"""Members of systems of several sizes as curves with errors, of all members or of resamples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phasecube.analysis.finite_size.quality import Curves
from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]
_UNKNOWN = 1e6  # the error of a mean that no member of a resample has, in units of the spread
_FLOOR = 0.05  # of the greatest spread of a size: no place is exact because its members agree


@dataclass(frozen=True)
class Members:
    """Values [L, X, N] of N members, NaN where unknown; x rises, NaN past a size's last place.

    `yes_or_no`: all values are 0 or 1.
    """

    size_L: Floats
    x_LX: Floats
    values_LXN: Floats
    yes_or_no: bool

    @property
    def n_members(self) -> int:
        """Return how many members there are where there are most."""
        return int(self.values_LXN.shape[-1])

    def curves(self, weight_BN: Floats) -> Curves:
        """Return means and standard errors with each member counted so many times.

        The spread of members is smoothed over neighbouring places (1/4, 1/2, 1/4): errors that
        go with the means' own noise would pull the fit to places that came out low.
        """
        known_LXN = np.isfinite(self.values_LXN)
        values_LXN = np.where(known_LXN, self.values_LXN, 0.0)

        def summed(terms_LXN: Floats) -> Floats:
            found: Floats = np.einsum("bn,lxn->blx", weight_BN, terms_LXN, optimize=True)
            return found

        n_BLX = summed(known_LXN.astype(np.float64))
        some_BLX = n_BLX > 0
        safe_BLX = np.where(some_BLX, n_BLX, 1.0)
        mean_BLX = summed(values_LXN) / safe_BLX
        if self.yes_or_no:
            share_BLX = (_smoothed(mean_BLX, some_BLX) * safe_BLX + 0.5) / (safe_BLX + 1)
            variance_BLX = share_BLX * (1 - share_BLX)
        else:
            square_BLX = summed(values_LXN**2) / safe_BLX - mean_BLX**2
            unbiased_BLX = np.maximum(square_BLX, 0) * safe_BLX / np.maximum(safe_BLX - 1, 1)
            variance_BLX = _smoothed(unbiased_BLX, some_BLX & (n_BLX > 1))
            most_BL1 = variance_BLX.max(-1, keepdims=True)
            tiny = np.finfo(np.float64).tiny
            variance_BLX = np.maximum(variance_BLX, np.maximum(_FLOOR**2 * most_BL1, tiny))
        spread = float(np.nanmax(self.values_LXN) - np.nanmin(self.values_LXN)) or 1.0
        error_BLX = np.where(some_BLX, np.sqrt(variance_BLX / safe_BLX), _UNKNOWN * spread)
        return Curves(self.size_L, self.x_LX, mean_BLX, error_BLX)

    def independent_share(self) -> float:
        """Return how many independent places a place stands for, from what members do at the next.

        (1 - r) / (1 + r) with r the correlation of a member's deviations at neighbouring places:
        where the same seeds stand at all places, a curve moves as a whole.
        """
        known_LXN = np.isfinite(self.values_LXN)
        count_LX1 = known_LXN.sum(-1, keepdims=True)
        values_LXN = np.where(known_LXN, self.values_LXN, 0.0)
        mean_LX1 = values_LXN.sum(-1, keepdims=True) / np.maximum(count_LX1, 1)
        off_LXN = np.where(known_LXN, values_LXN - mean_LX1, 0.0)
        squares = float((off_LXN**2).sum())
        r = float((off_LXN[:, 1:] * off_LXN[:, :-1]).sum()) / squares if squares > 0 else 0.0
        r = float(np.clip(r, 0.0, 0.95))
        return (1 - r) / (1 + r)


def _smoothed(values_BLX: Floats, known_BLX: npt.NDArray[np.bool_]) -> Floats:
    """Return means of three neighbouring places, the middle one counting twice."""
    weight_BLX = known_BLX.astype(np.float64)
    top_BLX = np.where(known_BLX, values_BLX, 0.0)

    def spread(terms_BLX: Floats) -> Floats:
        # The first and last place have one neighbour.
        padded = np.pad(terms_BLX, ((0, 0), (0, 0), (1, 1)))
        found: Floats = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
        return found

    return spread(top_BLX) / np.maximum(spread(weight_BLX), 1e-300)


def members_of_sizes(size: npt.ArrayLike, x: npt.ArrayLike, values: npt.ArrayLike) -> Members:
    """Return members with sizes and places in rising order, places without two members left out.

    Raises StudyError where nothing can be collapsed.
    """
    size_L, values_LXN = np.asarray(size, np.float64).ravel(), np.asarray(values, np.float64)
    if values_LXN.ndim != 3 or len(values_LXN) != len(size_L):
        raise StudyError(
            f"values must be [sizes, places, members]; there are {len(size_L)} sizes and an array "
            f"of {' x '.join(map(str, values_LXN.shape))}"
        )
    x_LX = np.array(np.broadcast_to(np.asarray(x, np.float64), values_LXN.shape[:2]))
    if not (np.isfinite(size_L) & (size_L > 0)).all():
        raise StudyError("sizes must be finite numbers above 0")
    if len(np.unique(size_L)) < max(2, len(size_L)):
        raise StudyError("a collapse needs at least 2 sizes, all different; measure at another one")
    known_LX = np.isfinite(x_LX) & (np.isfinite(values_LXN).sum(-1) > 1)
    if (known_LX.sum(1) < 3).any():
        place = int(known_LX.sum(1).argmin())
        raise StudyError(
            f"size {size_L[place]:g} has {known_LX[place].sum()} places with at least 2 members; "
            "a collapse needs 3, and members (seeds) to tell errors"
        )
    order_L = np.argsort(size_L)
    n = int(known_LX.sum(1).max())
    out_x = np.full((len(size_L), n), np.nan)
    out_values = np.full((len(size_L), n, values_LXN.shape[-1]), np.nan)
    for row, place in enumerate(order_L):
        kept = np.flatnonzero(known_LX[place])
        kept = kept[np.argsort(x_LX[place, kept], kind="stable")]
        if (np.diff(x_LX[place, kept]) == 0).any():
            raise StudyError(f"size {size_L[place]:g} has two places with the same x")
        out_x[row, : len(kept)] = x_LX[place, kept]
        out_values[row, : len(kept)] = values_LXN[place, kept]
    finite = out_values[np.isfinite(out_values)]
    return Members(size_L[order_L], out_x, out_values, bool(np.isin(finite, (0, 1)).all()))
