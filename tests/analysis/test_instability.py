"""The forecast of an instability, and the curve of massive activations, on made-up answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.lr import instability_plot
from phasecube.analysis.lr.instability import Crossing, forecast
from phasecube.analysis.lr.massive_curve import Peak, fit_massive_curve, massive_curve, peak_time
from phasecube.analysis.plots import Plot
from phasecube.analysis.print_style import as_svg
from phasecube.engine.errors import StudyError

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


def drawn(**options: Any) -> tuple[Plot, ...]:
    """Return the plots of a study whose logit is lr * width^2, or 1 / width with the norm."""
    lr = np.array([0.1, 1.0])[:, None, None, None, None]
    width = WIDTHS[:, None, None, None]
    norm = np.array([False, True])[:, None, None]
    seed = 1 + 0.01 * np.arange(3)[:, None]
    late = np.array([0.5, 1.0])
    logit = np.where(norm, 1 / width, lr * width**2) * seed * late
    ds = study_dataset(
        {"lr": [0.1, 1.0], "width": WIDTHS, "qk_norm": [False, True], "seed": [0, 1, 2]},
        [0, 10],
        {"max_attention_logit": logit},
    ).assign_attrs(fixed=json.dumps({"depth": 2}))
    wanted = request("instability_forecast", {"x": "width", **options})
    return instability_plot.draw(ds, wanted.options)


def test_the_plot_tells_the_crossing_at_each_learning_rate() -> None:
    plots = drawn(critical=1e4)
    assert len(plots) == 2  # without and with the norm
    table = plots[0].table
    assert list(table.lr) == [0.1, 1.0] and (table.state == "FORECAST").all()
    exact = np.sqrt(1e4 / (table.lr * 1.01))
    np.testing.assert_allclose(table.scale, exact, rtol=1e-3)
    assert (table.low <= exact).all() and (exact <= table.high).all()
    assert "at lr = 0.1: 315, 95 %" in plots[0].caption
    assert (plots[1].table.state == "NEVER").all() and "never: no growth" in plots[1].caption
    assert all("<svg" in as_svg(plot.figure(), "a") for plot in plots)


def test_the_scale_can_be_an_expression_of_axes_and_fixed_parameters() -> None:
    (plot,) = drawn(scale="depth * width ** 2", select={"qk_norm": False})
    np.testing.assert_allclose(plot.table.scale, 2 * 1e4 / (plot.table.lr * 1.01), rtol=1e-3)
    np.testing.assert_allclose(plot.table.exponent, 1, rtol=1e-3)


def test_an_axis_without_a_scale_is_told() -> None:
    with pytest.raises(StudyError, match="above 0"):
        drawn(x="width", scale="width - 8")


PLANTED = (800.0, 0.05, 1.5, 1.0, 50.0)
# The steps at which Pythia's models were kept, in thousands.
CHECKPOINTS = np.array([0, *2.0 ** np.arange(10), *np.arange(1000, 144_000, 1000)]) / 1000


def test_lamberts_function_gives_the_time_at_which_the_curve_is_largest() -> None:
    t = np.linspace(5, 6, 100_001)
    largest = t[massive_curve(t, *PLANTED).argmax()]
    assert peak_time(*PLANTED[1:4]) == pytest.approx(largest, abs=1e-5)
    assert peak_time(*PLANTED[1:4]) == pytest.approx(5.380, abs=5e-4)  # published: 5.380


def test_a_curve_without_noise_is_recovered() -> None:
    found = fit_massive_curve(CHECKPOINTS, massive_curve(CHECKPOINTS, *PLANTED))
    parameters = (found.amplitude, found.lam, found.gamma, found.t0, found.level)
    assert parameters == pytest.approx(PLANTED, rel=1e-6) and found.r2 == pytest.approx(1)
    np.testing.assert_allclose(
        found.at(CHECKPOINTS), massive_curve(CHECKPOINTS, *PLANTED), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("noise", "spread"), [(5.0, (0.012, 0.026, 0.022, 0.003, 0.012, 0.003)),
                          (20.0, (0.034, 0.074, 0.067, 0.010, 0.045, 0.013))]
)  # fmt: skip
def test_fits_of_noisy_curves_scatter_as_known_and_say_how_much(
    noise: float, spread: tuple[float, ...]
) -> None:
    """`spread`: relative standard deviations found by others on this curve at these times."""
    rng, n = np.random.default_rng(0), 12
    clean = massive_curve(CHECKPOINTS, *PLANTED)
    fits = [fit_massive_curve(CHECKPOINTS, clean + noise * rng.standard_normal(clean.size))
            for _ in range(n)]  # fmt: skip
    assert all(fit.peak == Peak.FOUND for fit in fits)
    found = np.array([(f.amplitude, f.lam, f.gamma, f.t0, f.level, f.t_peak) for f in fits])
    exact = np.array([*PLANTED, peak_time(*PLANTED[1:4])])
    # A standard deviation of 12 is off by 20 %.
    assert (found.std(0, ddof=1) / exact < 2 * np.array(spread)).all()
    assert (found.std(0, ddof=1) / exact > np.array(spread) / 2.5).all()
    said = np.array([(*f.errors, f.peak_error) for f in fits])
    # The root mean square of 12 standard normals scatters by .2.
    rms = (((found - exact) / said) ** 2).mean(0) ** 0.5
    assert (np.abs(rms - 1) < 0.6).all()


def test_without_a_peak_in_sight_its_time_is_a_bound() -> None:
    rng = np.random.default_rng(1)
    early = CHECKPOINTS[CHECKPOINTS < 3]
    clean = massive_curve(early, *PLANTED)
    found = fit_massive_curve(early, clean + 5 * rng.standard_normal(clean.size))
    assert found.peak == Peak.AFTER and found.t_peak <= early.max() and np.isnan(found.peak_error)


def test_a_curve_that_only_falls_has_no_peak() -> None:
    rng = np.random.default_rng(2)
    found = fit_massive_curve(CHECKPOINTS, 100 - CHECKPOINTS + rng.standard_normal(154))
    assert found.peak == Peak.NONE and np.isnan(found.t_peak)


def test_too_few_times_are_refused() -> None:
    with pytest.raises(ValueError, match="6 times"):
        fit_massive_curve([1, 2, 3, 4, 5, 5], [1, 2, 3, 4, 5, 6])
