"""The neural tangent kernel of two ReLU layers at infinite width, and training under it.

f(x) = a.relu(W x) / sqrt(n) with every weight N(0, 1). Under gradient descent on
|f - y|^2 / 2 a kernel that does not change gives f_t - y = (I - lr K)^t (f_0 - y).

Reference: Jacot et al. 2018, arXiv:1806.07572; Lee et al. 2019, arXiv:1902.06720; the
expectations are the arc-cosine kernels of Cho & Saul 2009.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def limit_kernel(left_RD: Floats, right_SD: Floats | None = None) -> Floats:
    """Return the kernel at infinite width between rows, [R, S]; of rows with themselves
    where `right_SD` is not given.

    |x||y| (sin t + (pi - t) cos t) / 2 pi of the last layer, x.y (pi - t) / 2 pi of the
    first, t the angle between x and y.
    """
    right_SD = left_RD if right_SD is None else right_SD
    length_RS = np.linalg.norm(left_RD, axis=1)[:, None] * np.linalg.norm(right_SD, axis=1)
    dot_RS = left_RD @ right_SD.T
    cosine_RS = np.clip(dot_RS / length_RS, -1, 1)
    angle_RS = np.arccos(cosine_RS)
    open_RS = math.pi - angle_RS
    last_RS = length_RS * (np.sin(angle_RS) + open_RS * cosine_RS)
    found: Floats = (last_RS + dot_RS * open_RS) / (2 * math.pi)
    return found


@dataclass(frozen=True)
class Modes:
    """Eigenvalues value_M, ascending, and eigenvectors vector_RM of a kernel."""

    value_M: Floats
    vector_RM: Floats

    @classmethod
    def of(cls, kernel_RR: Floats) -> Modes:
        """Return the modes of a symmetric kernel."""
        value_M, vector_RM = np.linalg.eigh(kernel_RR)
        return cls(value_M, vector_RM)

    @property
    def largest_lr(self) -> float:
        """Return 2 / the largest eigenvalue: gradient descent converges below."""
        return 2 / float(self.value_M[-1])


def linear_residual(kernel_RR: Floats, residual_R: Floats, lr: float, steps: int) -> Floats:
    """Return (I - lr K)^steps residual, [R]."""
    modes = Modes.of(kernel_RR)
    shrunk_M = (1 - lr * modes.value_M) ** steps * (modes.vector_RM.T @ residual_R)
    found: Floats = modes.vector_RM @ shrunk_M
    return found
