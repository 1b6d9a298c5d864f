"""The exact learning curves of ridge regression by gradient descent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def error_curves(
    x_RD: Floats, teacher_D: Floats, start_D: Floats, *, lr: float, ridge: float, steps_S: Floats
) -> tuple[Floats, Floats]:
    """Return training and test error after each of `steps_S` steps, relative to step 0.

    Gradient descent on |Xw - y|^2 / 2n + ridge |w|^2 / 2 from `start_D`, y = X teacher.
    In the basis of X's right singular vectors, with mu_i = s_i^2 / n, every coordinate
    relaxes alone: c_i(t) = fix_i + (1 - lr (mu_i + ridge))^t (a_i - fix_i),
    fix_i = mu_i b_i / (mu_i + ridge). A new row has covariance proportional to I.
    """
    n, d = x_RD.shape
    _, singular, basis_DD = np.linalg.svd(x_RD, full_matrices=True)
    mu_D = np.zeros(d)
    mu_D[: len(singular)] = singular**2 / n
    a_D, b_D = basis_DD @ start_D, basis_DD @ teacher_D
    fixed_D = np.divide(mu_D * b_D, mu_D + ridge, out=a_D.copy(), where=mu_D + ridge > 0)
    rate_D = 1 - lr * (mu_D + ridge)
    c_SD = fixed_D + rate_D ** np.asarray(steps_S, float)[:, None] * (a_D - fixed_D)
    train_S = ((c_SD - b_D) ** 2 * mu_D).sum(1) / ((a_D - b_D) ** 2 * mu_D).sum()
    test_S = ((c_SD - b_D) ** 2).sum(1) / ((a_D - b_D) ** 2).sum()
    return train_S, test_S
