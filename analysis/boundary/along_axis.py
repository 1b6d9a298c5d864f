"""Where something that holds at small values of an axis stops to hold, and how surely.

The boundary of a slice is known to a cell of the axis, and to its members (seeds): the
interval is never narrower than either. Where the end of the axis is reached first, nothing
but a bound is known, and no number is given that could pass for the boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]
_BLOCK = 4_000_000  # numbers of resampled shares at once, 32 MB


class Edge(IntEnum):
    """What is known of a boundary."""

    UNKNOWN = 0  # no member of the slice has ended
    FOUND = 1
    ABOVE = 2  # it holds up to the last value: the boundary lies above that
    BELOW = 3  # it does not hold at the first value: the boundary lies below that


EDGE_ATTRS = {
    "flag_values": np.array([int(e) for e in Edge], np.uint8),
    "flag_meanings": " ".join(e.name for e in Edge),
}


def upper_boundary(
    holds: xr.DataArray,
    axis: str,
    *,
    over: Sequence[str] = ("seed",),
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Return the largest value on `axis` at which most members hold, for each slice.

    `holds` is 1, 0, or NaN where that is not known; a slice is a place on the axes other
    than `axis` and those in `over`. Variables, in the unit of the axis:

    - boundary: where the share of members that hold passes 1/2, interpolated between the
      last value at which it is at least 1/2 and the next (on a logarithmic scale where all
      values are above 0). NaN unless FOUND.
    - low, high: hold the cell between those two values, and that of `confidence` of
      bootstrap resamples of the members. Infinite where they reach past the axis
      (low: 0 on a logarithmic scale).
    - last_good, first_bad: the two values; state: `Edge`.
    - n_members: members that are known at some value; n_holes: values below the boundary
      at which most members do not hold (what is bounded is no interval then).

    Raises StudyError where the axis is not there or holds no numbers.
    """
    at_A = _numbers(holds, axis)
    order_A = np.argsort(at_A)
    at_A = at_A[order_A]
    log = bool((at_A > 0).all())
    place_A = np.log(at_A) if log else at_A
    members = [d for d in over if d in holds.dims]
    slices = [str(d) for d in holds.dims if d != axis and d not in members]
    values = holds.astype(np.float64).transpose(*slices, axis, *members).values
    shape = values.shape[: len(slices)]
    values_CAN = values.reshape(int(np.prod(shape)), len(at_A), -1)[:, order_A]

    known_CAN = ~np.isnan(values_CAN)
    share_CA = _shares(values_CAN, known_CAN, np.ones((1, values_CAN.shape[-1])))[..., 0]
    good_C, bad_C = _bracket(share_CA)
    state_C = np.select(
        [good_C == -2, good_C < 0, bad_C == len(at_A)],
        [Edge.UNKNOWN, Edge.BELOW, Edge.ABOVE],
        Edge.FOUND,
    )
    low_C, high_C = _resampled(values_CAN, known_CAN, good_C, bad_C, confidence, resamples, seed)
    below, above = (0.0 if log else -np.inf), np.inf
    ends_A = np.concatenate([at_A, [above], [np.nan], [below]])  # -2: unknown, -1: below
    found_C = state_C == Edge.FOUND
    crossing_C = np.full(len(share_CA), np.nan)
    row = np.flatnonzero(found_C)
    first, second = share_CA[row, good_C[row]], share_CA[row, bad_C[row]]
    step = (place_A[bad_C[row]] - place_A[good_C[row]]) * (first - 0.5) / (first - second)
    crossing_C[row] = np.exp(place_A[good_C[row]] + step) if log else place_A[good_C[row]] + step
    under_CA = np.arange(len(at_A)) < good_C[:, None]
    unit = str(holds[axis].attrs.get("units", "1"))
    fields: dict[str, tuple[npt.NDArray[np.generic], str]] = {
        "boundary": (crossing_C, unit),
        "low": (ends_A[low_C], unit),
        "high": (ends_A[high_C], unit),
        "last_good": (ends_A[good_C], unit),
        "first_bad": (ends_A[bad_C], unit),
        "n_members": (known_CAN.any(1).sum(-1), "1"),
        "n_holes": (((share_CA < 0.5) & under_CA).sum(-1), "1"),
        "state": (state_C.astype(np.uint8), "1"),
    }
    kept = {str(n): c for n, c in holds.coords.items() if set(c.dims) <= set(slices)}
    ds = xr.Dataset(
        {n: (slices, v.reshape(shape), {"units": u}) for n, (v, u) in fields.items()}, kept
    )
    ds["state"].attrs |= EDGE_ATTRS
    how = f"{100 * confidence:g} % of resampled members, and the cell of {axis}"
    return ds.assign_attrs(axis=axis, first=at_A[0], last=at_A[-1], interval=how)


def _numbers(holds: xr.DataArray, axis: str) -> Floats:
    if axis not in holds.dims:
        named = ", ".join(str(d) for d in holds.dims) or "none"
        raise StudyError(f"a boundary needs {axis!r} as an axis; the study has {named}")
    if axis not in holds.coords or holds[axis].dtype.kind not in "fiu":
        raise StudyError(f"a boundary along {axis!r} needs numbers on that axis")
    return np.asarray(holds[axis].values, np.float64)


