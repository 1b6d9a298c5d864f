"""Random numbers that are a function of (seed, purpose, step), not of what was drawn before.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the key
is the seed, the counter holds purpose, step and index. There is no state, so nothing has
to be checkpointed and no lane of a pack can shift another's numbers. The purpose stands in
the counter and not in the key, so that one pair of numbers per lane serves every purpose
under vmap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Words = Any  # int64 words in [0, 2^32): numpy arrays and torch tensors share the arithmetic

MASK = 0xFFFFFFFF
ROUND_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)  # Salmon et al. 2011, table 2
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)  # golden ratio, sqrt(3) - 1
N_ROUNDS = 10
NO_STEP = MASK  # the step word of draws made once, before training: initial weights, data
PLANE_BIT = 30  # high and low words of a number come from index planes of 2^30 blocks each
MEMO_ELEMENTS = 1 << 20  # larger draws are not kept


def philox(counter: Sequence[Words], key: Sequence[Words]) -> tuple[Words, Words, Words, Words]:
    """Return four 32-bit words for each counter, as int64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    m0, m1 = ROUND_MULTIPLIERS
    for _ in range(N_ROUNDS):
        # The product wraps in int64; its bits are those of the unsigned product, and the
        # mask removes what an arithmetic shift drags in.
        p0, p1 = c0 * m0, c2 * m1
        c0, c1, c2, c3 = (
            ((p1 >> 32) & MASK) ^ c1 ^ k0,
            p1 & MASK,
            ((p0 >> 32) & MASK) ^ c3 ^ k1,
            p0 & MASK,
        )
        k0, k1 = (k0 + KEY_INCREMENTS[0]) & MASK, (k1 + KEY_INCREMENTS[1]) & MASK
    return c0, c1, c2, c3


@lru_cache(maxsize=4096)
def key_words(seed: int) -> tuple[int, int]:
    """Return the key of a seed: two 32-bit words."""
    return _two_words(b"seed", str(int(seed)).encode())


@lru_cache(maxsize=4096)
def purpose_words(purpose: str) -> tuple[int, int]:
    """Return the two counter words of a purpose."""
    return _two_words(b"purpose", purpose.encode())


def _purpose_words(purpose: str) -> tuple[int, int]:
    return purpose_words(purpose)


# What torch.compiler.assume_constant_result does, without the two seconds of importing the
# compiler: hashlib cannot be traced.
_purpose_words._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _two_words(kind: bytes, text: bytes) -> tuple[int, int]:
    digest = blake2b(text, digest_size=8, person=kind).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


