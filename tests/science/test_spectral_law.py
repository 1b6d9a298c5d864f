"""Gradient descent on a power-law spectrum against its exact law L(N, t) (card A11)."""

from __future__ import annotations

import numpy as np
import pytest
from packs import assert_same_bits_alone, grid, train

from phasecube.analysis.scaling.envelope import by_envelope
from phasecube.engine.experiments.spectral_law import SpectralLaw, SpectralLawParams
from phasecube.engine.tasks.spectral_law import (
    excess_loss,
    exponents,
    size_limit,
    time_limit,
    untrained_loss,
)

A, B, LR = 1.6, 1.2, 0.5


def test_the_untrained_loss_is_the_sum_of_what_no_mode_takes() -> None:
    direct = (np.arange(4.0, 2e5) ** -3.0).sum()
    # What is left beyond 2e5 is 1 / (2 (2e5)^2) = 1.25e-11.
    assert untrained_loss(3, 3.0) == pytest.approx(direct, abs=2e-11)


def test_a_trained_model_is_on_the_exact_law_at_every_step() -> None:
    cases = grid(modes=[1, 7, 64], lr=[0.3, 0.5], task_exponent=[1.6, 2.5])
    steps, found = train(SpectralLaw(), cases, 400, 20, coordinates=64, spectrum_exponent=B)
    for case, curve_R in zip(cases, found["excess_loss"], strict=True):
        exact_R = excess_loss(case["modes"], steps, case["lr"], case["task_exponent"], B)
        # A step rounds three times by at most 1.1e-16, its square twice that: 2.7e-13.
        np.testing.assert_allclose(curve_R, exact_R, rtol=1e-12)


def test_the_training_loss_is_the_excess_above_the_floor() -> None:
    _, found = train(SpectralLaw(), [{"modes": 5}], 10, coordinates=8, floor=2.0)
    np.testing.assert_allclose(found["train_loss"], 2 + found["excess_loss"], rtol=1e-15)


def test_models_of_all_sizes_in_one_pack_have_the_bits_they_have_alone() -> None:
    trials = grid(modes=[2, 9, 32])
    assert_same_bits_alone(SpectralLaw(), trials, range(len(trials)), 40, coordinates=32)


def test_a_model_larger_than_its_coordinates_is_refused() -> None:
    assert SpectralLawParams(modes=65, coordinates=64).faults() == [
        ("modes", "65 modes do not fit into 64 coordinates")
    ]


def test_the_limits_in_size_and_in_time_are_approached_as_sums_approach_integrals() -> None:
    n = 10_000
    # Euler and Maclaurin: the sum is less by half of its first term, relatively (a - 1) / (2 N).
    assert untrained_loss(n, A) / size_limit(n, A) == pytest.approx(1 - (A - 1) / (2 * n), rel=1e-7)
    steps = np.array([1e4])
    exact = excess_loss(1_000_000, steps, LR, A, B)
    # First neglected order s (s + 1) / (4 t) with s = 1/2, and a third of that again for the modes
    # beyond 10^6, which are not trained.
    order = 0.75 / (4 * steps[0])
    assert exact == pytest.approx(time_limit(steps, LR, A, B), rel=2 * order)


@pytest.mark.slow
def test_the_envelope_of_trained_curves_gives_the_compute_optimal_exponent() -> None:
    """Approach 1 within .005 of 1 / (1 + b) = .4545, as card A11 asks."""
    sizes = np.unique(np.geomspace(8, 1000, 41).round().astype(int)).tolist()
    steps, found = train(
        SpectralLaw(), grid(modes=sizes), 5000, 5, lanes=len(sizes), coordinates=1000, lr=LR
    )
    after = slice(1, None)  # step 0 has cost nothing
    curves = [
        (float(n), 6.0 * n * steps[after], y_R[after])
        for n, y_R in zip(sizes, found["excess_loss"], strict=True)
    ]
    found_optimum = by_envelope(curves, 200)
    assert found_optimum.exponent == pytest.approx(exponents(A, B).optimal_size, abs=0.005)
