"""The covariance law: actual against predicted changes of entropy, where both are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.entropy import covariance as entropy_covariance
from phasecube.analysis.entropy.covariance import covariance_law
from phasecube.analysis.plots import Plot
from phasecube.analysis.print_style import as_svg
from phasecube.engine.errors import StudyError


def changes(eta: float, n: int, steps: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (predicted, actual) changes of entropy of softmax policies moved by eta * normal."""
    z = 1.5 * np.random.default_rng(seed).standard_normal((2, n, steps, 8))
    dz = eta * z[1]

    def law_of(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return log_p, np.exp(log_p)

    (log_p, p), (log_q, q) = law_of(z[0]), law_of(z[0] + dz)
    centred = log_p - (p * log_p).sum(-1, keepdims=True)
    return -(p * centred * dz).sum(-1), (p * log_p).sum(-1) - (q * log_q).sum(-1)


def test_small_updates_of_softmax_policies_hold_the_law_to_first_order() -> None:
    """A tenth of the update leaves a tenth of the relative error: E0 of the covariance law."""
    off = []
    for eta in (1e-2, 1e-3, 1e-4):
        predicted, actual = changes(eta, 4, 50)
        law = covariance_law(predicted, actual)
        assert law.correlation > 0.999 and abs(law.slope - 1) < eta * 10
        off.append(np.abs(actual - predicted).mean() / np.abs(actual).mean())
    assert [off[0] / off[1], off[1] / off[2]] == pytest.approx([10, 10], abs=0.5)


def test_the_slope_goes_through_the_origin() -> None:
    x = np.array([[1.0, 2.0, 3.0]])
    law = covariance_law(x, x + 1)
    assert law.slope == pytest.approx((2 + 6 + 12) / 14) and law.correlation == pytest.approx(1)


def test_records_without_a_number_do_not_count() -> None:
    x = np.array([[1.0, 2.0, np.nan, 3.0], [1.0, 1.0, 1.0, 2.0]])
    y = np.array([[2.0, 4.0, 9.0, np.nan], [2.0, 2.0, 2.0, 4.0]])
    law = covariance_law(x, y)
    assert law.slope == pytest.approx(2) and law.n_points == 6 and law.n_trials == 2


def test_the_interval_resamples_trials_and_holds_the_slope_as_often_as_it_says() -> None:
    """Trials have slopes of their own: points within one say little about another."""
    rng, n, hits = np.random.default_rng(0), 200, 0
    for _ in range(n):
        x = rng.standard_normal((5, 40))
        own = 1 + 0.1 * rng.standard_normal((5, 1))
        law = covariance_law(x, own * x, resamples=400)
        hits += law.low <= 1 <= law.high
    assert binom.ppf(1e-4, n, 0.95) <= hits < n


@pytest.mark.parametrize(
    ("x", "y", "warning"),
    [
        (np.zeros((2, 5)), np.ones((2, 5)), "the prediction is always 0"),
        (np.full((2, 5), np.nan), np.ones((2, 5)), "too few points"),
        (np.ones((2, 5)), np.ones((2, 5)), "constant changes: no correlation"),
        (np.arange(5.0)[None], np.arange(5.0)[None], "one trial: no interval"),
    ],
)
def test_what_tells_too_little_is_warned_of(x: np.ndarray, y: np.ndarray, warning: str) -> None:
    law = covariance_law(x, y)
    assert law.warnings == (warning,)
    assert np.isnan([law.slope, law.correlation, law.low]).any()


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        covariance_law(np.zeros((2, 3)), np.zeros((2, 4)))


def cube() -> xr.Dataset:
    """Return small updates of two methods, the second with twice the change that was foretold."""
    predicted, actual = changes(1e-3, 3, 40)
    both = {
        "entropy_change_predicted": np.stack([predicted, predicted]),
        "entropy_change": np.stack([actual, 2 * actual]),
    }
    return study_dataset({"algorithm": ["a", "b"], "seed": [0, 1, 2]}, range(40), both)


def drawn(ds: xr.Dataset, **options: Any) -> Plot:
    (plot,) = entropy_covariance.draw(ds, request("entropy_covariance", options).options)
    return plot


def test_the_plot_tells_slope_and_correlation_of_each_line() -> None:
    plot = drawn(cube(), by="algorithm")
    np.testing.assert_allclose(plot.table.slope, [1, 2], rtol=5e-3)  # float32 and second order
    assert (plot.table.correlation > 0.999).all() and (plot.table.n_points == 120).all()
    picture = as_svg(plot.figure(), "x")
    assert "actual = predicted" in picture and f"slope {plot.table.slope[1]:.3f}" in picture


def test_a_study_that_did_not_record_the_changes_says_so() -> None:
    with pytest.raises(StudyError, match="no scalar measure 'entropy_change_predicted'"):
        drawn(cube().drop_vars("entropy_change_predicted"))


def test_updates_that_never_move_are_drawn_without_a_slope() -> None:
    ds = cube()
    ds["entropy_change"][:] = ds["entropy_change_predicted"][:] = 0.0
    plot = drawn(ds, select={"algorithm": "a"})
    assert "all trials: the prediction is always 0" in plot.caption
    assert "all trials: no slope" in as_svg(plot.figure(), "x")
