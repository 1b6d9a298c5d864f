"""The threshold of opposing signals: where a useless outlier starts to oscillate (card B6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from packs import grid, train

from phasecube.engine.experiments.opposing_signals import OpposingSignals

STEPS = 1000
# lr over its threshold: sharpness times lr / 2 at the end. Reference: card B6.
KNOWN = {0.8: 0.7999995, 0.95: 0.9499994, 1.05: 0.956, 1.3: 0.864, 1.8: 0.792}
SHARE, POWER = 0.05, 100.0


def threshold(signal: float) -> float:
    return 2 / (signal * SHARE * POWER)


@pytest.fixture(scope="module")
def found() -> dict[str, np.ndarray]:
    rates = [ratio * threshold(1.0) for ratio in KNOWN]
    return train(OpposingSignals(), grid(lr=rates), STEPS, STEPS)[1]


def ends(found: dict[str, np.ndarray]) -> dict[float, float]:
    curvature_R = found["outlier_curvature"][:, -1]
    return {r: c * r * threshold(1.0) / 2 for r, c in zip(KNOWN, curvature_R, strict=True)}


def test_below_the_threshold_sharpness_ends_where_the_signal_puts_it(found) -> None:
    for ratio in (0.8, 0.95):
        assert ends(found)[ratio] == pytest.approx(ratio, abs=1e-4)
        assert ends(found)[ratio] == pytest.approx(KNOWN[ratio], abs=1e-6)


def test_above_it_a_spike_takes_the_sharpness_below_two_over_the_rate(found) -> None:
    for ratio in (1.05, 1.3, 1.8):
        assert ends(found)[ratio] < 1
        assert ends(found)[ratio] == pytest.approx(KNOWN[ratio], abs=1e-3)


def test_every_run_learns_the_signal_in_the_end(found) -> None:
    assert found["signal_error"][:, -1].max() < 1e-12
    assert found["outlier_weight"][:, -1].max() < 1e-12


@pytest.mark.parametrize("signal", [0.5, 2.0])
def test_the_threshold_falls_as_the_signal_grows(signal: float) -> None:
    rates = [ratio * threshold(signal) for ratio in (0.97, 1.03)]
    _, found = train(OpposingSignals(), grid(lr=rates), 400, 10, signal=signal)
    (started, *below), (_, *above) = found["outlier_weight"]
    assert max(below) < started < 10 * started < max(above)


def test_the_curvature_is_the_top_eigenvalue_of_the_hessian_at_the_minimum() -> None:
    x, y = torch.diag(torch.tensor([1.0, (SHARE * POWER) ** 0.5])), torch.tensor([1.0, 0.0])

    def loss(w_3: torch.Tensor) -> torch.Tensor:
        return (w_3[0] * (x @ w_3[1:]) - y).square().sum() / 2

    hessian_33 = torch.autograd.functional.hessian(loss, torch.tensor([1.0, 1.0, 0.0]))
    # gain = weight = 1 fits the signal: curvature p a = 5 along the outlier, 2 along the signal.
    assert torch.linalg.eigvalsh(hessian_33).tolist() == pytest.approx([0, 2, 5], abs=1e-5)


def test_the_loss_is_that_of_a_data_set_with_outliers_of_both_signs() -> None:
    """Rows with x_s = +-1 and x_o of both signs in a share p, each combination as often."""
    _, found = train(OpposingSignals(), grid(kick=[0.3]), 1, lr=0.0, start=0.7)
    root, rest = POWER**0.5, 1 - SHARE
    outliers = ((root, SHARE / 2), (-root, SHARE / 2), (0, rest))
    rows = [(s, o, w / 2) for s in (1, -1) for o, w in outliers]
    expected = sum(w * (0.7 * (0.7 * s + 0.3 * o) - s) ** 2 / 2 for s, o, w in rows)
    assert found["train_loss"][0, 0] == pytest.approx(expected, rel=1e-12)
