"""Where fine-tuning on demonstrations ends: fixed points in closed form, and times of the flow.

One softmax policy pi over actions, demonstrations w (the share of each action), a reference
rho. The gradient by the logits is

    SFT   w - pi                          -log pi of a demonstration
    DFT   w pi - (w . pi) pi              the same, weighted by the probability it has now
    anchor lambda (rho - pi)              lambda KL(rho || pi), added to either

Reference: Zhu et al. 2025, arXiv:2509.23753 (ASFT is DFT with the anchor).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def sft_fixed_point(demonstrated_A: Floats, reference_A: Floats, anchor: float) -> Floats:
    """Return (w + lambda rho) / (1 + lambda): the mean of demonstrations and reference."""
    found: Floats = (demonstrated_A + anchor * reference_A) / (1 + anchor)
    return found


def asft_fixed_point(demonstrated_A: Floats, reference_A: Floats, anchor: float) -> Floats:
    """Return pi_a = lambda rho_a / (lambda + C - w_a), C = w . pi from the sum being 1.

    The only point of rest without a zero: the sum falls in C > max w - lambda. Without an
    anchor it is the commonest demonstration alone, the mode that DFT collapses to; raises
    ValueError where two are the commonest, for then the start decides.
    """
    top = demonstrated_A.max()
    best_A = demonstrated_A == top
    if anchor == 0:
        if best_A.sum() > 1:
            raise ValueError("two demonstrations are the commonest: DFT's end is its start's")
        return np.where(best_A, 1.0, 0.0)
    # s = lambda + C - top > 0 is found, not C: near 0 a difference would lose its digits.
    behind_A = top - demonstrated_A
    low, high = anchor * reference_A[best_A].sum(), anchor
    for _ in range(200):  # bisection to the last bit: at `low` the best alone sum to 1
        middle = (low + high) / 2
        over = (anchor * reference_A / (middle + behind_A)).sum() > 1
        low, high = (middle, high) if over else (low, middle)
    found: Floats = anchor * reference_A / ((low + high) / 2 + behind_A)
    return found


def asft_probability(anchor: float, reference: float) -> float:
    """Return the fixed point of one demonstrated action whose reference probability is rho.

    ((1 - lambda) + sqrt((1 - lambda)^2 + 4 lambda rho)) / 2.
    """
    free = 1 - anchor
    return (free + math.sqrt(free**2 + 4 * anchor * reference)) / 2


def sft_kl_probability(anchor: float, reference: float) -> float:
    """Return the same of SFT with the anchor, (1 + lambda rho) / (1 + lambda)."""
    return (1 + anchor * reference) / (1 + anchor)


def sft_time(start: float, end: float, actions: int) -> float:
    """Return the time, lr times steps of the flow, in which SFT takes one action's probability
    from `start` to `end`, the other actions being alike.

    p' = p (1 - p)^2 K / (K - 1), so (K - 1) / K times log(p / (1 - p)) + 1 / (1 - p).
    """

    def passed(p: float) -> float:
        return math.log(p / (1 - p)) + 1 / (1 - p)

    return (actions - 1) / actions * (passed(end) - passed(start))


def dft_time(start: float, end: float, actions: int) -> float:
    """Return the same for DFT, whose speed is p times SFT's: slow where p is small.

    (K - 1) / K times 2 log(p / (1 - p)) - 1 / p + 1 / (1 - p).
    """

    def passed(p: float) -> float:
        return 2 * math.log(p / (1 - p)) - 1 / p + 1 / (1 - p)

    return (actions - 1) / actions * (passed(end) - passed(start))
