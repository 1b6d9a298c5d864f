"""One measure of one pack: only its own bytes are read; what no status vouches for is NaN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from phasecube.engine.chunk_codec import read_chunk, read_of_shard
from phasecube.engine.errors import StoreError
from phasecube.engine.record import FloatArray, Outcome, RecordRule, Status

StatusArray = npt.NDArray[np.int32]
REMEDY = "say `phasecube retry STUDY --torn` to run its trials again"


def read_measure(
    store: Path, number: int, name: str, rule: RecordRule, status_KF: StatusArray
) -> FloatArray:
    """Return a measure of a pack, [K, S] or [K, vector steps, labels], NaN where none stands.

    A file that is gone holds nothing; a torn one is a StoreError. `status_KF` was read before.
    """
    n, dtype = len(status_KF), np.dtype(rule.dtype)
    found: FloatArray | None = None
    try:
        if name in rule.scalars:
            shape: tuple[int, ...] = (n, 1, len(rule.steps))
            path = chunk_path(store, "scalars", number)
            place = rule.scalars.index(name)
            found = read_of_shard(path, place, len(rule.scalars), shape, dtype)
        else:
            shape = (n, len(rule.vector_steps), len(rule.vectors[name]))
            path = chunk_path(store, f"vector_{name}", number)
            found = read_chunk(path, shape, dtype)
    except FileNotFoundError:
        found = None
    except (ValueError, RuntimeError, OSError) as error:  # zstd says RuntimeError
        raise torn(f"pack {number} of {path.parent}", error) from error
    # A copy: what was decoded cannot be written to.
    values = np.full(shape, np.nan, dtype) if found is None else np.array(found)
    if name in rule.scalars:
        mask_scalars(values, status_KF, rule)
        return values[:, 0]
    mask_vectors(values, status_KF, rule)
    return values


def chunk_path(store: Path, array: str, number: int) -> Path:
    """Return the file of a pack in an array of the store."""
    return store / array / f"c.{number}.0.0"


def mask_scalars(
    values_RxS: FloatArray, status_RF: StatusArray, rule: RecordRule, steps: slice = slice(None)
) -> None:
    """Make NaN, in place, all that lies past n_recorded; the last dim is the step."""
    places_S = np.arange(len(rule.steps))[steps]
    past_RS = places_S >= status_RF[:, Status.N_RECORDED, None]
    np.moveaxis(values_RxS, -1, 1)[past_RS] = np.nan


def mask_vectors(values_RVL: FloatArray, status_RF: StatusArray, rule: RecordRule) -> None:
    """Make NaN, in place, all vectors that the status does not vouch for."""
    # A settled row was published after its vectors. A running one vouches for the steps
    # up to its last record; a row that was reset vouches for nothing.
    steps = np.concatenate([[-1], rule.steps])
    last_R = np.where(
        status_RF[:, Status.OUTCOME] == Outcome.NOT_RUN,
        steps[status_RF[:, Status.N_RECORDED]],
        np.iinfo(np.int64).max,
    )
    values_RVL[rule.vector_steps[None, :] > last_R[:, None]] = np.nan


def torn(what: str, error: Exception) -> StoreError:
    """Return the error that says that a file is torn, and what to do."""
    return StoreError(f"{what} is torn ({error}), {REMEDY}")
