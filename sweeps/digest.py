"""The name of a trial: 128 bits over everything that determines its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.engine.params import AS_BEFORE
from phasecube.engine.record import StopRule

DIGEST_BYTES = 16
RowArray = npt.NDArray[np.int64]


def canonical(value: Any) -> str:
    """Return the one text of a value: shortest repr of a float, -0.0 as 0.0, sorted keys."""
    if isinstance(value, float):
        return repr(value + 0.0)  # adding 0.0 turns -0.0 into 0.0
    if isinstance(value, dict):
        items = (f"{json.dumps(k)}:{canonical(v)}" for k, v in sorted(value.items()))
        return "{" + ",".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(canonical(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def content(
    experiment: str, version: int, stop: StopRule, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the digest of a trial is taken over."""
    target = stop.target
    rule = {
        "loss_above": None if stop.loss_above is None else float(stop.loss_above),
        "target": None
        if target is None
        else {
            "above": target.above,
            "measure": target.measure,
            "records": target.records,
            "value": float(target.value),
        },
    }
    return {"experiment": experiment, "params": dict(params), "stop": rule, "version": version}


def digest_of(trial: Mapping[str, Any]) -> str:
    """Return the digest of a trial's content as 32 hexadecimal letters."""
    params = "".join(_item(name, value) for name, value in sorted(trial["params"].items()))
    head, tail = _around(trial)
    return blake2b((head + params + tail).encode(), digest_size=DIGEST_BYTES).hexdigest()


def is_left_out(name: str, value: Any) -> bool:
    """Return whether a digest leaves out a parameter of this value (`params.AS_BEFORE`)."""
    return name in _AS_BEFORE and canonical(value) == _AS_BEFORE[name]


_AS_BEFORE = {name: canonical(value) for name, value in AS_BEFORE.items()}


def _item(name: str, value: Any) -> str:
    return "" if is_left_out(name, value) else f"{json.dumps(name)}:{canonical(value)},"


def _around(trial: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text of a trial before and after its parameters."""
    head = '{"experiment":' + canonical(trial["experiment"]) + ',"params":{'
    tail = '},"stop":' + canonical(trial["stop"])
    return head, tail + ',"version":' + canonical(trial["version"]) + "}"


def digests_of(
    constant: Mapping[str, Any],
    columns: Mapping[str, tuple[npt.NDArray[np.int32], Sequence[Any]]],
    n_trials: int,
) -> npt.NDArray[np.uint8]:
    """Return uint8 [n, 16]: the digests of trials that share `constant` but for some parameters.

    `columns` maps a parameter to (codes [n], values). The text of each value is made once;
    a million trials are a million joins and hashes, not a million JSON encodings.
    """
    params = {**constant["params"], **dict.fromkeys(columns)}
    pieces: list[str] = []  # constant text between the varying fragments, in key order
    fragments: list[tuple[npt.NDArray[np.int32], list[bytes]]] = []
    text, tail = _around(constant)
    for name in sorted(params):
        if name in columns:
            codes, values = columns[name]
            fragments.append((codes, [_item(name, v).encode() for v in values]))
            pieces.append(text)
            text = ""
        else:
            text += _item(name, params[name])
    return _hash(pieces, fragments, (text + tail).encode(), n_trials)


def _hash(
    pieces: list[str],
    fragments: list[tuple[npt.NDArray[np.int32], list[bytes]]],
    tail: bytes,
    n_trials: int,
) -> npt.NDArray[np.uint8]:
    digests = bytearray(n_trials * DIGEST_BYTES)
    heads = [piece.encode() for piece in pieces]
    # Each fragment carries the constant text before it: one join per trial.
    texts = [[head + value for value in values] for head, (_, values) in zip(heads, fragments)]
    codes = [column.tolist() for column, _ in fragments]
    for trial in range(n_trials):
        body = b"".join([text[code[trial]] for text, code in zip(texts, codes)])
        place = trial * DIGEST_BYTES
        digests[place : place + DIGEST_BYTES] = blake2b(
            body + tail, digest_size=DIGEST_BYTES
        ).digest()
    return np.frombuffer(digests, np.uint8).reshape(n_trials, DIGEST_BYTES)


def find(wanted_N16: npt.NDArray[np.uint8], known_R16: npt.NDArray[np.uint8]) -> RowArray:
    """Return the row of each wanted digest among the known ones, -1 where it is not."""
    wanted, known = _words(wanted_N16), _words(known_R16)
    order = np.lexsort((known[1], known[0]))
    high, low = known[0][order], known[1][order]
    place = np.searchsorted(high, wanted[0])
    row = np.full(len(wanted_N16), -1, np.int64)
    open_N = np.arange(len(wanted_N16))
    while len(open_N):  # once, and once more for each digest that shares its first 64 bits
        open_N = open_N[place[open_N] < len(high)]
        open_N = open_N[high[place[open_N]] == wanted[0][open_N]]
        same = low[place[open_N]] == wanted[1][open_N]
        row[open_N[same]] = order[place[open_N[same]]]
        open_N = open_N[~same]
        place[open_N] += 1
    return row


def distinct(digests_N16: npt.NDArray[np.uint8]) -> tuple[RowArray, RowArray]:
    """Return where each distinct digest first stands, and which of these each digest is."""
    high, low = _words(digests_N16)
    order = np.lexsort((low, high))  # stable: of equal digests the first stands first
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0)
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(new) - 1
    return order[new], place


def _words(digests_N16: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    # Sixteen bytes as two numbers: NumPy sorts numbers ten times faster than bytes.
    return np.ascontiguousarray(digests_N16).view(np.uint64).reshape(-1, 2).T
