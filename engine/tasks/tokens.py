"""Sequences of tokens to learn the next one from: made from a stream, or a user's own file.

Made text is cut into chains that are drawn side by side, one numpy operation for each
place in a sequence: drawn one token after another it would cost more than the training.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import ExperimentError

if TYPE_CHECKING:
    from phasecube.engine.streams import Stream

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RAW_TYPES = {".u16": np.uint16, ".u32": np.uint32, ".bin": np.uint16}
DIGEST_CHARACTERS = 16
_BLOCK = 1 << 24  # bytes that are digested at once


@dataclass(frozen=True)
class Chain:
    """Text in which a token is the one `copy_distance` back, or else follows the one before it.

    Row v of `next_VV` is the law of what follows v; equal rows make tokens independent.
    """

    next_VV: Floats
    copy_probability: float
    copy_distance: int

    def sequences(self, stream: Stream, rows: int, length: int) -> Tokens:
        """Return [rows, length] tokens. The first `copy_distance` before them are dropped, so
        that every token may be a copy."""
        n = len(self.next_VV)
        drawn_LR = stream.uniform("tokens", (length + self.copy_distance, rows))
        copied_LR = stream.uniform("copies", drawn_LR.shape) < self.copy_probability
        # One sorted line of all rows' cumulative laws, so that one search serves all chains.
        # The last of each row is exactly 1 and never reached by a number below 1.
        cumulative_VV = self.next_VV.cumsum(1)
        cumulative_VV /= cumulative_VV[:, -1:]
        line = (cumulative_VV + np.arange(n)[:, None]).ravel()
        tokens_LR = np.empty(drawn_LR.shape, np.int64)
        before_R = stream.integers("first tokens", n, (rows,))
        for place, uniform_R in enumerate(drawn_LR):
            found_R = np.searchsorted(line, before_R + uniform_R, side="right") - n * before_R
            # Beside an integer v a number below 1 may round up to it.
            found_R = np.minimum(found_R, n - 1)
            if place >= self.copy_distance:
                earlier_R = tokens_LR[place - self.copy_distance]
                found_R = np.where(copied_LR[place], earlier_R, found_R)
            tokens_LR[place] = before_R = found_R
        return np.ascontiguousarray(tokens_LR[self.copy_distance :].T)

    def least_loss(self, tokens_RL: Tokens) -> float:
        """Return the mean of -log p of each token that has `copy_distance` before it, in nats.

        p is the exact law given all that went before: no model does better in the mean.
        """
        d = self.copy_distance
        before, here, earlier = tokens_RL[:, d - 1 : -1], tokens_RL[:, d:], tokens_RL[:, :-d]
        fresh = (1 - self.copy_probability) * self.next_VV[before, here]
        return float(-np.log(fresh + self.copy_probability * (here == earlier)).mean())


def markov_chain(
    stream: Stream,
    vocabulary: int,
    concentration: float,
    copy_probability: float,
    copy_distance: int,
) -> Chain:
    """Return a chain whose rows are drawn from a symmetric Dirichlet law."""
    # Dirichlet rows are gamma variables over their sum, and numpy's generator draws those;
    # it is seeded from the stream, so the same seed speaks the same language.
    seed = int(stream.integers("transitions", 2**31, ()))
    drawn_VV = np.random.Generator(np.random.PCG64(seed)).dirichlet(
        np.full(vocabulary, concentration), vocabulary
    )
    return Chain(drawn_VV, copy_probability, copy_distance)


def zipf_chain(
    vocabulary: int, exponent: float, copy_probability: float, copy_distance: int
) -> Chain:
    """Return independent tokens, token k with probability ~ (k + 1)^-exponent."""
    weight_V = (np.arange(vocabulary) + 1.0) ** -exponent
    return Chain(
        np.tile(weight_V / weight_V.sum(), (vocabulary, 1)), copy_probability, copy_distance
    )


def open_tokens(path: str) -> npt.NDArray[np.unsignedinteger]:
    """Return the tokens of a file, flat and memory-mapped, read as they are used.

    `.npy` holds uint16 or uint32; `.bin` and `.u16` are raw little-endian uint16, `.u32` raw
    uint32. Raises ExperimentError where there is no such file or it holds something else.
    """
    file = Path(path)
    if not file.is_file():
        raise ExperimentError(
            f"tokens: there is no file {file.absolute()}; give a path that is seen from where "
            "the study runs, or 'markov' or 'zipf'"
        )
    if file.suffix == ".npy":
        try:
            found = np.load(file, mmap_mode="r")
        except ValueError as error:
            raise ExperimentError(f"tokens: {file} is no array of numbers: {error}") from error
        if found.dtype not in (np.uint16, np.uint32):
            raise ExperimentError(
                f"tokens: {file} holds {found.dtype}; save it as uint16, or uint32 for a "
                "vocabulary above 65536"
            )
        flat: npt.NDArray[np.unsignedinteger] = found.reshape(-1)
        return flat
    if file.suffix not in RAW_TYPES:
        raise ExperimentError(
            f"tokens: {file} must end in .npy, or {', '.join(RAW_TYPES)} for raw numbers"
        )
    kind = np.dtype(RAW_TYPES[file.suffix]).newbyteorder("<")
    size = file.stat().st_size
    if size == 0 or size % kind.itemsize:
        raise ExperimentError(f"tokens: {file} has {size} bytes, no whole number of {kind.name}")
    return np.memmap(file, kind, mode="r")


def content_digest(path: str) -> str:
    """Return 16 hexadecimal digits that stand for the file's content; raise OSError."""
    status = Path(path).stat()
    # A file that changes while a study runs is digested again.
    return _content_digest(os.fspath(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _content_digest(path: str, _size: int, _mtime_ns: int) -> str:
    digest = blake2b(digest_size=DIGEST_CHARACTERS // 2)
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def file_faults(path: str, digest: str, shortest: int) -> list[tuple[str, str]]:
    """Return (parameter, message) for a file of tokens that a trial cannot be trained on."""
    try:
        n = len(open_tokens(path))
        found = content_digest(path)
    except (ExperimentError, OSError) as error:
        return [("tokens", str(error).removeprefix("tokens: "))]
    if n < shortest:
        return [("tokens", f"{path} has {n} tokens, fewer than {shortest}: twice context + 1")]
    if digest != found:
        path_only = "a path does not say what the file holds"
        was = f"the file's content is not that of {digest!r}" if digest else path_only
        return [("tokens_digest", f'{was}; for what {path} holds now write "{found}"')]
    return []


def file_sequences(
    path: str,
    digest: str,
    vocabulary: int,
    rows: tuple[int, int],
    length: int,
    stream: Stream,
) -> tuple[Tokens, Tokens]:
    """Return training and held-out sequences from random places of a file, [rows, length] each.

    The last tenth of the file is held out. Raises ExperimentError where the file is too
    short, is not the one of `digest`, or holds a token outside the vocabulary.
    """
    faults = file_faults(path, digest, 2 * length)
    if faults:
        raise ExperimentError(": ".join(faults[0]))
    tokens = open_tokens(path)
    border = min(len(tokens) - length, max(length, len(tokens) * 9 // 10))
    found = []
    for purpose, part, n in (
        ("train places", tokens[:border], rows[0]),
        ("held-out places", tokens[border:], rows[1]),
    ):
        at_R = (stream.uniform(purpose, (n,)) * (len(part) - length + 1)).astype(np.int64)
        found.append(part[at_R[:, None] + np.arange(length)].astype(np.int64))
    largest = int(max(part.max() for part in found))
    if largest >= vocabulary:
        raise ExperimentError(
            f"tokens: {path} holds token {largest}; vocabulary = {vocabulary} must be above it"
        )
    return found[0], found[1]
