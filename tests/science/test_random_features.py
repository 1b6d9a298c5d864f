"""Students on random features against the closed form of their test error."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from packs import assert_same_bits_alone, grid, train
from scipy import stats

from phasecube.engine.experiments.random_features import RandomFeatures, RandomFeaturesParams
from phasecube.engine.streams import Stream
from phasecube.engine.tasks.random_features import effective_ridge, predicted_error
from phasecube.engine.tasks.spectral_law import power_spectrum

A, B, M = 2.0, 1.5, 512
SPECTRUM, SIGNAL = power_spectrum(M, B), power_spectrum(M, A)


def predicted(features: float, rows: float, ridge: float = 0.0, noise: float = 0.0) -> float:
    at = features, rows, np.float64(ridge), np.float64(noise)
    return float(predicted_error(SPECTRUM, SIGNAL, *at))


@pytest.mark.parametrize(("features", "rows"), [(16, math.inf), (math.inf, 24), (32, 20)])
@pytest.mark.parametrize("ridge", [0.0, 1e-4, 0.1])
def test_the_effective_ridge_solves_its_equation(
    features: float, rows: float, ridge: float
) -> None:
    gamma = effective_ridge(SPECTRUM, features, rows, np.float64(ridge))
    z = (SPECTRUM / (SPECTRUM + gamma)).sum()
    if ridge:
        assert (1 - z / features) * (1 - z / rows) * gamma == pytest.approx(ridge, rel=1e-9)
    else:
        assert z == pytest.approx(min(features, rows), rel=1e-12)


def test_endless_features_are_kernel_ridge_regression() -> None:
    """sum (kappa / (lambda + kappa))^2 signal / (1 - q / P), written down anew."""
    rows, ridge, noise = 40, 1e-3, 0.2
    kappa = effective_ridge(SPECTRUM, math.inf, rows, np.float64(ridge))
    share_M = kappa / (SPECTRUM + kappa)
    q = ((1 - share_M) ** 2).sum()
    kernel = ((share_M**2 * SIGNAL).sum() + noise**2) / (1 - q / rows)
    assert predicted(math.inf, rows, ridge, noise) == pytest.approx(kernel, rel=1e-12)


def test_the_error_falls_as_the_power_of_width_and_of_data_that_the_spectra_tell() -> None:
    """The local exponent is a - 1 up to N^-(b - a + 1), 1 / N and what is missing beyond M, N / M.

    At b = 4, a = 2, N = 300 and M = 2^17 these are 4e-8, .003 and .002.
    """
    many = power_spectrum(2**17, 4.0), power_spectrum(2**17, 2.0)
    zero = np.float64(0)
    for place in (0, 1):
        at = [[math.inf, math.inf], [math.inf, math.inf]]
        at[0][place], at[1][place] = 297.0, 303.0
        low, high = (predicted_error(*many, *sizes, zero, zero) for sizes in at)
        slope = math.log(high / low) / math.log(303 / 297)
        assert slope == pytest.approx(-1, abs=0.01)


@pytest.mark.parametrize(("rows", "ridge"), [(0, 0.0), (0, 1e-2), (12, 1e-2), (40, 1e-3)])
def test_training_ends_at_the_least_squares_solution(rows: int, ridge: float) -> None:
    own = {"features": 4, "rows": rows, "coordinates": 64}
    _, found = train(RandomFeatures(), grid(seed=[0, 1]), 400, 400, ridge=ridge, **own)
    for seed, error in zip([0, 1], found["test_error"][:, -1], strict=True):
        params = RandomFeaturesParams(ridge=ridge, **own)
        data = {k: v.numpy() for k, v in RandomFeatures().data(params, Stream(seed)).items()}
        gram = data["x"].T @ data["x"] + ridge * np.eye(4)
        best = np.linalg.solve(gram, data["x"].T @ data["y"])
        # The smallest eigenvalue is above .05: momentum .9 leaves e^(-400 .05 .3 / .1) = 1e-26.
        exact = ((data["each"] @ best - data["target"]) ** 2).sum()
        assert error == pytest.approx(exact, rel=1e-9)


def test_the_recorded_prediction_is_that_of_numpy() -> None:
    cases = grid(ridge=[0.0, 1e-2], noise_scale=[0.0, 0.3])
    for features, rows in product([8, 24], [0, 16]):
        own = {"features": features, "rows": rows, "coordinates": M}
        _, found = train(RandomFeatures(), cases, 1, **own)
        for case, told in zip(cases, found["predicted_error"][:, 0], strict=True):
            at = features, rows or math.inf, case["ridge"], case["noise_scale"]
            # Bisection ends where ridge and its equation round alike.
            assert told == pytest.approx(predicted(*at), rel=1e-9)


def seeds_off(features: int, rows: int, n_seeds: int) -> float:
    """Return how many standard errors the seeds' mean of a trained student lies off."""
    own = {"features": features, "rows": rows, "coordinates": M, "ridge": 1e-3}
    _, found = train(RandomFeatures(), grid(seed=range(n_seeds)), 1500, 1500, **own)
    error_N = found["test_error"][:, -1]
    told = predicted(features, rows or math.inf, 1e-3)
    return float((error_N.mean() - told) / (error_N.std(ddof=1) / n_seeds**0.5))


@pytest.mark.slow
@pytest.mark.parametrize(("features", "rows"), [(64, 0), (48, 96), (96, 48), (64, 64)])
def test_trained_students_have_the_error_that_the_spectra_tell(features: int, rows: int) -> None:
    """Four of them at once, within what Student's t leaves one time in a thousand."""
    off = seeds_off(features, rows, 32)
    assert abs(off) < stats.t.ppf(1 - 0.001 / 8, 31)


def test_a_student_wider_than_its_inputs_is_refused_and_a_short_tail_is_told() -> None:
    wide = RandomFeaturesParams(features=9, coordinates=8)
    assert [name for name, _ in wide.faults()] == ["features"]
    short = RandomFeaturesParams(features=64, coordinates=256)
    assert [name for name, _ in short.warnings()] == ["coordinates"]
    assert RandomFeaturesParams().warnings() == []


def test_on_endless_data_the_loss_is_half_the_test_error_and_the_ridge() -> None:
    own = {"features": 6, "coordinates": 40, "noise_scale": 0.3}
    _, found = train(RandomFeatures(), grid(seed=[0, 1]), 50, 10, **own)
    np.testing.assert_allclose(2 * found["train_loss"], found["test_error"], rtol=1e-12)


@pytest.mark.parametrize("rows", [0, 12])
def test_a_trial_has_the_same_bits_alone_and_in_company(rows: int) -> None:
    trials = grid(ridge=[0.0, 1e-2], noise_scale=[0.0, 0.5], seed=[0, 7])
    own = {"features": 7, "rows": rows, "coordinates": 33}
    assert_same_bits_alone(RandomFeatures(), trials, range(len(trials)), 20, 3, **own)
