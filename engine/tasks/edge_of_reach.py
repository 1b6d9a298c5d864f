"""States in layers, by their distance from the data: values by dynamic programming.

From state i of layer l, action a earns r[l, i, a] and leads to a state of layer l + 1, for certain;
the layer after the last one ends the episode. Rollouts of k steps from layer 0 update the layers
below k and read the values of layer k, which nothing updates: the edge of reach.
Reference: Sims et al. 2024, arXiv:2402.12527.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def action_values(reward_NWA: Floats, next_NWA: Ints, discount: float, end_W: Floats) -> Floats:
    """Return the best action values [N, W, A] where the layer after the last is worth `end_W`.

    With 0 there they are the optimal ones. With the values that a table starts from at layer k,
    and the k layers before it, they are what rollouts of k steps come to.
    """
    found = np.empty_like(reward_NWA)
    value_W = end_W
    for layer in range(len(reward_NWA) - 1, -1, -1):
        found[layer] = reward_NWA[layer] + discount * value_W[next_NWA[layer]]
        value_W = found[layer].max(-1)
    return found


def line_growth(layers: int, rollout: int, discount: float) -> float:
    """Return how fast values grow that are straight lines in the layer, per step and unit of lr.

    The largest real part of an eigenvalue of sum_(l < k) f_l (discount f_(l+1) - f_l)', f_l =
    (1, l / N) and f_N = 0, the mean drift of temporal differences when all actions are alike.
    Never above 0 for k = N with discount < 1, the updates being those of whole episodes
    (Tsitsiklis & Van Roy 1997). Above 0 values grow without bound, though rewards be 0.
    """
    drift_22 = np.zeros((2, 2))
    for layer in range(rollout):
        here_2, there_2 = np.array([1, layer / layers]), np.array([1, (layer + 1) / layers])
        kept = discount if layer + 1 < layers else 0.0
        drift_22 += np.outer(here_2, kept * there_2 - here_2)
    return float(np.linalg.eigvals(drift_22).real.max())
