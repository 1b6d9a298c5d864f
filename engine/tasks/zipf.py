"""Examples of Zipf's law and a learner that knows what it has seen: its error in closed form.

Class i is drawn with probability theta_i ~ i^-(1 + a), i = 1 to K. A learner that is right on the
classes it has seen errs, after n examples, with probability

    E_n = sum_i theta_i (1 - theta_i)^n    in the mean over samples,

which for infinitely many classes and n large goes to

    zeta(1 + a)^(-1 / (1 + a)) Gamma(a / (1 + a)) / (1 + a) n^(-a / (1 + a)).

Reference: Hutter 2021, "Learning curve theory", arXiv:2102.04074.
"""

from __future__ import annotations

from math import gamma

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def class_probabilities(classes: int, exponent: float) -> Floats:
    """Return theta, (K,), which falls with the class and sums to 1; `exponent` is a."""
    weight_K = np.arange(1.0, classes + 1) ** -(1 + exponent)
    found: Floats = weight_K / weight_K.sum()
    return found


def expected_error(theta_K: Floats, examples_T: npt.ArrayLike) -> Floats:
    """Return E_n after each number of examples, (T,)."""
    unseen_TK = (1 - theta_K) ** np.asarray(examples_T, np.float64)[:, None]
    found: Floats = unseen_TK @ theta_K
    return found


def error_deviation(theta_K: Floats, examples: int) -> float:
    """Return an upper bound of the standard deviation of one learner's error after n examples.

    It is that of independent classes. Whether one class was seen speaks, for given n, against
    another's having been seen, so that the sum varies less.
    """
    unseen_K = (1 - theta_K) ** examples
    return float(np.sqrt((theta_K**2 * unseen_K * (1 - unseen_K)).sum()))


def large_sample_error(examples: npt.ArrayLike, exponent: float) -> Floats:
    """Return what E_n goes to for infinitely many classes and many examples."""
    from scipy.special import zeta

    share = exponent / (1 + exponent)
    factor = zeta(1 + exponent) ** (share - 1) * gamma(share) / (1 + exponent)
    found: Floats = factor * np.asarray(examples, np.float64) ** -share
    return found
