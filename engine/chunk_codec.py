"""Chunks and shards of the store as bytes, as Zarr v3 lays them out.

zarr-python reads a shard before it replaces it, even whole (3.1.6): a torn one could never be
written again, and a write cost ten times as much. What is written here, zarr reads.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from phasecube.engine.record import FloatArray


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


def _with_checksum(content: bytes) -> bytes:
    import google_crc32c

    return content + int(google_crc32c.value(content)).to_bytes(4, "little")
