"""Counts of how trials ended."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phasecube.engine.record import Outcome, Status


def count_outcomes(status_RF: npt.NDArray[np.int32]) -> dict[str, int]:
    """Return how many rows have each outcome, by name; outcomes of no row are left out."""
    values, counts = np.unique(status_RF[:, Status.OUTCOME], return_counts=True)
    return {Outcome(int(v)).name: int(n) for v, n in zip(values, counts)}
