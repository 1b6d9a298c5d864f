"""Inputs without correlations, and orthogonal bases, made from normal numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def whitened_rows(normal_RD: Floats) -> Floats:
    """Return the rows X (X'X)^(-1/2), whose sum of x x' is the identity to rounding.

    Needs at least as many rows as columns. Of all such inputs these are nearest to the rows.
    """
    left_RD, _, right_DD = np.linalg.svd(normal_RD, full_matrices=False)
    found: Floats = left_RD @ right_DD
    return found


def orthogonal(normal_DD: Floats) -> Floats:
    """Return an orthogonal matrix, uniform over all of them for standard normal entries.

    Reference: Mezzadri 2007, arXiv:math-ph/0609050: QR with a positive diagonal of R.
    """
    q_DD, r_DD = np.linalg.qr(normal_DD)
    found: Floats = q_DD * np.sign(np.diag(r_DD))
    return found
