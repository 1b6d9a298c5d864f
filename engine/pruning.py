"""Trials that end because others do better: asked at rungs, answered from what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import JudgeError
from phasecube.engine.record import PackRecord

Rows = npt.NDArray[np.int64]


class Judge(Protocol):
    """Says at each rung which trials end there."""

    @property
    def rungs(self) -> frozenset[int]:
        """Return the steps, counted from 0 and on the step grid, at which it is asked."""

    def judge(self, step: int, rows: Rows, record: PackRecord) -> npt.NDArray[np.bool_]:
        """Return a mask over `rows`, True for each that is pruned.

        `rows` are those of the pack that stand at `step` now; what they measured there is
        in `record`. A trial that stands at its last step is not asked about.
        """


@dataclass(frozen=True)
class Pruning:
    """A judge, and what is told of the record before each time it is asked."""

    judge: Judge
    on_rung: Callable[[PackRecord], None]

    def pruned(self, step: int, rows: Rows, record: PackRecord) -> npt.NDArray[np.bool_]:
        """Return which of `rows` end at `step`; raises JudgeError where the judge fails.

        What `on_rung` raises goes through as it is.
        """
        if not len(rows) or step not in self.judge.rungs:
            return np.zeros(len(rows), np.bool_)
        self.on_rung(record)
        try:
            found = np.asarray(self.judge.judge(step, rows, record))
        except Exception as error:
            raise JudgeError(f"the pruner failed at step {step}: {error!r}") from error
        if found.shape != rows.shape or found.dtype != np.bool_:
            raise JudgeError(
                f"the pruner must give one bool for each of {len(rows)} trials at step {step}, "
                f"got {found.dtype} of shape {found.shape}"
            )
        return found
