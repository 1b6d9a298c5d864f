"""What is recorded of a trial, when, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


class Outcome(IntEnum):
    """How a trial ended. NOT_RUN is the absence of an outcome; all others are settled."""

    NOT_RUN = 0
    DONE = 1
    PRUNED = 2
    DIVERGED = 3
    FAILED = 4
    OUT_OF_MEMORY = 5
    TIMED_OUT = 6
    NOT_PLANNED = 255  # only in cubes: the cell lies outside `where`, or its sub-space


class Status(IntEnum):
    """The columns of the store's `status` array, int32, one row a trial."""

    OUTCOME = 0
    N_RECORDED = 1  # how many entries of the step grid hold values
    STOPPED_AT = 2  # the step after which the trial trained no further; -1 while it runs
    ENGINE = 3  # Engine: the numeric class of the row
    RUN = 4  # which line of runs.jsonl (commit, versions, hardware) produced the row


class Engine(IntEnum):
    """Which engine produced a row. Rows of different engines differ by rounding."""

    NONE = 0
    VMAP_FORWARD = 1  # vmap of the forward pass, one backward over the sum of losses
    VMAP_GRADIENT = 2  # vmap of grad_and_value
    SEQUENTIAL = 3  # one plain nn.Module after another
    FUNCTION = 4  # a user's own train(trial)


@dataclass(frozen=True)
class Target:
    """Stop once `measure` has been past `value` for `records` records in a row."""

    measure: str
    value: float
    above: bool = True
    records: int = 1


@dataclass(frozen=True)
class StopRule:
    """When a trial ends before its last step. A loss that is not finite always diverges."""

    target: Target | None = None
    loss_above: float | None = None


@dataclass(frozen=True)
class RecordRule:
    """Which measures are recorded at which steps.

    `steps` and `vector_steps` are increasing int64 grids that hold 0 and the last step
    of every trial. A trial records on the grid points up to its own `steps`. A measure in
    `cadences` is taken at those of them only, 0 and the last steps among them.
    """

    steps: IntArray
    scalars: tuple[str, ...]
    vector_steps: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    vectors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> labels
    dtype: str = "float32"
    cadences: Mapping[str, IntArray] = field(default_factory=dict)


@dataclass
class PackRecord:
    """The records of one pack, R rows: what the engine fills and the store publishes.

    scalars_RMS: [rows, measures, steps]; vectors: name -> [rows, vector_steps, labels];
    status_RF: int32 [rows, len(Status)]. Unrecorded values are NaN.
    """

    scalars_RMS: FloatArray
    vectors: dict[str, FloatArray]
    status_RF: npt.NDArray[np.int32]

    @classmethod
    def empty(cls, n_rows: int, rule: RecordRule) -> PackRecord:
        """Return a record of `n_rows` trials that have not run."""
        status_RF = np.zeros((n_rows, len(Status)), np.int32)
        status_RF[:, Status.STOPPED_AT] = -1
        shape = (n_rows, len(rule.scalars), len(rule.steps))
        vectors = {
            name: np.full((n_rows, len(rule.vector_steps), len(labels)), np.nan, rule.dtype)
            for name, labels in rule.vectors.items()
        }
        return cls(np.full(shape, np.nan, rule.dtype), vectors, status_RF)
