"""How often an answer of a length is right, by how hard the question is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def difficulties(n: int, hardest: float) -> Floats:
    """Return the middles of n equal parts of [0, hardest]."""
    return hardest * (np.arange(n) + 0.5) / n


def success(difficulty_N: Floats, longest: int, steepness: float) -> Floats:
    """Return P(right) = sigmoid(steepness (l / longest - d)) for l = 0 .. longest, [N, lengths]."""
    share_V = np.arange(longest + 1) / longest
    far_NV = steepness * (share_V - difficulty_N[:, None])
    found: Floats = 1 / (1 + np.exp(-far_NV))
    return found
