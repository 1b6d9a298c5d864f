"""A model fitted to its own samples, against the closed forms of its moments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from packs import assert_same_bits_alone, grid, train

from phasecube.engine.experiments.self_consuming import SelfConsuming, SelfConsumingParams
from phasecube.engine.tasks.self_consuming import (
    curated_moments,
    expected_moments,
    log_variance_walk,
    resting_variance,
    tilted_path,
)

SEEDS = 2000
SURE = 4.9  # standard errors: a right draw fails once in a million


def runs(steps: int, **fixed: object) -> dict[str, np.ndarray]:
    return train(SelfConsuming(), grid(seed=range(SEEDS)), steps, lanes=SEEDS, **fixed)[1]


def assert_mean(found_S: np.ndarray, expected: float) -> None:
    assert abs(found_S.mean() - expected) < SURE * found_S.std() / math.sqrt(len(found_S))


@pytest.mark.parametrize("estimator", ["maximum_likelihood", "unbiased"])
@pytest.mark.parametrize("real_share", [0.0, 0.2])
def test_mean_variance_and_squared_mean_follow_their_recursion(
    estimator: str, real_share: float
) -> None:
    found = runs(20, samples=12, real_share=real_share, estimator=estimator)
    variance, square = expected_moments(20, 12, real_share, unbiased=estimator == "unbiased")
    for generation in (1, 5, 20):
        assert_mean(found["variance"][:, generation], variance[generation])
        assert_mean(found["mean"][:, generation] ** 2, square[generation])


def test_without_real_data_the_mean_variance_shrinks_by_one_part_in_m() -> None:
    variance, square = expected_moments(30, 10, 0.0)
    np.testing.assert_allclose(variance, 0.9 ** np.arange(31), rtol=1e-13)
    np.testing.assert_allclose(square, 1 - 0.9 ** np.arange(31), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("estimator", ["maximum_likelihood", "unbiased"])
def test_the_log_variance_is_a_random_walk_with_the_drift_of_chi_square(estimator: str) -> None:
    found = runs(40, samples=8, estimator=estimator)
    drift, spread = log_variance_walk(8, unbiased=estimator == "unbiased")
    moves_SG = np.diff(found["log_variance"], axis=1)
    assert drift < 0
    # All moves are independent: 80000 of them.
    assert_mean(moves_SG.ravel(), drift)
    assert_mean((moves_SG.ravel() - drift) ** 2, spread)


def test_the_resting_variance_is_the_recursions_limit() -> None:
    for samples, real_share in ((10, 0.01), (10, 0.3), (100, 0.005)):
        variance, _ = expected_moments(20_000, samples, real_share)
        assert variance[-1] == pytest.approx(resting_variance(samples, real_share), rel=1e-9)
    assert resting_variance(1000, 1 / 2000) == pytest.approx(0.5, rel=2e-3)


def test_a_law_far_narrower_than_its_mean_still_narrows_at_its_rate() -> None:
    """A width of 1e-80 beside a mean of order 1, where sums of both are rounded."""
    _, found = train(SelfConsuming(), grid(seed=range(100)), 400, 400, lanes=100, samples=3)
    assert np.isfinite(found["log_variance"]).all()
    assert_mean(found["log_variance"][:, -1] / 400, log_variance_walk(3)[0])
    assert found["log_variance"][:, -1].mean() < 2 * math.log(1e-80)


def test_infinitely_curated_infinitely_many_samples_take_the_tilted_path_exactly() -> None:
    fixed = {"samples": 0, "choices": 0, "preference": 0.7, "centre": 2.0}
    _, found = train(SelfConsuming(), [{}], 50, **fixed)
    mean, variance = tilted_path(50, 0.7, 2.0)
    # Each generation rounds some ten times.
    np.testing.assert_allclose(found["mean"][0], mean, rtol=1e-13)
    np.testing.assert_allclose(found["variance"][0], variance, rtol=1e-13)


def test_curation_raises_the_expected_reward_at_every_generation() -> None:
    fixed = {"samples": 0, "choices": 0, "centre": 2.0}
    _, found = train(SelfConsuming(), grid(preference=[0.1, 1.0, 10.0]), 50, **fixed)
    assert (np.diff(found["reward"]) > 0).all()


def test_real_data_hold_curation_at_a_point_of_rest() -> None:
    """Moments by hand: share, tilt and what lies between the two means."""
    fixed = {"samples": 0, "choices": 0, "preference": 0.5, "centre": 1.5, "real_share": 0.3}
    _, found = train(SelfConsuming(), [{}], 60, **fixed)
    mean, variance = 0.0, 1.0
    for generation in range(61):
        assert found["mean"][0, generation] == pytest.approx(mean, rel=1e-12)
        assert found["variance"][0, generation] == pytest.approx(variance, rel=1e-12)
        precision = 1 / variance + 0.5
        kept_mean, kept_variance = (mean / variance + 0.5 * 1.5) / precision, 1 / precision
        mean = 0.7 * kept_mean
        variance = 0.3 + 0.7 * kept_variance + 0.21 * kept_mean**2
    # What is left of the way shrinks by 0.7 a generation, or faster: 0.7^50 = 2e-8.
    assert np.ptp(found["mean"][0, -10:]) < 2e-8 and 0.1 < found["mean"][0, -1] < 1.5


def test_of_two_samples_the_choice_is_that_of_bradley_and_terry() -> None:
    """Against the integral over both samples by the trapezoidal rule, whose error is rounding."""
    x = np.linspace(-12, 12, 1001)
    w = np.exp(-(x**2) / 2)
    w = w / w.sum()
    mean, variance, beta, centre = 0.3, 1.7, 0.9, 1.0
    at = mean + math.sqrt(variance) * x
    reward = -beta * (at - centre) ** 2 / 2
    kept = 2 * (w[:, None] * w / (1 + np.exp(reward - reward[:, None]))).sum(1)
    first, second = kept @ at, kept @ at**2
    found = curated_moments(mean, variance, 2, beta, centre)
    # 160 nodes of Gauss and Hermite's rule leave some 1e-9 of a logistic function.
    np.testing.assert_allclose(found, (first, second - first**2), rtol=1e-8)


def test_the_choice_goes_from_none_to_the_tilted_law_as_samples_are_added() -> None:
    np.testing.assert_allclose(curated_moments(0.3, 1.7, 1, 0.9, 1.0), (0.3, 1.7), rtol=1e-9)
    mean, _ = tilted_path(1, 0.9, 1.0)
    gap = [curated_moments(0, 1, k, 0.9, 1.0)[0] - mean[1] for k in (50, 100, 200)]
    # The error is of order 1 / K.
    assert abs(gap[2]) < 2e-3
    assert gap[0] / gap[1] == pytest.approx(2, rel=0.1)
    assert gap[1] / gap[2] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("choices", [0, 2, 5])
def test_what_a_curator_keeps_has_the_moments_of_the_integral(choices: int) -> None:
    fixed = {"samples": 50, "choices": choices, "preference": 0.9, "centre": 1.0}
    found = runs(1, **fixed)
    if choices:
        mean, variance = curated_moments(0, 1, choices, 0.9, 1.0)
    else:
        mean, variance = (float(v[1]) for v in tilted_path(1, 0.9, 1.0))
    assert_mean(found["mean"][:, 1], mean)
    assert_mean(found["variance"][:, 1], 49 / 50 * variance)


def test_a_smaller_step_keeps_a_part_of_the_generation_before() -> None:
    half = runs(1, samples=6, lr=0.5)
    whole = runs(1, samples=6)
    for name in ("mean", "log_variance"):
        np.testing.assert_allclose(half[name][:, 1], whole[name][:, 1] / 2, rtol=1e-12)


def test_what_has_no_fit_is_a_fault_and_what_does_nothing_a_warning() -> None:
    assert [n for n, _ in SelfConsumingParams(samples=1).faults()] == ["samples"]
    assert [n for n, _ in SelfConsumingParams(samples=0, choices=3).faults()] == ["choices"]
    assert SelfConsumingParams().faults() == SelfConsumingParams().warnings() == []
    assert [n for n, _ in SelfConsumingParams(choices=2).warnings()] == ["choices"]
    unbiased = SelfConsumingParams(samples=0, estimator="unbiased")
    assert [n for n, _ in unbiased.warnings()] == ["estimator"]


@pytest.mark.parametrize("fixed", [{}, {"choices": 3, "preference": 0.5}, {"choices": 0}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trial_has_the_same_bits_alone_and_in_a_pack(fixed: dict[str, float], dtype: str) -> None:
    trials = grid(real_share=[0.0, 0.1, 0.5], seed=[0, 7])
    assert_same_bits_alone(SelfConsuming(), trials, (0, 3, 5), 12, samples=9, dtype=dtype, **fixed)
