"""Where falling shares pass 1/2: three ways, for many rows of counts at once.

Rows are resamples (B), columns the values of an axis (A) in rising order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_STEPS = 100
_LONGEST = 2.0  # a step of the two coefficients, of an axis of unit spread
_DONE = 1e-8


def bracket_crossing(place_A: Floats, yes_BA: Floats, all_BA: Floats) -> Floats:
    """Return where a line from the last share of at least 1/2 to the next passes 1/2, [B].

    Infinite where the last share is above, or none is.
    """
    share_BA = yes_BA / all_BA
    return _last_crossing(place_A, share_BA)


def isotonic_crossing(place_A: Floats, yes_BA: Floats, all_BA: Floats) -> Floats:
    """Return where the falling shares of greatest likelihood pass 1/2, [B].

    Of a level of exactly 1/2 it is the middle. Infinite as for `bracket_crossing`.
    """
    share_BA = np.round(isotonic_fit(yes_BA, all_BA), 7)  # so that a half is a half
    last_B = _last_crossing(place_A, share_BA)
    first_B = -_last_crossing(-place_A[::-1], 1 - share_BA[:, ::-1])
    with np.errstate(invalid="ignore"):
        middle_B = 0.5 * (last_B + first_B)
    # A level of 1/2 that runs to an end of the axis: the two sides name different ends.
    return np.where(np.isfinite(middle_B), middle_B, np.where(np.isinf(last_B), last_B, first_B))


def isotonic_fit(yes_BA: Floats, all_BA: Floats) -> Floats:
    """Return the shares that never rise and have the greatest likelihood, [B, A].

    By the formula of Barlow et al. 1972: the least, over starts a <= i, of the greatest mean of
    values a to b over ends b >= i, with signs turned.
    """
    n = yes_BA.shape[1]
    yes_BT = np.concatenate([np.zeros((len(yes_BA), 1)), np.cumsum(yes_BA, 1)], 1)
    all_BT = np.concatenate([np.zeros((len(yes_BA), 1)), np.cumsum(all_BA, 1)], 1)
    found_BA = np.empty(yes_BA.shape)
    best_Bb = np.full(yes_BA.shape, np.inf)  # over starts so far, for each end
    for a in range(n):
        mean_Bb = (yes_BT[:, a + 1 :] - yes_BT[:, a : a + 1]) / (
            all_BT[:, a + 1 :] - all_BT[:, a : a + 1]
        )
        # For each place from a on: the greatest mean over ends at or after it.
        most_Bi = np.maximum.accumulate(mean_Bb[:, ::-1], axis=1)[:, ::-1]
        best_Bb[:, a:] = np.minimum(best_Bb[:, a:], most_Bi)
        found_BA[:, a] = best_Bb[:, a]
    return found_BA


def logistic_crossing(place_A: Floats, yes_BA: Floats, all_BA: Floats) -> Floats:
    """Return -a / b of logit share = a + b place by Firth's penalised likelihood, [B].

    NaN where the share does not fall. Fisher scoring of the score with Jeffreys' prior (Firth
    1993, Biometrika 80, 27-38).
    """
    middle, spread = float(place_A.mean()), float(place_A.std())
    z_A = (place_A - middle) / spread
    a_B, b_B = np.zeros(len(yes_BA)), np.full(len(yes_BA), -1.0)
    for _ in range(_STEPS):
        share_BA = 1 / (1 + np.exp(-np.clip(a_B[:, None] + b_B[:, None] * z_A, -30, 30)))
        weight_BA = all_BA * share_BA * (1 - share_BA)
        aa_B, ab_B, bb_B = (np.maximum((weight_BA * z_A**p).sum(1), 1e-12) if p != 1 else
                            (weight_BA * z_A).sum(1) for p in (0, 1, 2))  # fmt: skip
        determinant_B = np.maximum(aa_B * bb_B - ab_B**2, 1e-12)
        # How much each value weighs in its own fit.
        leverage_BA = weight_BA * (
            (bb_B[:, None] - 2 * ab_B[:, None] * z_A + aa_B[:, None] * z_A**2)
            / determinant_B[:, None]
        )
        residual_BA = yes_BA - all_BA * share_BA + leverage_BA * (0.5 - share_BA)
        up_B, along_B = residual_BA.sum(1), (residual_BA * z_A).sum(1)
        step_a_B = (bb_B * up_B - ab_B * along_B) / determinant_B
        step_b_B = (aa_B * along_B - ab_B * up_B) / determinant_B
        longest_B = np.maximum(np.abs(step_a_B), np.abs(step_b_B))
        shorter_B = np.minimum(1.0, _LONGEST / np.maximum(longest_B, _LONGEST))
        a_B, b_B = a_B + shorter_B * step_a_B, b_B + shorter_B * step_b_B
        if longest_B.max() < _DONE:
            break
    falls_B = b_B < -_DONE
    return np.where(falls_B, middle - spread * a_B / np.where(falls_B, b_B, -1.0), np.nan)


def _last_crossing(place_A: Floats, share_BA: Floats) -> Floats:
    n = len(place_A)
    good_B = np.where(share_BA >= 0.5, np.arange(n), -1).max(1)
    inside_B = (good_B >= 0) & (good_B < n - 1)
    at_B = np.where(inside_B, good_B, 0)
    row_B = np.arange(len(share_BA))
    first_B, second_B = share_BA[row_B, at_B], share_BA[row_B, at_B + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        part_B = (first_B - 0.5) / (first_B - second_B)
    step_B = (place_A[at_B + 1] - place_A[at_B]) * np.where(inside_B, part_B, 0.0)
    crossing: Floats = np.where(
        inside_B, place_A[at_B] + step_B, np.where(good_B < 0, -np.inf, np.inf)
    )
    return crossing
