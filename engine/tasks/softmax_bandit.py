"""Softmax policies of one state in closed form: entropy's change, score, Policy Cliff.

pi = softmax(z). dH / dz_a = -pi_a (log pi_a + H), so dH = -Cov_pi(log pi, dz) to first order.
References: Cui et al. 2025, arXiv:2505.22617 (covariance); Xu 2025, arXiv:2507.20150 (the
cliff); Wang et al. 2025, arXiv:2509.09265, proposition 1 (the score).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def surprise(policy_A: Floats) -> Floats:
    """Return log pi_a + H; 0 where pi_a is 0, to be multiplied by pi_a."""
    log_A = np.log(np.where(policy_A > 0, policy_A, 1.0))
    return np.where(policy_A > 0, log_A - (policy_A * log_A).sum(), 0.0)


def entropy_change(policy_A: Floats, change_A: Floats) -> float:
    """Return -Cov_pi(log pi, dz), the change of the entropy in nats to first order in dz."""
    return -float((policy_A * surprise(policy_A) * change_A).sum())


def entropy_change_of_sample(
    policy_A: Floats, action: int, advantage: float, lr: float = 1.0
) -> float:
    """Return the same for one sampled action, which moves z by lr A (e_a - pi).

    -lr A [pi_a (log pi_a + H) - sum_b pi_b^2 (log pi_b + H)].
    """
    around_A = surprise(policy_A)
    own = policy_A[action] * around_A[action]
    return -lr * advantage * float(own - (policy_A**2 * around_A).sum())


def expected_score(policy_A: Floats) -> float:
    """Return E_{a ~ pi} |grad_z log pi(a)|^2 = 1 - sum_a pi_a^2 = 1 - exp(-H_2), H_2 the
    Renyi entropy of order 2: a sure step has a small gradient."""
    return 1 - float((policy_A**2).sum())


def cliff(gap: Any, temperature: Any) -> Any:
    """Return the L1 distance of the optimal policies of rewards (1, 1 + gap) and (1, 1 - gap).

    2 tanh(gap / (2 tau)); without a temperature 2 for every gap above 0: the optimal policy
    is no continuous function of the reward, with one its slope is at most 1 / tau.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = 2 * np.tanh(np.divide(gap, 2 * np.asarray(temperature, float)))
    return np.where(np.equal(gap, 0), 0.0, found)


def cliff_error(steps: int) -> float:
    """Return the most that two arms may miss of `cliff` after gradient ascent at lr = 1 / tau.

    With y = tanh(u / 2), u the log-odds of the better arm and u* = gap / tau where they rest,
    a unit of time gives u' = 2 p q (u* - u), so the error e = y* - y has
    e' = -(1 - y^2)^2 (u* - u) / 4 <= -f e^2. The smallest f is 0.858, at u = 0, u* = 2.2; so
    e <= 1 / (0.858 n), and the jump is 2 y. Ascent moves no slower than its flow, whose speed
    only falls, and never passes u*, since 2 p q <= 1/2.
    """
    return 2 / (0.858 * steps)


def untempered_log_odds(gap: float, time: float) -> float:
    """Return the log-odds u of the better of two arms after lr * steps = time, from u = 0.

    Without a temperature u' = 2 p q gap, so u + sinh(u) = gap time: the jump 2 tanh(u / 2)
    is still 2 / (gap time) below 2, and a small gap needs a long run.
    """
    aim = gap * time
    low, high = 0.0, math.asinh(aim)
    for _ in range(200):  # bisection to the last bit
        middle = (low + high) / 2
        low, high = (middle, high) if middle + math.sinh(middle) < aim else (low, middle)
    return (low + high) / 2
