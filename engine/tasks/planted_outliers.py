"""Two classes, and a few rows that share a large feature which tells nothing of the class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phasecube.engine.streams import Stream

Floats = npt.NDArray[np.float64]


def planted_outliers(
    rows: int, outliers: int, dimension: int, distance: float, norm: float, stream: Stream
) -> Floats:
    """Return inputs (rows, dimension); classes take turns, 0 first, outliers are the first rows.

    Each is N(+-distance e / 2, I), by its class, for a random direction e. An outlier is
    longer by `norm` times sqrt(dimension), the length of an ordinary row's noise, along a
    direction that all outliers of both classes share and that is at right angles to e.
    """
    frame_2D = np.linalg.qr(stream.normal("directions", (dimension, 2)))[0].T
    sign_R = 1.0 - 2.0 * (np.arange(rows) % 2)
    x_RD: Floats = stream.normal("rows", (rows, dimension))
    x_RD -= distance / 2 * sign_R[:, None] * frame_2D[0]
    x_RD[:outliers] += norm * dimension**0.5 * frame_2D[1]
    return x_RD
