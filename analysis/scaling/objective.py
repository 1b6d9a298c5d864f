"""What a scaling law is fitted by: the sum over rows of Huber's loss of the error in ln y.

A sum and not a mean: the mean of a few hundred rows is so small that an optimizer's default
tolerances end its search far from the minimum (Besiroglu et al. 2024, arXiv:2404.10102).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize
from threadpoolctl import threadpool_limits

from phasecube.analysis.scaling.law import Floats, Law

TOLERANCE = 1e-15  # relative: float64's own, nearly, so that the minimum is what ends a search
MAX_EVALUATIONS = 2000
REFIT_TOLERANCE, REFIT_EVALUATIONS = 1e-10, 300
NO_FLOOR = 1e-6  # of the smallest y: a floor that is absent would fall towards 0 for ever


@dataclass(frozen=True)
class Objective:
    """Rows to fit: what a law's terms are linear in, ln y, and Huber's delta in units of ln y.

    `outer` and `floor` are the places of the law's outer exponent and of its floor among the
    parameters, None without one.
    """

    design_TNP: Floats
    log_y_N: Floats
    delta: float
    outer: int | None = None
    floor: int | None = None

    @classmethod
    def of(cls, law: Law, features: Mapping[str, Floats], y_N: Floats, delta: float) -> Objective:
        """Return the objective of a law on rows."""
        logs = {name: np.log(features[name]) for name in law.features}
        outer = None if law.outer is None else law.names.index(law.outer)
        floor = None if law.floor is None else law.names.index(law.floor)
        return cls(law.design(logs), np.log(y_N), delta, outer, floor)

    def rows(self, rows: np.ndarray) -> Objective:
        """Return the objective of some of the rows."""
        return replace(self, design_TNP=self.design_TNP[:, rows], log_y_N=self.log_y_N[rows])

    def with_delta(self, delta: float) -> Objective:
        """Return the objective with another delta; infinite makes it a sum of squares."""
        return replace(self, delta=delta)

    def residual(self, theta_P: Floats) -> Floats:
        """Return ln of the prediction less ln y, [N]."""
        power = 1.0 if self.outer is None else theta_P[self.outer]
        log_sum_N, _ = _sum_and_shares(self.design_TNP @ theta_P / power)
        found: Floats = power * log_sum_N - self.log_y_N
        return found

    def jacobian(self, theta_P: Floats) -> Floats:
        """Return the residuals' derivatives, [N, P]: the terms' rows weighted by their shares."""
        power = 1.0 if self.outer is None else theta_P[self.outer]
        log_TN = self.design_TNP @ theta_P / power
        log_sum_N, share_TN = _sum_and_shares(log_TN)
        found: Floats = np.einsum("tn,tnp->np", share_TN, self.design_TNP)
        if self.outer is not None:
            found[:, self.outer] += log_sum_N - (share_TN * log_TN).sum(0)  # the shares' entropy
        return found

    def value(self, theta_P: Floats) -> float:
        """Return the sum of Huber's loss; infinite where a prediction is no number."""
        r_N, d = np.abs(self.residual(theta_P)), self.delta
        if not np.isfinite(r_N).all():
            return float("inf")
        return float(np.where(r_N <= d, r_N**2 / 2, d * (r_N - d / 2)).sum())

    def gradient(self, theta_P: Floats) -> Floats:
        """Return the objective's gradient, [P]."""
        slope_N = np.clip(self.residual(theta_P), -self.delta, self.delta)
        found: Floats = slope_N @ self.jacobian(theta_P)
        return found

    def curvature(self, theta_P: Floats) -> Floats:
        """Return J'J, [P, P]: how the rows tell the parameters apart, whatever their residuals."""
        jacobian_NP = self.jacobian(theta_P)
        found: Floats = jacobian_NP.T @ jacobian_NP
        return found

    def refitted(self, start_P: Floats) -> tuple[Floats, float]:
        """Return what `minimised` does, sooner: objectives are alike to REFIT_TOLERANCE."""
        return self.minimised(start_P, REFIT_TOLERANCE, REFIT_EVALUATIONS)

    def minimised(
        self, start_P: Floats, tolerance: float = TOLERANCE, evaluations: int = MAX_EVALUATIONS
    ) -> tuple[Floats, float]:
        """Return the parameters where a search from `start_P` ends, and the objective there.

        Its cost is the same sum: scipy's "huber" with f_scale = delta.
        """
        if not np.isfinite(self.residual(start_P)).all():
            return start_P, float("inf")
        least_P = np.full(len(start_P), -np.inf)
        if self.floor is not None:
            least_P[self.floor] = self.log_y_N.min() + np.log(NO_FLOOR)
            start_P = np.maximum(start_P, least_P + 1e-3)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            try:
                found = optimize.least_squares(
                    self.residual,
                    start_P,
                    self.jacobian,
                    bounds=(least_P, np.inf),
                    x_scale="jac",
                    loss="huber",
                    f_scale=self.delta,
                    ftol=tolerance,
                    xtol=tolerance,
                    gtol=tolerance,
                    max_nfev=evaluations,
                )
            except (ValueError, np.linalg.LinAlgError):  # it left the numbers: a start in vain
                return start_P, float("inf")
        return found.x, self.value(found.x)


def _sum_and_shares(log_TN: Floats) -> tuple[Floats, Floats]:
    """Return the log of the terms' sum, and each term's share of it.

    scipy's logsumexp and softmax take five times as long on arrays this small.
    """
    most_N = log_TN.max(axis=0)
    part_TN = np.exp(log_TN - most_N)
    total_N = part_TN.sum(axis=0)
    return most_N + np.log(total_N), part_TN / total_N


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS to one thread: products this small only wait for the others."""
    with threadpool_limits(1, "blas"):
        yield
