"""The best learning rate of each width, how surely it is known, and how far it moves.

The optimum of a slice is the vertex of a parabola through three points in log lr: the
learning rate of least mean loss on the axis and its two neighbours. Two errors are told
apart. The members (seeds) give the vertex a spread, which is bootstrapped. And the loss is
no parabola, which no number of members mends. A cubic term c of the loss in log lr moves the
vertex by c h^2 / 2b, where b is the parabola's coefficient and h the cell; c is measured by
the next point on either side. Three times that is allowed for: where the third difference
is as large as the second, as at a kink, this is half a cell, and the vertex of a kink on a
point misses it by up to that. Where there is no next point the interval reaches to the
neighbours, between which the minimum of any loss with one minimum lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.analysis.estimates.intervals import resample_counts, widened
from phasecube.analysis.lr.stability import capped_loss, learning_rates
from phasecube.engine.errors import StudyError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Vertex:
    """The minimum of a curve on an axis, in the unit of the axis.

    `low`, `high`: where the minimum may lie because the curve is no parabola. `edge`: -1, 1
    where the least value is the first or last; `place` is -inf, inf then, and the interval
    says from where on. 0 inside.
    """

    place: float
    low: float
    high: float
    edge: int


def vertex(place_L: Floats, value_L: Floats) -> Vertex:
    """Return the vertex of the parabola through the least value and its neighbours.

    `place_L` rises and holds at least 3 numbers. The vertex lies between the middles of the
    two cells beside the least value.
    """
    found, edges = _vertices(place_L, value_L[None])
    place, edge = float(found[0]), int(edges[0])
    if edge:
        if edge < 0:
            return Vertex(place, place, float(place_L[1]), edge)
        return Vertex(place, float(place_L[-2]), place, edge)
    i = int(np.argmin(value_L))
    low, middle, high = place_L[i - 1 : i + 2]
    second = _divided(place_L[i - 1 : i + 2], value_L[i - 1 : i + 2])
    starts = [j for j in (i - 2, i - 1) if j >= 0 and j + 4 <= len(place_L)]
    error = np.inf
    if starts and second > 0:
        thirds = [abs(_divided(place_L[j : j + 4], value_L[j : j + 4])) for j in starts]
        # Of c (x - low)(x - middle)(x - high), by which curve and parabola differ, the slope
        # at the middle; over that of the parabola's slope, and three times.
        error = 3 * max(thirds) * (middle - low) * (high - middle) / (2 * second)
    return Vertex(place, max(place - error, low), min(place + error, high), 0)


def _divided(place: Floats, value: Floats) -> float:
    """Return the divided difference of all points, the leading coefficient through them."""
    while len(value) > 1:
        order = len(place) - len(value) + 1
        value = np.diff(value) / (place[order:] - place[:-order])
    return float(value[0])


def _vertices(place_L: Floats, value_RL: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the vertex and edge of each row; NaN and 0 where a value is NaN."""
    n = len(place_L)
    known_R = np.asarray(np.isfinite(value_RL).all(-1))
    best_R = np.where(known_R, np.where(known_R[:, None], value_RL, 0.0).argmin(-1), 1)
    edge_R = np.where(best_R == n - 1, 1, np.where(best_R == 0, -1, 0))
    i_R = np.clip(best_R, 1, n - 2)
    rows = np.arange(len(value_RL))
    left, middle, right = (place_L[i_R + d] for d in (-1, 0, 1))
    below, least, above = (value_RL[rows, i_R + d] for d in (-1, 0, 1))
    fall = (least - below) / (middle - left)
    rise = (above - least) / (right - middle)
    bend = (rise - fall) / (right - left)
    with np.errstate(invalid="ignore", divide="ignore"):
        place_R = np.where(bend > 0, (left + middle) / 2 - fall / (2 * bend), middle)
    place_R = np.where(edge_R == 0, place_R, np.where(edge_R < 0, -np.inf, np.inf))
    return np.where(known_R, place_R, np.nan), edge_R


