"""Chunks and shards of the store as bytes, as Zarr v3 lays them out.

zarr-python reads a shard before it replaces it, even whole (3.1.6): a torn one could never be
written again, and a write cost ten times as much. What is written here, zarr reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from phasecube.engine.record import FloatArray

CHECKSUM_BYTES = 4
EMPTY = 2**64 - 1  # the offset of a chunk that a shard does not hold


@cache
def _zstd() -> Any:
    from numcodecs.zstd import Zstd

    return Zstd(level=0)


def encode_chunk(values: FloatArray) -> bytes:
    """Return `values` as one chunk: little-endian, zstd, CRC-32C."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return _with_checksum(bytes(_zstd().encode(little)))


def encode_shard(values_RMS: FloatArray) -> bytes:
    """Return a pack as one shard: a chunk for each measure, then where each one lies.

    The index holds (offset, length) as uint64 for every chunk, and its own CRC-32C.
    """
    chunks = [encode_chunk(values_RMS[:, m : m + 1]) for m in range(values_RMS.shape[1])]
    lengths_M = np.array([len(chunk) for chunk in chunks], "<u8")
    index_M2 = np.stack([np.cumsum(lengths_M) - lengths_M, lengths_M], axis=1).astype("<u8")
    return b"".join(chunks) + _with_checksum(index_M2.tobytes())


def read_chunk(path: Path, shape: Sequence[int], dtype: np.dtype[Any]) -> FloatArray:
    """Return the one chunk that is the file at `path`; ValueError where it is torn."""
    return _decoded(path.read_bytes(), shape, dtype)


def read_of_shard(
    path: Path, place: int, n_chunks: int, shape: Sequence[int], dtype: np.dtype[Any]
) -> FloatArray | None:
    """Return chunk `place` of a shard of `n_chunks`, None where it holds none of that place.

    Only the index and the chunk's own bytes are read; ValueError where one is torn.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 16 * n_chunks - CHECKSUM_BYTES))
        index_M2 = np.frombuffer(_checked(file.read()), "<u8").reshape(n_chunks, 2)
        offset, length = (int(n) for n in index_M2[place])
        if offset == EMPTY:
            return None
        file.seek(offset)
        return _decoded(file.read(length), shape, dtype)


def _decoded(content: bytes, shape: Sequence[int], dtype: np.dtype[Any]) -> FloatArray:
    values = np.frombuffer(_zstd().decode(_checked(content)), dtype.newbyteorder("<"))
    return cast(FloatArray, values.reshape(shape).astype(dtype, copy=False))


def _checked(content: bytes) -> bytes:
    import google_crc32c

    body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if int(google_crc32c.value(body)) != int.from_bytes(checksum, "little"):
        raise ValueError("its checksum is another")
    return body


def _with_checksum(content: bytes) -> bytes:
    import google_crc32c

    return content + int(google_crc32c.value(content)).to_bytes(CHECKSUM_BYTES, "little")
