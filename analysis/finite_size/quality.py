"""How well curves of systems of several sizes fall onto one, for many trial exponents at once.

A transition that sharpens with size L has m(x, L) = L^(-beta/nu) f((x - x_c) L^(1/nu)): with
the right three numbers the curves of all sizes are one. Nobody knows f, so each point is held
against the curves of the other sizes at its place, in units of the errors: S of Houdayer &
Hartmann 2004, Phys. Rev. B 70, 014418. They lay a straight line through the neighbours; here each
other curve is interpolated by a cubic and they are averaged by their errors, as a line makes
1 / nu too small by 4 to 11 % where the largest size changes within a few points. P_b is that
of Bhattacharjee & Seno 2001, J. Phys. A 34, 6375.

Letters: B trial exponents or resamples, L sizes, X places, P the parameters x_c, ln(1 / nu) and,
if there is one, beta / nu. Sizes are told relative to their geometric mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEAST_SHARE = 0.3  # of the points that must be compared, else exponents that part all curves win
_LEAST = 4  # points


@dataclass(frozen=True)
class Curves:
    """Means and their standard errors, each [B, L, X]; `x_LX` rises along X, NaN at its end.

    B is 1, or as many as there are rows of parameters.
    """

    size_L: Floats
    x_LX: Floats
    mean_BLX: Floats
    error_BLX: Floats

    @property
    def log_sizes(self) -> Floats:
        """Return ln size, less its mean."""
        found: Floats = np.log(self.size_L) - np.log(self.size_L).mean()
        return found

    def without_smallest(self) -> Curves:
        """Return the curves of all sizes but the smallest."""
        kept = self.size_L > self.size_L.min()
        return Curves(
            self.size_L[kept], self.x_LX[kept], self.mean_BLX[:, kept], self.error_BLX[:, kept]
        )

    def only(self, row: int) -> Curves:
        """Return one of the B rows."""
        rows = slice(row, row + 1)
        return Curves(self.size_L, self.x_LX, self.mean_BLX[rows], self.error_BLX[rows])

    def scaled(self, point_BP: Floats) -> tuple[Floats, Floats, Floats]:
        """Return places, means and errors after scaling, each [B, L, X]."""
        log_L = self.log_sizes
        stretch_BL = np.exp(np.exp(point_BP[:, 1:2]) * log_L)
        place_BLX = (self.x_LX - point_BP[:, 0, None, None]) * stretch_BL[:, :, None]
        if point_BP.shape[1] == 2:
            return place_BLX, self.mean_BLX, self.error_BLX
        lift_BL1 = np.exp(point_BP[:, 2:3] * log_L)[:, :, None]
        return place_BLX, self.mean_BLX * lift_BL1, self.error_BLX * lift_BL1


def quality(curves: Curves, point_BP: Floats) -> Floats:
    """Return S of each row of parameters, [B]: at most about 1 where errors alone part the curves.

    Infinite where fewer than LEAST_SHARE of the points lie within the range of another curve.
    """
    return _quality(curves, point_BP)[0]


def n_compared(curves: Curves, point_P: Floats) -> int:
    """Return how many points lie within the range of another size's curve."""
    return int(_quality(curves, point_P[None])[1][0])


def _quality(curves: Curves, point_BP: Floats) -> tuple[Floats, Floats]:
    _, y_BLX, error_BLX = curves.scaled(point_BP)
    value_OBLX, variance_OBLX, known_OBLX = _interpolated(curves, point_BP, 4)
    weight_OBLX = np.where(known_OBLX, 1 / variance_OBLX, 0.0)
    weight_BLX = weight_OBLX.sum(0)
    counted_BLX = (weight_BLX > 0) & np.isfinite(curves.x_LX)
    safe_BLX = np.where(counted_BLX, weight_BLX, 1.0)
    master_BLX = (weight_OBLX * value_OBLX).sum(0) / safe_BLX
    distance_BLX = np.where(counted_BLX, y_BLX - master_BLX, 0.0)
    term_BLX = distance_BLX**2 / (error_BLX**2 + 1 / safe_BLX)
    return _mean(term_BLX, counted_BLX, curves)


