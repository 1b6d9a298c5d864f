"""Digests as words of fixed width, spelled when they are read.

NumPy's strings of variable length cannot stand beside a NaN, so `ds.where(...)` would fail on a
Dataset that holds them; words of fixed width are four bytes a letter, too many to spell early.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

DIGEST = "digest"
LETTERS = 32  # hexadecimal, of 128 bits


class _Words(BackendArray):
    """Digests of fixed width, made when read; a subclass says from what. It can be pickled."""

    shape: tuple[int, ...]
    dtype = np.dtype(f"U{LETTERS}")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._spelled
        )

    def _spelled(self, place: Any) -> npt.NDArray[np.str_]:
        raise NotImplementedError


class _OfBytes(_Words):
    def __init__(self, bytes_of_cells: npt.NDArray[np.uint8]) -> None:
        self._bytes = bytes_of_cells
        self.shape = bytes_of_cells.shape[:-1]

    def _spelled(self, place: Any) -> npt.NDArray[np.str_]:
        raw = np.ascontiguousarray(self._bytes[place])
        letters = np.frombuffer(raw.tobytes().hex().encode(), f"S{LETTERS}")
        spelled = np.where(raw.any(-1).reshape(-1), letters, b"")
        return spelled.reshape(raw.shape[:-1]).astype(self.dtype)


class _OfStrings(_Words):
    def __init__(self, strings: xr.Variable) -> None:
        self._strings = strings
        self.shape = strings.shape

    def _spelled(self, place: Any) -> npt.NDArray[np.str_]:
        return np.asarray(self._strings[place].values).astype(self.dtype)


def words_of_bytes(bytes_of_cells: npt.NDArray[np.uint8]) -> indexing.LazilyIndexedArray:
    """Return the digests of raw bytes (..., 16) as words, "" where all bytes are zero."""
    return indexing.LazilyIndexedArray(_OfBytes(bytes_of_cells))


def of_fixed_width(digests: xr.Variable) -> xr.Variable:
    """Return digests that were written as strings of variable length as words."""
    return xr.Variable(
        digests.dims, indexing.LazilyIndexedArray(_OfStrings(digests)), digests.attrs
    )
