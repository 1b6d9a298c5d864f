"""What is left over of a fit and should not be: a bend over the law's features."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from scipy import stats

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.law import Floats, Law
from phasecube.analysis.scaling.points import Points

SURE = 1e-3  # chance of a false alarm where the law holds
SEEN = 1e-6  # of ln y: what is smaller is rounding, not a bend
TOLD_APART = (
    1e-3  # what is left of a square or product, of its length, once the law has had its share
)


def bent(
    law: Law, points: Points, residual_N: Floats, jacobian_NP: Floats, kept_N: np.ndarray
) -> list[Caution]:
    """Return a caution where squares and products of the features' logarithms explain what is left.

    What the law's own parameters explain is taken off both first, and rows far out are not asked.
    The F test allows for errors that are alike within a run (cluster-robust: Liang & Zeger 1986).
    Where it tells, an exponent depends on which rows are fitted.
    """
    _, run_N = np.unique(points.run_N[kept_N], return_inverse=True)
    n_runs = int(run_N.max()) + 1
    own_NP = jacobian_NP[kept_N]
    bends_NQ = _beyond(own_NP, _products(law, points, kept_N))
    freedom = n_runs - own_NP.shape[1] - bends_NQ.shape[1]
    if freedom < 1 or not bends_NQ.shape[1]:
        return []
    left_N = _off(own_NP, -residual_N[kept_N])
    slope_Q, *_ = np.linalg.lstsq(bends_NQ, left_N, rcond=None)
    error_N = left_N - bends_NQ @ slope_Q
    score_UQ = np.zeros((n_runs, bends_NQ.shape[1]))
    np.add.at(score_UQ, run_N, bends_NQ * error_N[:, None])
    # The bends are orthonormal: scores are all that the slopes' spread is made of.
    spread_QQ = score_UQ.T @ score_UQ * n_runs / freedom
    wald = float(slope_Q @ np.linalg.pinv(spread_QQ) @ slope_Q) / len(slope_Q)
    chance = float(stats.f.sf(wald, len(slope_Q), freedom))
    bend = float(np.std(bends_NQ @ slope_Q))
    if chance > SURE or bend < SEEN:
        return []
    share = bend**2 / float(np.var(left_N))
    return [
        Caution(
            "form_does_not_fit",
            f"a bend over {' and '.join(law.features)} explains {share:.0%} of what is left over, "
            f"{bend:.2%} of y (chance {chance:.0e}): the form is wrong here, and its exponents "
            "depend on which rows are fitted",
        )
    ]


def _products(law: Law, points: Points, kept_N: np.ndarray) -> Floats:
    """Return squares and products of the features' logarithms, each of length 1, [N, Q]."""
    logs = [np.log(points.features[f][kept_N]) for f in law.features]
    logs = [(u - u.mean()) / max(u.std(), 1e-12) for u in logs]
    products = np.stack([u * v for u, v in combinations_with_replacement(logs, 2)], axis=1)
    return np.asarray(products / np.linalg.norm(products, axis=0), np.float64)


def _beyond(own_NP: Floats, asked_NQ: Floats) -> Floats:
    """Return an orthonormal basis of what is asked beyond what the law's parameters explain."""
    basis_NQ, length_Q, _ = np.linalg.svd(_off(own_NP, asked_NQ), full_matrices=False)
    return np.asarray(basis_NQ[:, length_Q > TOLD_APART], np.float64)


def _off(own_NP: Floats, values: Floats) -> Floats:
    """Return values less their projection on the law's own derivatives."""
    length_P = np.linalg.norm(own_NP, axis=0)
    scaled_NP = own_NP / np.where(length_P > 0, length_P, 1.0)
    return np.asarray(values - scaled_NP @ np.linalg.lstsq(scaled_NP, values, rcond=None)[0])
