"""Curves in bins of steps that grow by a constant factor, and quantiles over any axis.

Everything here leaves missing values (NaN) out, works on NumPy and on dask arrays to the same
bits, and on dask arrays reads nothing until the result is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.engine.errors import StudyError

Statistic = Literal["mean", "median", "max", "min", "last"]
Values = TypeVar("Values", xr.DataArray, xr.Dataset)
Floats = npt.NDArray[np.float64]
STEP_DIMS = ("step", "vector_step")
MAX_PER_DECADE = 1000
BLOCK_BYTES = 128 * 2**20  # of one dask block, as float64, before it is reduced


@dataclass(frozen=True)
class Bins:
    """Bins [left, right) that hold a record, and the records of each: start to stop."""

    left: Floats
    right: Floats
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]

    @property
    def middle(self) -> Floats:
        """Return the geometric middle, 0 for the bin of step 0."""
        return np.sqrt(self.left * self.right)


def log_bins(steps: npt.ArrayLike, per_decade: int = 10) -> Bins:
    """Return the bins of ascending whole steps: edges 10^(k / per_decade), step 0 on its own.

    Bins without a record are left out. Raises StudyError for another `per_decade` than 1 to
    1000, and for steps that are negative, broken or do not ascend.
    """
    if not 1 <= per_decade <= MAX_PER_DECADE:
        raise StudyError(f"bins a decade are 1 to {MAX_PER_DECADE:,}, got {per_decade}")
    at = np.asarray(steps, np.float64)
    if at.size and (at[0] < 0 or (np.diff(at) <= 0).any() or (at % 1 != 0).any()):
        raise StudyError("steps to be binned are whole numbers that ascend from 0 or later")
    # A decade to spare at the end: a logarithm may be rounded down.
    decades = int(np.floor(np.log10(max(at.max(initial=1.0), 1.0)))) + 2
    k = np.arange(decades * per_decade + 1)
    # Whole decades are exact: step 1000 begins a bin, and never ends one by rounding.
    edges = 10.0 ** (k // per_decade) * 10.0 ** ((k % per_decade) / per_decade)
    edges = np.concatenate([[0.0], edges])  # [0, 1) holds step 0 alone
    bin_S = np.searchsorted(edges, at, side="right") - 1
    used, start = np.unique(bin_S, return_index=True)
    stop = np.append(start[1:], at.size)[: used.size]
    return Bins(edges[used], edges[np.minimum(used + 1, edges.size - 1)], start, stop)


def binned(values: Values, per_decade: int = 10, statistic: Statistic = "mean") -> Values:
    """Return curves with the dim `step_bin` in place of `step`: one value for each log bin.

    A bin is [left, right) with `per_decade` of them a decade; step 0 is a bin of its own, and
    bins without a record are left out. Coordinates along `step_bin`: itself the geometric
    middle of the edges (0 for step 0), the same in every study; `step_left`, `step_right`;
    `step_middle`, the geometric mean of the recorded steps in it, which is where to draw and
    to fit it; `n_records`, how many those are. `vector_step` becomes `vector_step_bin`
    likewise. The statistic is over the values of one trial that are not NaN; a bin without
    any is NaN. mean and median are float64, the others of the type they were. Of a Dataset,
    variables without steps stay as they are.
    Raises StudyError for what `log_bins` refuses, for an unknown statistic and for values
    without steps.
    """
    if statistic not in _REDUCE:
        raise StudyError(f"no statistic {statistic!r} of a bin; there are {', '.join(_REDUCE)}")
    dims = [d for d in STEP_DIMS if values.sizes.get(d)]
    if not dims:
        raise StudyError("there is nothing to bin: the values have no step")
    found: Any = values
    for dim in dims:
        found = _binned_along(found, dim, per_decade, statistic)
    return cast(Values, found)


def quantiles(
    values: Values, over: str | Sequence[str], q: Sequence[float] = (0.25, 0.5, 0.75)
) -> Values:
    """Return quantiles over one or several dims, along a new last dim `quantile`, in float64.

    Linear between values, as NumPy's default; NaN are left out, and a cell of NaN alone is NaN.
    Of a Dataset, variables without those dims stay as they are. Raises StudyError for a dim
    that is not there and for q outside 0 to 1.
    """
    dims = [over] if isinstance(over, str) else list(over)
    unknown = [d for d in dims if d not in values.dims]
    if unknown or not dims:
        there = ", ".join(map(str, values.dims))
        raise StudyError(f"no dim {', '.join(unknown) or 'named'} to reduce; there are {there}")
    at = np.asarray(q, np.float64)
    if at.ndim != 1 or not at.size or not ((at >= 0) & (at <= 1)).all():
        raise StudyError(f"quantiles are numbers from 0 to 1, got {list(q)}")

    def one(array: xr.DataArray) -> xr.DataArray:
        here = [d for d in dims if d in array.dims]
        if not here or array.dtype.kind not in "fiu":
            return array
        flat = _apply(array, here, lambda a: _quantiles(a, at), "quantile", at.size, np.float64)
        return flat.assign_coords(quantile=at)

    return cast(Values, _over_variables(values, dims, one))


def _binned_along(values: Any, dim: str, per_decade: int, statistic: str) -> Any:
    if dim not in values.coords:
        raise StudyError(f"the dim {dim} has no steps along it")
    bins = log_bins(values[dim].values, per_decade)
    new = f"{dim}_bin"
    reduce = _REDUCE[statistic]

    def one(array: xr.DataArray) -> xr.DataArray:
        if dim not in array.dims:
            return array
        dtype = np.dtype(np.float64) if statistic in ("mean", "median") else array.dtype
        parts = [
            _apply(array.isel({dim: slice(a, b)}), [dim], reduce, new, 1, dtype)
            for a, b in zip(bins.start.tolist(), bins.stop.tolist(), strict=True)
        ]
        dims = [new if d == dim else d for d in array.dims]
        attrs = {k: v for k, v in array.attrs.items() if k != "cadence_steps"}
        attrs["cell_methods"] = f"{dim}: {statistic}"
        return xr.concat(parts, new, **_CONCAT).transpose(*dims).drop_attrs().assign_attrs(attrs)

    found = _over_variables(values, [dim], one)
    prefix = dim.removesuffix("step")
    step = {"units": "step"}
    return found.assign_coords(
        {
            new: (new, bins.middle, {**step, "long_name": "geometric middle of the bin"}),
            f"{prefix}step_left": (new, bins.left, {**step, "long_name": "first edge of the bin"}),
            f"{prefix}step_right": (new, bins.right, {**step, "long_name": "end of the bin"}),
            f"{prefix}step_middle": (
                *(new, _geometric_means(values[dim].values, bins)),
                {**step, "long_name": "geometric mean of the recorded steps"},
            ),
            f"{prefix}n_records": (
                *(new, bins.stop - bins.start),
                {"units": "1", "long_name": "records in the bin"},
            ),
        }
    )


def _geometric_means(steps: npt.NDArray[Any], bins: Bins) -> Floats:
    logs = np.log(np.maximum(steps, 1).astype(np.float64))
    means = np.exp([logs[a:b].mean() for a, b in zip(bins.start, bins.stop, strict=True)])
    # A bin of one record stands at it exactly.
    alone = np.asarray(steps, np.float64)[bins.start]
    return np.where(bins.stop - bins.start == 1, alone, means)


_CONCAT: dict[str, Any] = {"coords": "minimal", "compat": "override", "join": "override"}


def _over_variables(
    values: Any, dims: Sequence[Hashable], one: Callable[[xr.DataArray], xr.DataArray]
) -> Any:
    """Return an array, or each variable of a Dataset, reduced by `one`."""
    if isinstance(values, xr.DataArray):
        return one(values)
    gone = [n for n, c in values.coords.items() if set(c.dims) & set(dims)]
    found = {n: one(v).drop_vars(gone, errors="ignore") for n, v in values.data_vars.items()}
    return values.drop_vars([*gone, *found]).assign(found)


def _apply(
    array: xr.DataArray,
    over: Sequence[Hashable],
    reduce: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    new: str,
    size: int,
    dtype: npt.DTypeLike,
) -> xr.DataArray:
    """Return `reduce` over the last axes, which hold `over` as one, in blocks of other dims."""
    gone = [n for n, c in array.coords.items() if set(c.dims) & set(over)]
    array = array.drop_vars(gone)
    if array.chunks is not None:
        array = array.chunk(_blocks(array, over))

    def whole(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        # Contiguous along what is summed, so that the bits hang on no chunk and no stride.
        lead = block.shape[: block.ndim - len(over)]
        return reduce(np.ascontiguousarray(block.reshape(*lead, -1)))

    found: xr.DataArray = xr.apply_ufunc(
        whole,
        array,
        input_core_dims=[list(over)],
        output_core_dims=[[new]],
        dask="parallelized",
        output_dtypes=[dtype],
        dask_gufunc_kwargs={"output_sizes": {new: size}},
        keep_attrs=True,
    )
    return found


def _blocks(array: xr.DataArray, over: Sequence[Hashable]) -> dict[Hashable, Any]:
    """Return chunks that hold all of `over`, and of the other dims what fits in a block."""
    together = int(np.prod([array.sizes[d] for d in over]))
    others = {d: array.chunksizes[d] for d in array.dims if d not in over}
    cells = int(np.prod([max(c, default=1) for c in others.values()]))
    room = max(1, BLOCK_BYTES // (8 * max(1, together)))
    chunks: dict[Hashable, Any] = dict.fromkeys(over, -1)
    for dim, sizes in others.items():
        if cells <= room:
            break
        whole = max(sizes, default=1)
        chunks[dim] = max(1, whole // -(-cells // room))
        cells = -(-cells // whole) * chunks[dim]
    return chunks


def _quantiles(values: npt.NDArray[Any], q: Floats) -> Floats:
    """Return NumPy's linear quantiles of the last axis, NaN left out; one sort for all cells."""
    ordered = np.sort(values.astype(np.float64), axis=-1)  # NaN come last
    n = (~np.isnan(ordered)).sum(-1)
    found = np.full((*ordered.shape[:-1], q.size), np.nan)
    if not ordered.shape[-1]:
        return found
    for i, share in enumerate(q):
        place = np.maximum(n - 1, 0) * share
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(n - 1, 0))
        a = np.take_along_axis(ordered, low[..., None], -1)[..., 0]
        b = np.take_along_axis(ordered, high[..., None], -1)[..., 0]
        t = place - low
        with np.errstate(invalid="ignore"):  # between infinities
            # As numpy.quantile does, from the nearer end, so that the bits are its bits.
            between = np.where(t >= 0.5, b - (b - a) * (1 - t), a + (b - a) * t)
        found[..., i] = np.where(n > 0, np.where((t == 0) | (a == b), a, between), np.nan)
    return found


def _mean(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    wide = values.astype(np.float64)
    is_there = ~np.isnan(wide)
    with np.errstate(invalid="ignore"):  # 0 / 0 of a bin without any value, inf - inf
        total = np.where(is_there, wide, 0.0).sum(-1, keepdims=True)
        found: npt.NDArray[Any] = total / is_there.sum(-1, keepdims=True)
    return found


def _median(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return _quantiles(values, np.array([0.5]))


def _max(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.fmax.reduce(values, axis=-1, keepdims=True)


def _min(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.fmin.reduce(values, axis=-1, keepdims=True)


def _last(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    is_there = values == values  # integers have no isnan
    last = values.shape[-1] - 1 - np.argmax(is_there[..., ::-1], axis=-1)
    return np.take_along_axis(values, last[..., None], -1)


_REDUCE: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "mean": _mean,
    "median": _median,
    "max": _max,
    "min": _min,
    "last": _last,
}
assert set(_REDUCE) == set(get_args(Statistic))
