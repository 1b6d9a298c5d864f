"""Regression with as many rows as dimensions against Marchenko and Pastur (card A2)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from packs import assert_same_bits_alone, grid, train
from scipy import stats

from phasecube.engine.experiments.high_dimensional_regression import HighDimensionalRegression
from phasecube.engine.experiments.high_dimensional_regression import (
    HighDimensionalRegressionParams as Parameters,
)
from phasecube.engine.streams import Stream
from phasecube.engine.tasks.high_dimensional import (
    descent_rest,
    final_error,
    flow_rest,
    limit_error,
    run_error,
    spectrum,
)

SPREAD = {"teacher": 1.0, "start": 0.5, "noise": 0.5}  # variances 1, .25 and .25


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_the_spectrum_has_the_moments_of_marchenko_and_pastur(alpha: float) -> None:
    """Of all N eigenvalues: mass min(alpha, 1), mean alpha, mean square alpha + alpha^2."""
    x_K, weight_K = spectrum(alpha)
    moments = [float((weight_K * x_K**power).sum()) for power in (0, 1, 2)]
    # Sums of 1024 terms, each rounded to 2^-53.
    assert moments == pytest.approx([min(alpha, 1), alpha, alpha + alpha**2], rel=1e-12)


def test_the_error_after_infinite_time_is_that_of_the_card() -> None:
    """.5000 at alpha = 2, 1.1250 at alpha = .5."""
    for alpha, expected in ((2.0, 0.5), (0.5, 1.125)):
        assert final_error(alpha, **SPREAD) == pytest.approx(expected, abs=1e-12)
        by_integral = limit_error(flow_rest([1e6], alpha), alpha, **SPREAD)
        assert by_integral == pytest.approx(expected, abs=1e-6)
    assert final_error(1.0, **SPREAD) == math.inf


def test_at_as_many_rows_as_dimensions_the_error_has_a_minimum_in_time_and_grows_again() -> None:
    """The card: 1.8296 at t = 100; the least, about .709, near t = 3."""
    times = np.geomspace(0.1, 100, 301)
    error_T = limit_error(flow_rest(times, 1.0), 1.0, **SPREAD)
    assert error_T[-1] == pytest.approx(1.8296, abs=5e-5)
    assert error_T.min() == pytest.approx(0.709, abs=5e-4)
    assert times[error_T.argmin()] == pytest.approx(3, rel=0.1)


def test_gradient_descent_goes_to_gradient_flow_as_the_first_power_of_lr() -> None:
    times = np.array([1.0, 3.0, 10.0])
    flow_T = limit_error(flow_rest(times, 2.0), 2.0, **SPREAD)

    def off(lr: float) -> np.ndarray:
        return np.abs(limit_error(descent_rest(times / lr, lr, 2.0), 2.0, **SPREAD) - flow_T)

    np.testing.assert_allclose(off(0.001) / off(0.0005), 2, rtol=0.01)


@pytest.mark.parametrize(("rows", "lr"), [(8, 0.1), (20, 0.1), (50, 0.05)])
def test_a_run_is_on_its_own_closed_form(rows: int, lr: float) -> None:
    experiment, n, seeds = HighDimensionalRegression(), 20, [0, 1, 2]
    steps, found = train(experiment, grid(seed=seeds), 200, 20, dimension=n, rows=rows, lr=lr)
    params = Parameters(dimension=n, rows=rows)
    for seed, error_T in zip(seeds, found["test_error"], strict=True):
        data = {k: v.numpy() for k, v in experiment.data(params, Stream(seed)).items()}
        model = experiment.model(params).double()
        experiment.init(model, params, Stream(seed))
        start_N = model.weight.detach().numpy()
        exact_T = run_error(
            data["x"], data["teacher"], start_N, data["noise"], lr=lr, steps_T=steps
        )
        # 200 steps of a sum over at most 50 rows, rounded to 1.1e-16 each: 1e-12.
        np.testing.assert_allclose(error_T, 0.25 + exact_T, rtol=1e-11)


def test_the_recorded_limit_is_that_of_numpy() -> None:
    cases = grid(lr=[0.05, 0.3], noise_scale=[0.0, 0.7])
    for rows in (10, 40):
        steps, found = train(
            HighDimensionalRegression(), cases, 60, 7, dimension=20, rows=rows, start_scale=0.2
        )
        for case, limit_T in zip(cases, found["limit_error"], strict=True):
            rest_TK = descent_rest(steps, case["lr"], rows / 20)
            spread = {"teacher": 1.0, "start": 0.2, "noise": case["noise_scale"]}
            expected_T = limit_error(rest_TK, rows / 20, **spread)
            # exp(step log r) has step times the rounding of the logarithm.
            np.testing.assert_allclose(limit_T, expected_T, rtol=1e-12)


def seeds_off(
    dimension: int, n_seeds: int, alphas: list[float], until: float = 100.0
) -> np.ndarray:
    """Return how many standard errors the seeds' mean lies off the limit, [alpha, time]."""
    times = np.array([1.0, 3.0, 10.0, 30.0, 100.0])
    lr, times = 0.1, times[times <= until]
    found = []
    for alpha in alphas:
        steps, curves = train(
            HighDimensionalRegression(),
            grid(seed=range(n_seeds)),
            round(times[-1] / lr),
            round(1 / lr),
            dimension=dimension,
            rows=round(alpha * dimension),
            lr=lr,
        )
        at = np.searchsorted(steps, np.round(times / lr))
        error_NT, limit_T = curves["test_error"][:, at], curves["limit_error"][0, at]
        error = error_NT.std(0, ddof=1) / n_seeds**0.5
        found.append((error_NT.mean(0) - limit_T) / error)
    return np.array(found)


def test_the_mean_of_seeds_is_on_the_limit() -> None:
    """Within what Student's t leaves of six means at once one time in a thousand."""
    off = seeds_off(100, 32, [0.5, 2.0], until=10)
    assert np.abs(off).max() < stats.t.ppf(1 - 0.001 / (2 * off.size), 31)


@pytest.mark.slow
def test_the_mean_of_seeds_is_on_the_limit_also_where_rows_equal_dimensions() -> None:
    """The card's: 20 seeds of N = 400 within three standard errors at all five times."""
    assert np.abs(seeds_off(400, 20, [0.25, 0.5, 1.0, 2.0, 4.0])).max() < 3


def test_a_rate_above_two_over_the_largest_eigenvalue_diverges() -> None:
    """At P / N = 1 the largest eigenvalue goes to 4, from below."""
    _, found = train(
        HighDimensionalRegression(), grid(lr=[0.45, 0.6]), 300, 300, dimension=100, rows=100
    )
    stable, unstable = found["train_error"][:, -1] / found["train_error"][:, 0]
    assert stable < 1 and not unstable < 1e6


def test_a_trial_has_the_same_bits_alone_and_in_company() -> None:
    trials = grid(lr=[0.05, 0.3], noise_scale=[0.0, 0.5], seed=[0, 7])
    assert_same_bits_alone(
        HighDimensionalRegression(), trials, range(len(trials)), 30, 3, dimension=17, rows=21
    )