def seno_quality(curves: Curves, point_BP: Floats) -> Floats:
    """Return P_b of each row of parameters, [B]: the mean distance of each point from the others.

    Curves are joined by straight lines, errors play no part; each pair of sizes counts both ways,
    over the range that they share. In the unit of the scaled mean. Infinite as S is.
    """
    _, y_BLX, _ = curves.scaled(point_BP)
    value_OBLX, _, known_OBLX = _interpolated(curves, point_BP, 2)
    total_BLX = np.where(known_OBLX, np.abs(y_BLX - value_OBLX), 0.0).sum(0)
    return _mean(total_BLX, known_OBLX.sum(0), curves)[0]


def _mean(
    term_BLX: Floats, n_BLX: npt.NDArray[np.generic], curves: Curves
) -> tuple[Floats, Floats]:
    """Return the sum of terms over that of counts, infinite of too few places, and the counts."""
    counts_B = np.asarray(n_BLX, np.float64).sum((1, 2))
    places_B = (np.asarray(n_BLX) > 0).sum((1, 2))
    least = max(_LEAST, LEAST_SHARE * float(np.isfinite(curves.x_LX).sum()))
    means_B = term_BLX.sum((1, 2)) / np.maximum(counts_B, 1)
    return np.where(places_B >= least, means_B, np.inf), counts_B


def _interpolated(
    curves: Curves, point_BP: Floats, n_through: int
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Return each other curve (O) at the place of each point, its variance, and if it is there.

    Three arrays [O, B, L, X]. Lagrange's polynomial through `n_through` points of the curve,
    or as many as the shortest one has.
    """
    log_L, n_L = curves.log_sizes, np.isfinite(curves.x_LX).sum(1)
    _, y_BLX, error_BLX = curves.scaled(point_BP)
    # Where the point would lie on the other curve's own axis, which is the same for all B.
    share_OBL = np.exp(np.exp(point_BP[:, 1:2]) * (log_L - log_L[:, None, None]))
    centre_B11 = point_BP[:, 0, None, None]
    sought_OBLX = centre_B11 + (curves.x_LX - centre_B11) * share_OBL[..., None]
    right_OBLX = np.stack(
        [
            np.searchsorted(x_X[:n], s)
            for x_X, n, s in zip(curves.x_LX, n_L, sought_OBLX, strict=True)
        ]
    )
    n_O111 = n_L[:, None, None, None]
    known_OBLX = (right_OBLX > 0) & (right_OBLX < n_O111)
    same_OL = np.eye(len(log_L), dtype=bool)
    known_OBLX &= ~same_OL[:, None, :, None]
    # What lies far off would overflow, and is not used.
    sought_OBLX = np.where(known_OBLX, sought_OBLX, curves.x_LX[:, :1, None, None])
    through = min(n_through, int(n_L.min()))
    width = curves.x_LX.shape[1]
    first_OBLX = np.clip(right_OBLX - through // 2, 0, n_O111 - through)
    # Lagrange's denominators depend on the stencil alone.
    stencil_OTi = curves.x_LX[:, np.arange(width - through + 1)[:, None] + np.arange(through)]
    gap_OTij = stencil_OTi[..., :, None] - stencil_OTi[..., None, :] + np.eye(through)
    factor_OTi = 1 / gap_OTij.prod(-1)
    other_O = np.arange(len(log_L))[:, None, None, None]
    stencil = other_O * stencil_OTi.shape[1] + first_OBLX
    off_iOBLX = [sought_OBLX - np.take(stencil_OTi[..., i], stencil) for i in range(through)]
    # Rows of data, of which there is one or as many as of parameters.
    row_B11 = np.arange(len(y_BLX))[:, None, None]
    datum = (row_B11 * len(log_L) + other_O) * width + first_OBLX
    variance_BLX = error_BLX**2
    value_OBLX, spread_OBLX = np.zeros(sought_OBLX.shape), np.zeros(sought_OBLX.shape)
    for i in range(through):
        weight_OBLX = np.take(factor_OTi[..., i], stencil)
        for j in range(through):
            if j != i:
                weight_OBLX *= off_iOBLX[j]
        value_OBLX += weight_OBLX * np.take(y_BLX, datum + i)
        spread_OBLX += weight_OBLX**2 * np.take(variance_BLX, datum + i)
    return value_OBLX, spread_OBLX, known_OBLX
