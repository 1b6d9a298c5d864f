"""Where to begin a fit: variable projection over the exponents, and starts drawn at random.

Given its exponents a law is linear in its coefficients, none of them negative: non-negative
least squares on a grid of one to two exponents leaves nothing to chance (Golub & Pereyra 1973).
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import optimize

from phasecube.analysis.scaling.law import Floats, Law
from phasecube.analysis.scaling.objective import Objective

EXPONENTS = (0.02, 3.0)
POINTS = {1: 96, 2: 32}
BEST = 3  # starts from the grid that are followed to their end
ABSENT = 1e-9  # of the largest term: the log of a coefficient that least squares set to 0


def projected(law: Law, rows: Objective) -> list[Floats]:
    """Return the best starts of a grid over the exponents, best first, [P] each.

    None for a law with an outer exponent, which is linear in nothing.
    """
    if law.outer is not None:
        return []
    design_TNP, log_y_N = rows.design_TNP, rows.log_y_N
    n_coefficients = len(law.coefficients)
    grid_E = np.geomspace(*EXPONENTS, POINTS[len(law.exponents)])
    y_N = np.exp(log_y_N)
    found: list[tuple[float, Floats]] = []
    for exponents in product(grid_E, repeat=len(law.exponents)):
        # Columns of the coefficients are 1 in their own term: the rest is what exponents add.
        log_TN = design_TNP[:, :, n_coefficients:] @ np.asarray(exponents)
        scale_T = log_TN.max(1)
        relative_NT = (np.exp(log_TN - scale_T[:, None]) / y_N).T
        part_T, error = optimize.nnls(relative_NT, np.ones(len(y_N)))
        part_T = np.maximum(part_T, ABSENT * part_T.max())
        if part_T.max() > 0:
            found.append((error, np.concatenate([np.log(part_T) - scale_T, exponents])))
    found.sort(key=lambda pair: pair[0])
    return [start_P for _, start_P in found[:BEST]]


def drawn(law: Law, rows: Objective, n: int, rng: np.random.Generator) -> list[Floats]:
    """Return random starts: exponents in (0, 2), each term a random share of the median y."""
    n_coefficients = len(law.coefficients)
    starts = []
    for _ in range(n):
        exponents_E = rng.uniform(0, 2, len(law.exponents))
        middle_T: npt.NDArray[np.float64] = np.median(
            rows.design_TNP[:, :, n_coefficients:] @ exponents_E, axis=1
        )
        share_T = rng.dirichlet(np.ones(n_coefficients))
        logs_T = np.log(share_T) + np.median(rows.log_y_N) - middle_T
        starts.append(np.concatenate([logs_T, exponents_E]))
    return starts