def _shares(values_CAN: Floats, known_CAN: npt.NDArray[np.bool_], weight_BN: Floats) -> Floats:
    """Return the share of members that hold [C, A, B], NaN where none is known."""
    hits = np.where(known_CAN, values_CAN, 0.0) @ weight_BN.T
    counts = known_CAN.astype(np.float64) @ weight_BN.T
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = hits / counts
    return found


def _bracket(share_CA: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the places of the last share >= 1/2 and of the next that is known.

    -1: there is none at or above 1/2; A: none follows; both -2: no share is known.
    """
    n = share_CA.shape[1]
    known_CA = ~np.isnan(share_CA)
    place_A = np.arange(n)
    # Counts of members divide to 1/2 exactly.
    good_C = np.where(share_CA >= 0.5, place_A, -1).max(-1)
    after_CA = known_CA & (place_A > good_C[:, None])
    bad_C = np.where(after_CA.any(-1), after_CA.argmax(-1), n)
    nothing_C = ~known_CA.any(-1)
    return np.where(nothing_C, -2, good_C), np.where(nothing_C, -2, bad_C)


def _resampled(
    values_CAN: Floats,
    known_CAN: npt.NDArray[np.bool_],
    good_C: npt.NDArray[np.int64],
    bad_C: npt.NDArray[np.int64],
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the places of the interval's ends; slices are resampled alike."""
    n_slices, n_axis, n = values_CAN.shape
    if n < 2:
        return good_C, bad_C
    drawn = np.random.default_rng(seed).integers(n, size=(resamples, n))
    weight_BN = np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float64)
    low_C, high_C = good_C.copy(), bad_C.copy()
    step = max(1, _BLOCK // (n_axis * resamples))
    tail = (1 - confidence) / 2
    for start in range(0, n_slices, step):
        block = slice(start, start + step)
        share_CAB = _shares(values_CAN[block], known_CAN[block], weight_BN)
        rows = share_CAB.transpose(0, 2, 1)
        good, bad = (found.reshape(rows.shape[:2]) for found in _bracket(_flat(rows)))
        some = good_C[block] > -2
        # A resample may hold no known member at all; it says nothing.
        good = np.where(good == -2, good_C[block][:, None], good)
        bad = np.where(bad == -2, bad_C[block][:, None], bad)
        least = np.quantile(good, tail, axis=1, method="lower").astype(np.int64)
        most = np.quantile(bad, 1 - tail, axis=1, method="higher").astype(np.int64)
        low_C[block] = np.where(some, np.minimum(least, good_C[block]), good_C[block])
        high_C[block] = np.where(some, np.maximum(most, bad_C[block]), bad_C[block])
    return low_C, high_C


def _flat(rows: Floats) -> Floats:
    return rows.reshape(-1, rows.shape[-1])


def power_law(found: xr.Dataset, along: str, *, confidence: float = 0.95) -> xr.Dataset:
    """Return the exponent p of boundary ~ x^p for each slice, x the coordinate `along`.

    Least squares of log boundary on log x over the slices where the boundary was found;
    those where it lies past the axis are left out and counted in n_censored, which biases
    p where they gather at one end. The half width of low..high is Student's t times the
    larger of two errors of the slope: of the residuals, and of the cells of the axis
    (uniform, cell^2 / 12), without which boundaries on one grid line would look exact.
    Variables: exponent, low, high, factor (boundary at x = 1), misfit (the first of those
    errors over the second: far above 1, the boundary is no power of x), n, n_censored; all
    but the last two are NaN for fewer than 3 boundaries. Raises StudyError where `along` is
    no axis of positive numbers.
    """
    from scipy import stats

    if along not in found.coords or len(found[along].dims) != 1:
        raise StudyError(
            f"a law needs {along!r} as an axis; there are {', '.join(map(str, found.dims))}"
        )
    x = found[along]
    if x.dtype.kind not in "fiu" or not bool((x > 0).all()):
        raise StudyError(f"a law in {along!r} needs positive numbers on that axis")
    dim = str(x.dims[0])
    usable = (found.state == Edge.FOUND) & (found.last_good > 0)
    log_x = _log(x.where(usable))
    log_y = _log(found.boundary.where(usable))
    cell = _log((found.first_bad / found.last_good).where(usable))
    n = usable.sum(dim)
    centred = log_x - log_x.mean(dim)
    spread = (centred**2).sum(dim)
    enough = (n >= 3) & (spread > 0)
    slope = ((centred * log_y).sum(dim) / spread.where(enough)).rename("exponent")
    factor = np.exp(log_y.mean(dim) - slope * log_x.mean(dim))
    free = (n - 2).where(enough)
    residual = ((log_y - log_y.mean(dim) - slope * centred) ** 2).sum(dim) / free
    rounding = (cell**2).mean(dim) / 12
    error = np.sqrt(np.maximum(residual, rounding) / spread)
    half = error * xr.apply_ufunc(lambda f: stats.t.ppf(0.5 + confidence / 2, f), free)
    return xr.Dataset(
        {
            "exponent": slope,
            "low": slope - half,
            "high": slope + half,
            "factor": factor,
            "misfit": np.sqrt(residual / rounding),
            "n": n,
            "n_censored": found.state.isin([Edge.ABOVE, Edge.BELOW]).sum(dim),
        },
        attrs={"along": along, "confidence": confidence},
    )


def _log(values: xr.DataArray) -> xr.DataArray:
    found: xr.DataArray = xr.apply_ufunc(np.log, values.astype(np.float64))
    return found
