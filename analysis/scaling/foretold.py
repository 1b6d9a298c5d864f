"""The largest rows, foretold by a fit to all others: what a law is worth beyond its data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.fit import Fit
from phasecube.analysis.scaling.law import Floats
from phasecube.analysis.scaling.objective import Objective

LARGEST_SHARE = 0.2
SURE = 1e-3  # chance of a false alarm where the law holds
# A fit by absolute errors, as Huber's below their scatter, spreads wider than one by squares.
OF_ABSOLUTE_ERRORS = np.pi / 2


@dataclass(frozen=True)
class Foretold:
    """ln prediction less ln y of the largest rows `residual_L`, which were not fitted, their
    sizes, and a caution where they are off by more than scatter and an uncertain fit allow."""

    residual_L: Floats
    size_L: Floats
    cautions: tuple[Caution, ...]

    @property
    def worst(self) -> float:
        """Return the largest of |residual|, NaN without rows."""
        return float(np.abs(self.residual_L).max()) if len(self.residual_L) else float("nan")


def foretold(fit: Fit, feature: str, share: float = LARGEST_SHARE) -> Foretold:
    """Return what a fit to the rows of smaller `feature` says of the largest `share` of them.

    The caution is Chow's test of predictive failure (Econometrica 1960, 28, 591), widened for a
    fit by absolute errors; rows far out are not asked, and no test is made where runs have several
    rows each, as those err together.
    """
    size_N = fit.points.features[feature]
    large_N = size_N > np.quantile(size_N, 1 - share)
    whole = Objective.of(fit.law, fit.points.features, fit.points.y_N, fit.delta)
    theta_P, _ = whole.rows(~large_N).minimised(fit.theta_P)
    residual_N = whole.residual(theta_P)
    found = residual_N[large_N]
    if len(np.unique(fit.points.run_N)) < len(fit.points):
        return Foretold(found, size_N[large_N], ())
    kept_N, asked_N = ~large_N & ~fit.outlier_N, large_N & ~fit.outlier_N
    chance = _chance(residual_N, whole.jacobian(theta_P), kept_N, asked_N)
    if not chance < SURE:
        return Foretold(found, size_N[large_N], ())
    worst, scatter = np.expm1(np.abs(residual_N[asked_N]).max()), np.std(residual_N[kept_N])
    message = (
        f"a fit to the others is off by up to {worst:.1%} at the largest {share:.0%} of {feature}, "
        f"with a scatter of {scatter:.1%} (chance {chance:.0e}): the law bends there, or rows "
        "scatter more; what it says beyond them, its floor too, is not to be relied on"
    )
    return Foretold(found, size_N[large_N], (Caution("foretells_badly", message),))


def _chance(
    residual_N: Floats, jacobian_NP: Floats, kept_N: np.ndarray, asked_N: np.ndarray
) -> float:
    """Return how often errors as large would come by chance; NaN where too few rows can tell."""
    n_parameters = jacobian_NP.shape[1]
    freedom, n_asked = int(kept_N.sum()) - n_parameters, int(asked_N.sum())
    if freedom < 1 or not n_asked:
        return float("nan")
    length_P = np.linalg.norm(jacobian_NP[kept_N], axis=0)
    scaled_NP = jacobian_NP / np.where(length_P > 0, length_P, 1.0)
    spread_PP = np.linalg.pinv(scaled_NP[kept_N].T @ scaled_NP[kept_N])
    of_fit_LL = OF_ABSOLUTE_ERRORS * scaled_NP[asked_N] @ spread_PP @ scaled_NP[asked_N].T
    off_L = residual_N[asked_N]
    wald = float(off_L @ np.linalg.solve(np.eye(n_asked) + of_fit_LL, off_L)) / n_asked
    variance = float((residual_N[kept_N] ** 2).sum()) / freedom
    if variance == 0:
        return float("nan")  # exact numbers: rounding is all that is left
    return float(stats.f.sf(wald / variance, n_asked, freedom))
