"""The rows of a running study as an array over its cells, of which only what is asked is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from xarray.backends import BackendArray
from xarray.core import indexing

from phasecube.analysis.cube.grid import Grid
from phasecube.engine.store import Store

Integers = npt.NDArray[np.int64]


class RowValues(BackendArray):
    """One measure of all trials, (*cells, *recorded), NaN where nothing was recorded.

    Reading takes the memory of what is asked for, and one pack. A pack is one file: it is opened
    once in a reading, and only if one of its trials is asked for.
    """

    def __init__(
        self, store: Store, grid: Grid, name: str, recorded: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._store = store
        self._grid = grid
        self._name = name
        self.shape = grid.shape + recorded
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        n = len(self._grid.shape)
        rows = _orthogonal(self._grid.rows_of_cells.reshape(self._grid.shape), key[:n])
        recorded = tuple(_length(k, size) for k, size in zip(key[n:], self.shape[n:], strict=True))
        found = np.full((rows.size, *(m for m in recorded if m is not None)), np.nan, self.dtype)
        for pack, places, lanes in self._by_pack(rows.reshape(-1)):
            values = self._store.read_pack_measure(pack, self._name)
            found[places] = _orthogonal(values, (lanes, *key[n:]))
        return found.reshape(rows.shape + found.shape[1:])

    def _by_pack(self, rows_N: Integers) -> Iterator[tuple[int, Any, Any]]:
        """Return for each pack the places in `rows_N` and the lanes of its rows that are there."""
        # Rows that a plan is about to add are not in the store yet; -1 is no row at all.
        there = np.flatnonzero((rows_N >= 0) & (rows_N < self._store.n_rows))
        there = there[np.argsort(rows_N[there], kind="stable")]
        packs, lanes = np.divmod(rows_N[there], self._store.pack_size)
        starts = np.flatnonzero(np.diff(packs, prepend=-1))
        ends = np.append(starts, len(there))[1:]
        for start, end in zip(starts, ends, strict=True):
            yield int(packs[start]), _compact(there[start:end]), _compact(lanes[start:end])


def _orthogonal(values: npt.NDArray[Any], key: tuple[Any, ...]) -> npt.NDArray[Any]:
    """Return values at an index of its own along each dim: an int, a slice or an array."""
    for axis in reversed(range(len(key))):  # from the last: an int takes its dim away
        values = values[(slice(None),) * axis + (key[axis],)]
    return values


def _length(key: Any, size: int) -> int | None:
    """Return how many of `size` places an index names, None for an int, which has no dim."""
    if isinstance(key, slice):
        return len(range(*key.indices(size)))
    return None if np.ndim(key) == 0 else len(key)


def _compact(places: Integers) -> Any:
    """Return places as a slice where they follow each other: no copy is made of a slice."""
    if len(places) and (np.diff(places) == 1).all():
        return slice(int(places[0]), int(places[-1]) + 1)
    return places
