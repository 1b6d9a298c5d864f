"""The forecast of an instability, and the curve of massive activations, on made-up answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from phasecube.analysis.instability import Crossing, forecast

WIDTHS = np.array([8.0, 16.0, 32.0])


def grown(factor: float, exponent: float, noise_SN: np.ndarray) -> np.ndarray:
    return factor * WIDTHS[:, None] ** exponent * np.exp(noise_SN)


def test_an_exact_power_is_continued_to_the_critical_value_without_doubt() -> None:
    found = forecast(grown(2.0, 1.5, np.zeros((3, 2))), WIDTHS, critical=1e4)
    exact = (1e4 / 2) ** (1 / 1.5)
    assert found.state == Crossing.FORECAST and found.n == 6
    assert [found.scale, found.low, found.high] == pytest.approx([exact] * 3, rel=1e-6)
    assert found.exponent == pytest.approx(1.5) and found.factor == pytest.approx(2.0)


def test_a_value_that_was_passed_within_the_scales_is_reached() -> None:
    found = forecast(grown(2.0, 1.5, np.zeros((3, 2))), WIDTHS, critical=100.0)
    assert found.state == Crossing.REACHED and found.scale == pytest.approx(50 ** (1 / 1.5))


def test_what_does_not_grow_never_gets_there() -> None:
    noise_SN = 0.01 * np.random.default_rng(0).standard_normal((3, 4))
    found = forecast(grown(5.0, -0.5, noise_SN), WIDTHS)
    assert found.state == Crossing.NEVER and np.isnan(found.scale)
    assert found.low == found.high == np.inf  # not even at the fastest likely rate
    assert found.exponent_high < 0


def test_uncertain_growth_has_no_upper_bound_and_a_lower_one() -> None:
    noise_SN = np.array([[0.3, -0.3], [-0.2, 0.2], [0.4, -0.1]])
    found = forecast(grown(5.0, 0.1, noise_SN), WIDTHS)
    assert found.exponent_low < 0 < found.exponent
    assert found.high == np.inf and 32 < found.low < found.scale


def test_two_values_or_one_scale_tell_nothing() -> None:
    lost = np.full((3, 2), np.nan)
    lost[0] = 1.0
    assert forecast(lost, WIDTHS).state == Crossing.UNKNOWN
    lost[1, 0] = 2.0
    assert forecast(lost, WIDTHS).state == Crossing.FORECAST


def test_values_that_bend_away_from_a_power_widen_the_interval() -> None:
    straight = grown(2.0, 1.0, np.zeros((3, 3)))
    bent = straight * np.array([1.0, 1.3, 1.0])[:, None]
    one, other = forecast(straight, WIDTHS), forecast(bent, WIDTHS)
    assert one.high / one.low < 1 + 1e-6 and other.high / other.low > 2


@pytest.mark.parametrize("members", [2, 3, 6])
@pytest.mark.parametrize("own", [0.0, 0.3])
def test_the_interval_holds_the_truth_at_least_as_often_as_it_says(
    members: int, own: float
) -> None:
    """`own`: each seed lies high or low at all scales alike, as seeds of one language do."""
    rng = np.random.default_rng(0)
    n, exact = 400, (1e4 / 10) ** (1 / 1.5)
    hits = 0
    for _ in range(n):
        noise_SN = 0.1 * rng.standard_normal((3, members)) + own * rng.standard_normal(members)
        found = forecast(grown(10.0, 1.5, noise_SN), WIDTHS)
        hits += found.low <= exact <= found.high
    assert hits >= binom.ppf(1e-4, n, 0.95)


def test_wrong_shapes_and_scales_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values \(S, N\)"):
        forecast(np.ones((2, 3)), WIDTHS)
    with pytest.raises(ValueError, match="above 0"):
        forecast(np.ones((3, 3)), [0.0, 1.0, 2.0])
