"""A law fitted to rows, with all that says whether it may be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from phasecube.analysis.caution import Caution
from phasecube.analysis.scaling.law import Floats, Law
from phasecube.analysis.scaling.misfit import bent
from phasecube.analysis.scaling.objective import Objective, one_thread
from phasecube.analysis.scaling.points import Points
from phasecube.analysis.scaling.sorts import sorts_differ
from phasecube.analysis.scaling.starts import drawn, projected
from phasecube.engine.errors import StudyError

DELTA = 1e-3  # Hoffmann et al. 2022
STARTS = 12  # at random, to see how many find the minimum
SAME = 1e-3  # relative: ends of searches whose objectives differ by less are one
FEW_PER_PARAMETER = 3
NARROW = 2  # rows more than parameters: resamples of so few often hold no more than parameters
FEW_CONVERGE = 0.1
ILL_CONDITIONED = 1e14  # of J'J in units of each parameter: half of float64's digits are lost
FAR_OUT = 10.0  # robust standard deviations
MAD_TO_SD = 1.4826
MOST_TO_START = 2000  # rows that starts are looked for on; the best are followed on all


@dataclass(frozen=True)
class Fit:
    """Parameters of a law by name, coefficients themselves; how well and how surely they fit.

    `converged_share` is the share of random starts that find this minimum, `condition` that of
    J'J with its columns scaled to one length; residuals are ln prediction less ln y.
    """

    law: Law
    values: Mapping[str, float]
    objective: float
    delta: float
    residual_N: Floats
    outlier_N: np.ndarray
    converged_share: float
    condition: float
    theta_P: Floats
    points: Points
    cautions: tuple[Caution, ...]

    def predict(self, **features: float | Floats) -> Floats:
        """Return y at the features."""
        return self.law.predict(self.values, **features)


def fit_law(
    law: Law, points: Points, delta: float = DELTA, *, starts: int = STARTS, seed: int = 0
) -> Fit:
    """Return the best fit of a law; raise StudyError where the rows cannot tell its parameters.

    The objective is summed over rows, in float64, from the best of variable projection and
    from `starts` random places.
    """
    _enough(law, points)
    objective = Objective.of(law, points.features, points.y_N, delta)
    theta_P, value, share = _best(law, objective, starts, seed)
    cautions = [*points.cautions]
    residual_N = objective.residual(theta_P)
    outlier_N = _far_out(residual_N)
    condition = _condition(objective.curvature(theta_P))
    values = values_of(law, theta_P)
    n, p = len(points), len(law.names)
    if n < FEW_PER_PARAMETER * p:
        narrow = ": resampled intervals are too narrow" if n - p <= NARROW else ""
        cautions.append(Caution("few_points", f"{n} rows for {p} parameters{narrow}"))
    if share < FEW_CONVERGE:
        cautions.append(
            Caution(
                "few_starts_converge",
                f"{share:.0%} of {starts} random starts end at this minimum; others miss it",
            )
        )
    if condition > ILL_CONDITIONED:
        cautions.append(
            Caution(
                "ill_conditioned",
                f"condition {condition:.1e}: the rows do not tell the parameters apart",
            )
        )
    cautions += _odd_values(law, values, points)
    if outlier_N.any():
        cautions.append(_without(law, points, outlier_N, objective, theta_P))
    cautions += bent(law, points, residual_N, objective.jacobian(theta_P), ~outlier_N)
    cautions += sorts_differ(residual_N, points.sorts)
    return Fit(
        *(law, values, value, delta, residual_N, outlier_N, share, condition, theta_P, points),
        tuple(cautions),
    )


def values_of(law: Law, theta_P: Floats) -> dict[str, float]:
    """Return parameters by name, the coefficients themselves and not their logarithms."""
    n = len(law.coefficients)
    with np.errstate(over="ignore"):  # a resample may throw a coefficient out of all bounds
        numbers = [*np.exp(theta_P[:n]), *theta_P[n:]]
    return dict(zip(law.names, map(float, numbers), strict=True))


def _enough(law: Law, points: Points) -> None:
    missing = [name for name in law.features if name not in points.features]
    if missing:
        raise StudyError(
            f"{law.name} needs {', '.join(law.features)}; say which column is "
            f"{' and which is '.join(missing)}, as a feature {missing[0]}"
        )
    n, p = len(points), len(law.names)
    if n <= p:
        raise StudyError(
            f"{law.name} has {p} parameters and there are {n} rows; more rows, or a law with "
            "fewer parameters"
        )
    for name in law.features:
        sizes = np.unique(points.features[name])
        if len(sizes) < 2:
            raise StudyError(
                f"{name} is {sizes[0]:g} in every row: nothing tells its exponent; vary it, or "
                "fit a law without it"
            )


def _best(law: Law, objective: Objective, starts: int, seed: int) -> tuple[Floats, float, float]:
    """Return the best parameters, their objective, and the share of random starts at it."""
    rng = np.random.default_rng(seed)
    n = len(objective.log_y_N)
    part = objective
    if n > MOST_TO_START:
        part = objective.rows(np.sort(rng.choice(n, MOST_TO_START, replace=False)))
    with one_thread():
        sure = [part.minimised(s) for s in projected(law, part)]
        tried = [part.refitted(s) for s in drawn(law, part, starts, rng)]
        best_P, best = part.minimised(min([*sure, *tried], key=lambda end: end[1])[0])
        theta_P, value = (best_P, best) if part is objective else objective.minimised(best_P)
    near = [end[1] <= best * (1 + SAME) + SAME * objective.delta**2 for end in tried]
    return theta_P, value, float(np.mean(near)) if near else float("nan")


def _condition(curvature_PP: Floats) -> float:
    """Return the condition of J'J in units of each parameter, infinite where one moves nothing."""
    length_P = np.sqrt(np.diag(curvature_PP))
    scale_PP = np.outer(length_P, length_P)
    if not (scale_PP > 0).all():
        return float("inf")
    return float(np.linalg.cond(curvature_PP / scale_PP))


def _far_out(residual_N: Floats) -> np.ndarray:
    spread = MAD_TO_SD * np.median(np.abs(residual_N - np.median(residual_N)))
    found: np.ndarray = np.abs(residual_N - np.median(residual_N)) > FAR_OUT * max(spread, 1e-12)
    return found


def _odd_values(law: Law, values: Mapping[str, float], points: Points) -> list[Caution]:
    found = [
        Caution("growing_with_size", f"{name} = {values[name]:.3g}: more makes it worse")
        for name in law.exponents
        if values[name] < 0
    ]
    floor = law.floor
    if floor is not None and values[floor] < SAME * points.y_N.min():
        found.append(Caution("no_floor", f"{floor} = {values[floor]:.2g}: the rows show no floor"))
    return found


def _without(
    law: Law, points: Points, outlier_N: np.ndarray, objective: Objective, theta_P: Floats
) -> Caution:
    """Return what the rows far out do to the exponents."""
    kept = ~outlier_N
    there = values_of(law, objective.rows(kept).minimised(theta_P)[0])
    here = values_of(law, theta_P)
    moved = ", ".join(f"{name} {here[name]:.3f} -> {there[name]:.3f}" for name in law.exponents)
    return Caution(
        "rows_far_out",
        f"{outlier_N.sum()} of {len(points)} rows lie over {FAR_OUT:g} robust standard "
        f"deviations off; without them {moved}",
    )