class Stream:
    """The random numbers of one seed: on the host numpy arrays, traced torch tensors.

    Draws of the same (seed, purpose, step) are equal on both paths. A draw is a prefix of
    any longer draw of the same purpose, and float32 numbers are the float64 ones cut short.
    """

    _prefix = ""

    def __init__(self, seed: int, step: int | None = None) -> None:
        self._key: tuple[Any, Any] = key_words(seed)
        self._step: Any = NO_STEP if step is None else step
        self._dtype: torch.dtype | None = None
        self.drawn = False  # whether anything was: what draws nothing is the same for all seeds

    @classmethod
    def traced(cls, key_2: Tensor, step: Tensor, dtype: torch.dtype) -> Stream:
        """Return the stream of a lane whose key and step are int64 tensors, as under vmap."""
        stream = cls.__new__(cls)
        stream._key = (key_2[0], key_2[1])
        stream._step = step
        stream._dtype = dtype
        stream.drawn = False
        return stream

    @property
    def step(self) -> Any:
        """Return the step that is drawn for: an int64 tensor when traced, else a number.

        The time lr * step of a measure that holds a trial against a solution in time.
        """
        return self._step

    def apart(self, name: str) -> Stream:
        """Return the stream whose draws of every purpose are others, those under `name`."""
        other = copy(self)
        other._prefix = f"{self._prefix}{name}/"
        return other

    def uniform(self, purpose: str, shape: Sequence[int] = (), dtype: Any = None) -> Any:
        """Return numbers in [0, 1): 53 random bits in float64, 24 in float32.

        The default dtype is float64 on the host and the trial's own when traced.
        """
        flat = self._uniform(purpose, math.prod(shape), dtype)
        return flat.reshape(tuple(shape))

    def normal(self, purpose: str, shape: Sequence[int] = (), dtype: Any = None) -> Any:
        """Return numbers of the standard normal law (Box-Muller in float64)."""
        n = math.prod(shape)
        if self._dtype is not None:
            flat = _box_muller(self._uniform(purpose, n + n % 2, torch.float64))[:n]
            return flat.reshape(tuple(shape)).to(dtype or self._dtype)
        self.drawn = True
        found = _host_normal(self._key, self._step, self._prefix + purpose, n)
        return found.reshape(tuple(shape)).astype(dtype or np.float64)

    def integers(self, purpose: str, high: int, shape: Sequence[int] = ()) -> Any:
        """Return int64 in [0, high), high <= 2^31; no value is off by more than high / 2^32."""
        if not 0 < high <= 2**31:
            raise ValueError(f"integers() needs 0 < high <= 2^31, got {high}")
        word = self._words(purpose, math.prod(shape), 0)
        return ((word * high) >> 32).reshape(tuple(shape))

    def permutation(self, purpose: str, n: int) -> Any:
        """Return 0 .. n-1 in random order, int64."""
        high, low = self._words(purpose, n, 0), self._words(purpose, n, 1)
        rank = ((high >> 1) << 32) | low
        if self._dtype is None:
            return np.argsort(rank, kind="stable")
        return rank.argsort(stable=True)

    def _uniform(self, purpose: str, n: int, dtype: Any) -> Any:
        high = self._words(purpose, n, 0)
        if self._dtype is None:
            if np.dtype(dtype or np.float64) == np.float32:
                return ((high >> 8) * 2.0**-24).astype(np.float32)
            return ((high << 21) | (self._words(purpose, n, 1) >> 11)) * 2.0**-53
        if (dtype or self._dtype) == torch.float64:
            number = (high << 21) | (self._words(purpose, n, 1) >> 11)
            return number.to(torch.float64) * 2.0**-53
        return (high >> 8).to(dtype or self._dtype) * 2.0**-24

    def _words(self, purpose: str, n: int, plane: int) -> Words:
        n_blocks = -(-n // 4)
        if n_blocks > 1 << PLANE_BIT:
            raise ValueError(f"one draw holds at most 2^32 numbers, got {n}")
        self.drawn = True
        first = plane << PLANE_BIT
        purpose = self._prefix + purpose
        if self._dtype is None:
            p0, p1 = purpose_words(purpose)
            index = np.arange(first, first + n_blocks, dtype=np.int64)
            # Arrays of one and not scalars: numpy warns of every scalar product that wraps.
            step, p0_1, p1_1 = (np.array([word], np.int64) for word in (self._step, p0, p1))
            words = philox((index, step, p0_1, p1_1), self._key)
            return np.stack(np.broadcast_arrays(*words), -1).reshape(-1)[:n]
        k0, k1 = self._key
        p0, p1 = _purpose_words(purpose)
        block = torch.arange(first, first + n_blocks, device=k0.device)
        zero = torch.zeros_like(block)
        words = philox((block, zero + self._step, zero + p0, zero + p1), (k0, k1))
        return torch.stack(words, -1).reshape(-1)[:n]


def _box_muller(uniform_n: Tensor) -> Tensor:
    """Return n standard normals from n uniforms, n even, float64."""
    pair = uniform_n.reshape(-1, 2)
    radius = (-2.0 * torch.log1p(-pair[:, 0])).sqrt()
    angle = (2.0 * math.pi) * pair[:, 1]
    return torch.stack((radius * angle.cos(), radius * angle.sin()), -1).reshape(-1)


def _host_normal(key: tuple[int, int], step: int, purpose: str, n: int) -> npt.NDArray[np.float64]:
    # Trials of one seed draw the same initial weights; a thousand of them cost one draw.
    draw = _kept_normal if n <= MEMO_ELEMENTS else _kept_normal.__wrapped__
    return draw(key, step, purpose, n).copy()


@lru_cache(maxsize=64)
def _kept_normal(key: tuple[int, int], step: int, purpose: str, n: int) -> npt.NDArray[np.float64]:
    # torch also on the host: its log and cos round as the traced path's do.
    stream = Stream.traced(torch.tensor(key), torch.tensor(step), torch.float64)
    found: npt.NDArray[np.float64] = stream.normal(purpose, (n,)).numpy()
    return found
