"""A normal law that is fitted, again and again, to samples of itself: its moments in closed form.

Generation 0 is the law of the real data, N(0, 1). Each next one is fitted to m samples, of which
each is real with chance lambda and else comes from the generation before. Where the others are
curated, the curator sees K of them and keeps one with chance e^r / (sum of e^r), r(x) =
-beta (x - c)^2 / 2. With T the variance of what is sampled, v the model's variance and d its
squared mean, without curation

    T = lambda + (1 - lambda) v + lambda (1 - lambda) d,
    E v' = q T,    E d' = (1 - lambda)^2 d + T / m,    q = (m - 1) / m, or 1 where it is unbiased.

Reference: Shumailov et al. 2023, arXiv:2305.17493; Alemohammad et al. 2023, arXiv:2307.01850;
Bertrand et al. 2023, arXiv:2310.00429; Ferbach et al. 2024, arXiv:2407.09499, for the curation.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NODES = 160  # of Gauss and Hermite's rule, for the samples
SPAN, SPACING = 40.0, 0.02  # of the trapezoidal rule in log t, for the crowd of the others


def expected_moments(
    generations: int, samples: int, real_share: float, *, unbiased: bool = False
) -> tuple[Floats, Floats]:
    """Return E v and E d of generations 0 .. n without curation, two arrays (n + 1,)."""
    q = 1.0 if unbiased else (samples - 1) / samples
    kept = 1 - real_share
    found = np.empty((generations + 1, 2))
    found[0] = 1.0, 0.0
    for n in range(generations):
        variance, square = found[n]
        sampled = real_share + kept * variance + real_share * kept * square
        found[n + 1] = q * sampled, kept**2 * square + sampled / samples
    return found[:, 0], found[:, 1]


def resting_variance(samples: int, real_share: float) -> float:
    """Return where E v of maximum likelihood comes to rest without curation.

    (1 - 1/m) lambda / (lambda + (1 - lambda)^2 / (m (2 - lambda))): half of the real variance is
    lost near lambda = 1 / (2 m), all of it without real data.
    """
    lost = (1 - real_share) ** 2 / (samples * (2 - real_share))
    return (1 - 1 / samples) * real_share / (real_share + lost)


def log_variance_walk(samples: int, *, unbiased: bool = False) -> tuple[float, float]:
    """Return drift and variance per generation of log v without real data and curation.

    v' = v chi2 / m with m - 1 degrees of freedom (over m - 1 where it is unbiased), so log v is a
    random walk: psi((m - 1) / 2) + log(2 / m) a step, below 0 for either estimator, so that
    v goes to 0 almost surely.
    """
    from scipy.special import digamma, polygamma

    half = (samples - 1) / 2
    divisor = samples - 1 if unbiased else samples
    return float(digamma(half)) + math.log(2 / divisor), float(polygamma(1, half))


def tilted_path(generations: int, preference: float, centre: float) -> tuple[Floats, Floats]:
    """Return mean and variance of generations 0 .. n where K is infinite and no data is real.

    The curated law is then p e^r / (its sum), of precision 1 + n beta and mean
    n beta c / (1 + n beta).
    """
    pull_G = preference * np.arange(generations + 1)
    return centre * pull_G / (1 + pull_G), 1 / (1 + pull_G)


def curated_moments(
    mean: float, variance: float, choices: int, preference: float, centre: float
) -> tuple[float, float]:
    """Return mean and variance of what the curator keeps of K samples of N(mean, variance).

    With 1 / S the integral of e^(-t S), a sample is kept K times as often as the integral over t
    of w e^(-t w) (E e^(-t w))^(K - 1), w = e^r: expectations by Gauss and Hermite's rule.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    chance_X = weights / weights.sum()
    x_X = mean + math.sqrt(variance) * nodes
    reward_X = -preference * (x_X - centre) ** 2 / 2
    # In units of the largest e^r, which no choice depends on.
    w_X = np.exp(reward_X - reward_X.max())
    t_T = np.exp(np.arange(-SPAN, SPAN, SPACING))[:, None]
    alone_TX = np.exp(-t_T * w_X)
    crowd_T = (alone_TX @ chance_X) ** (choices - 1)
    kept_X = choices * w_X * ((crowd_T * t_T.T[0])[:, None] * alone_TX).sum(0) * SPACING
    kept_X = kept_X * chance_X
    first, second = kept_X @ x_X, kept_X @ x_X**2
    return float(first), float(second - first**2)