def lr_transfer(
    ds: xr.Dataset,
    measure: str,
    *,
    x: str,
    lr: str = "lr",
    over: Sequence[str] = ("seed",),
    tail: int = 1,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> xr.Dataset:
    """Return the best learning rate for each value of `x` in each slice, and its drift.

    The loss is the mean over the members of the final one, capped at the first
    (`lr_stability.capped_loss`). Variables, a slice being a place on the other axes:

    - optimum, of a slice and x: the vertex described above, NaN where the least loss is
      the first or last on the axis, which at_edge says (-1, 1; 0 inside);
      optimum_low, _high: interval of both errors, infinite (low: 0) past an edge.
    - best_loss: the least mean loss on the axis, with the bootstrap interval
      best_loss_low, _high; n_members: members whose every learning rate has ended.
    - drift, of a slice: log2 of the optimum at the largest x over that at the smallest,
      with drift_low, _high from resamples in which all x share their members. NaN where
      either is.

    The bootstrap's percentiles are moved outwards by t / z sqrt(n / (n - 1)), without which
    intervals of few members are too narrow (Hesterberg 2015, arXiv:1411.5279, section 5.3).
    Raises StudyError where `lr` or `x` is no axis of enough positive numbers.
    """
    at_L, order_L = learning_rates(ds, lr)
    if len(at_L) < 3:
        raise StudyError(f"a parabola needs at least 3 values of {lr!r}, the study has {len(at_L)}")
    dim = _axis(ds, x)
    capped = capped_loss(ds, measure, lr=lr, tail=tail)
    members = [d for d in over if d in capped.dims]
    slices = [str(d) for d in capped.dims if d not in {lr, dim, *members}]
    values = capped.transpose(*slices, dim, *members, lr).compute()
    shape = values.shape[: len(slices) + 1]
    x_X = np.asarray(ds[x].values, np.float64)
    loss_CXNL = values.values.reshape(int(np.prod(shape[:-1])), len(x_X), -1, len(at_L))
    loss_CXNL = loss_CXNL[..., order_L]
    weight_BN = resample_counts(loss_CXNL.shape[2], resamples)
    rows = [_of_slice(np.log(at_L), loss_XNL, weight_BN, x_X, confidence) for loss_XNL in loss_CXNL]

    unit, lr_unit = (str(ds[name].attrs.get("units", "1")) for name in (measure, lr))
    units = {"optimum": lr_unit, "best_loss": unit}
    fields: dict[str, tuple[list[str], Floats, dict[str, str]]] = {}
    for name in rows[0] if rows else ():
        whole = np.stack([row[name] for row in rows])
        of_x = whole.ndim == 2
        bare = name.removesuffix("_low").removesuffix("_high")
        dims = [*slices, dim] if of_x else slices
        fields[name] = (
            *(dims, whole.reshape(shape if of_x else shape[:-1])),
            {"units": units.get(bare, "1")},
        )
    kept = {str(n): c for n, c in values.coords.items() if set(c.dims) <= {*slices, dim}}
    attrs = {"lr": lr, "lr_first": at_L[0], "lr_last": at_L[-1], "measure": measure, "x": x}
    return xr.Dataset(fields, kept, attrs)


def _axis(ds: xr.Dataset, x: str) -> str:
    if x not in ds.coords or len(ds[x].dims) != 1 or ds[x].dtype.kind not in "fiu":
        axes = ", ".join(str(d) for d in ds.outcome.dims)
        raise StudyError(f"{x!r} is no axis of numbers; the study has {axes}")
    if not bool((ds[x] > 0).all()):
        raise StudyError(f"a drift along {x!r} needs positive numbers on that axis")
    return str(ds[x].dims[0])


def _of_slice(
    log_L: Floats, loss_XNL: Floats, weight_BN: Floats, x_X: Floats, confidence: float
) -> dict[str, Floats]:
    whole_XN = np.asarray(np.isfinite(loss_XNL).all(-1))
    kept_XBN = weight_BN * whole_XN[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_XBL = kept_XBN @ np.where(whole_XN[..., None], loss_XNL, 0.0)
        mean_XBL /= kept_XBN.sum(-1, keepdims=True)
    n_X = whole_XN.sum(-1)
    place_XB = np.stack([_vertices(log_L, mean_BL)[0] for mean_BL in mean_XBL])
    nowhere = Vertex(np.nan, np.nan, np.nan, 0)
    found = [
        vertex(log_L, mean_BL[0]) if n else nowhere
        for n, mean_BL in zip(n_X, mean_XBL, strict=True)
    ]
    best_XB = mean_XBL.min(-1)
    ends: list[tuple[float, float]] = []
    best_ends: list[tuple[float, float]] = []
    for v, n, place_B, best_B in zip(found, n_X, place_XB, best_XB, strict=True):
        low, high = widened(place_B, n, confidence=confidence)
        if v.edge:
            ends.append((min(low, v.low), max(high, v.high)))
        else:
            ends.append((low - (v.place - v.low), high + (v.high - v.place)))
        best_ends.append(widened(best_B, n, confidence=confidence))
    at_X = np.array([v.place for v in found])
    ends_XE, best_XE = np.exp(np.array(ends)), np.array(best_ends)
    first, last = int(np.argmin(x_X)), int(np.argmax(x_X))
    return {
        "optimum": np.where(np.isfinite(at_X), np.exp(at_X), np.nan),
        "optimum_low": ends_XE[:, 0],
        "optimum_high": ends_XE[:, 1],
        "at_edge": np.array([v.edge for v in found], np.float64),
        "best_loss": best_XB[:, 0],
        "best_loss_low": best_XE[:, 0],
        "best_loss_high": best_XE[:, 1],
        "n_members": n_X.astype(np.float64),
        **_drift(found[first], found[last], place_XB[[first, last]], n_X.min(), confidence),
    }


def _drift(
    first: Vertex, last: Vertex, place_2B: Floats, n: int, confidence: float
) -> dict[str, Floats]:
    """Return log2 of the ratio of two optima, which are natural logarithms here."""
    if not np.isfinite(place_2B[:, 0]).all():
        ends = (np.nan, np.nan, np.nan)
    else:
        with np.errstate(invalid="ignore"):  # in a resample both may lie past an edge
            drift_B = place_2B[1] - place_2B[0]
        low, high = widened(drift_B, n, confidence=confidence)
        low -= last.place - last.low + first.high - first.place
        high += last.high - last.place + first.place - first.low
        ends = (float(drift_B[0]), low, high)
    names = ("drift", "drift_low", "drift_high")
    return {name: np.asarray(v / np.log(2)) for name, v in zip(names, ends, strict=True)}
