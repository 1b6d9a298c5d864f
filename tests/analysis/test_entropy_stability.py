"""Collections whose ratios went too far, on studies whose ratios are known."""

from __future__ import annotations

import numpy as np
from synthetic_study import study_dataset

from phasecube.analysis.entropy.stability import far_share, thrown_about


def test_a_weight_of_deviation_one_halves_the_effective_samples() -> None:
    """Kong's 1 / (1 + s^2) against (sum w)^2 / (n sum w^2) of weights of mean 1: 1 - s or 1 + s."""
    for s in (0.3, 0.5, 0.99):
        w = np.array([1 - s, 1 + s])
        assert np.isclose(w.sum() ** 2 / (2 * (w**2).sum()), 1 / (1 + s**2))


def test_trials_are_flagged_above_a_tenth_of_their_records() -> None:
    steps = range(20)
    values = np.zeros((3, 20))
    values[0, :2], values[1, :3] = 5.0, 1.1  # a tenth, more than a tenth
    values[2] = 1.0  # on the bound
    ds = study_dataset({"seed": [0, 1, 2]}, steps, {"ratio_std": values})
    np.testing.assert_allclose(far_share(ds), [0.1, 0.15, 0.0])
    assert thrown_about(ds).values.tolist() == [False, True, False]


def test_only_records_that_there_are_count() -> None:
    values = np.concatenate([np.full(5, 2.0), np.zeros(15)])
    ds = study_dataset(
        {"seed": [0, 1]}, range(20), {"ratio_std": values}, n_recorded=np.array([5, 0])
    )
    assert far_share(ds).values[0] == 1.0 and np.isnan(far_share(ds).values[1])
    assert thrown_about(ds).values.tolist() == [True, False]
