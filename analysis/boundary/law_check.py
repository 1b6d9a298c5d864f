"""Whether a power law of boundaries is one: does it bend, and do members lie off it together?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from phasecube.analysis.caution import Caution
from phasecube.analysis.estimates.censored_likelihood import maximised
from phasecube.analysis.estimates.censored_regression import BoundaryLaw

Floats = npt.NDArray[np.float64]
LEVEL = 0.01  # how rarely a good law is spoken against by each check


def law_cautions(law: BoundaryLaw, member_N: npt.NDArray[np.int64]) -> tuple[Caution, ...]:
    """Return the cautions of residuals; `member_N` numbers the member of each row of the law.

    Residuals are the means of the normal error between the ends of each row (Gourieroux et al.
    1987, J. Econometrics 34, 5), nearly nothing of rows with ends far apart.
    """
    if not np.isfinite(law.slope.value) or law.sigma.value == 0:
        return ()
    found = []
    bent = _bend(law)
    if bent:
        found.append(bent)
    residual_N = generalised_residuals(law)
    groups = [residual_N[member_N == m] for m in np.unique(member_N)]
    groups = [g for g in groups if len(g) > 1]
    if len(groups) > 1 and len(residual_N) > 2 * len(groups):
        share = float(stats.f_oneway(*groups).pvalue)
        if share < LEVEL:
            found.append(
                Caution(
                    "members_lie_together",
                    "some members' boundaries lie high or low at all places: rows are not "
                    'independent, the intercept is less sure than it looks; rows = "slices" '
                    "counts each place once",
                )
            )
    return tuple(found)


def generalised_residuals(law: BoundaryLaw) -> Floats:
    """Return the mean standard normal error of each row, given that it lies between its ends."""
    rows, sigma = law.rows, law.sigma.value
    line_N = law.intercept.value + law.slope.value * rows.x_N
    a_N, b_N = (rows.low_N - line_N) / sigma, (rows.high_N - line_N) / sigma
    right_N = a_N > 0
    lower_N, upper_N = np.where(right_N, -b_N, a_N), np.where(right_N, -a_N, b_N)
    share_N = special.ndtr(upper_N) - special.ndtr(lower_N)
    density_N = stats.norm.pdf(lower_N) - stats.norm.pdf(upper_N)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_N = np.where(share_N > 1e-300, density_N / share_N, np.clip(0.0, lower_N, upper_N))
    found: Floats = np.where(right_N, -mean_N, mean_N)
    return found


def _bend(law: BoundaryLaw) -> Caution | None:
    """Return a caution where a square of ln width fits better than chance lets it."""
    rows = law.rows
    n = law.n_bracketed
    if len(np.unique(rows.x_N)) < 3 or n < 5:
        return None
    x_N = rows.x_N - rows.x_N.mean()
    columns = [np.ones(len(x_N)), x_N, x_N**2]
    low_NP = np.stack([rows.low_N, *(-c for c in columns)], 1)
    high_NP = np.stack([rows.high_N, *(-c for c in columns)], 1)
    at_middle = law.intercept.value + law.slope.value * rows.x_N.mean()
    start_P = np.array([1.0, at_middle, law.slope.value, 0.0]) / law.sigma.value
    point_P, best = maximised(low_NP, high_NP, start_P, 1e4 / law.sigma.value)
    t = stats.t.ppf(1 - LEVEL / 2, n - 3)
    if 2 * (best - law.log_likelihood) <= n * np.log1p(t**2 / (n - 3)):
        return None
    _, _, slope, bend = point_P / point_P[0]
    first, last = (slope + 2 * bend * x for x in (x_N.min(), x_N.max()))
    return Caution(
        "bent",
        f"the boundaries bend in logarithms, from an exponent of {first:.2f} at the smallest place "
        f"to {last:.2f} at the largest: no one exponent holds",
    )
