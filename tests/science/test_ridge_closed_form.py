"""The closed form of ridge regression: an exact oracle for grokking's onsets."""

from __future__ import annotations

import numpy as np
import pytest

from phasecube.engine.tasks.ridge import error_curves

N_ROWS, DIMENSION, LR = 50, 200, 1.0


def draw(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x_RD = rng.normal(size=(N_ROWS, DIMENSION)) / DIMENSION**0.5
    return x_RD, 0.1 * rng.normal(size=DIMENSION), rng.normal(size=DIMENSION)


@pytest.mark.parametrize("ridge", [1e-2, 1e-3, 0.0])
def test_the_closed_form_is_gradient_descent(ridge: float) -> None:
    x_RD, teacher_D, start_D = draw()
    w_D, train, test = start_D.copy(), [], []
    for _ in range(501):
        residual_R = x_RD @ (w_D - teacher_D)
        train.append(residual_R @ residual_R)
        test.append(((w_D - teacher_D) ** 2).sum())
        w_D -= LR * (x_RD.T @ residual_R / N_ROWS + ridge * w_D)
    train_S, test_S = error_curves(
        x_RD, teacher_D, start_D, lr=LR, ridge=ridge, steps_S=np.arange(501.0)
    )
    # One rounding of 1e-16 a step and 500 steps.
    np.testing.assert_allclose(train_S, np.array(train) / train[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(test_S, np.array(test) / test[0], rtol=0, atol=1e-13)


def onsets(ridge: float) -> tuple[float, float]:
    """Return the first step with training error <= 1 % and with test error <= 5 %."""
    # 1000 points a decade: an onset is known to a factor of 10^(1 / 1000) = 1.0023.
    steps_S = np.unique(np.geomspace(1, 1e7, 7001).round())
    train_S, test_S = error_curves(*draw(), lr=LR, ridge=ridge, steps_S=steps_S)
    return steps_S[np.argmax(train_S <= 0.01)], steps_S[np.argmax(test_S <= 0.05)]


def test_grokking_takes_a_fixed_number_of_decay_times() -> None:
    ridges = np.geomspace(1e-5, 1e-3, 5)
    product = [onsets(ridge)[1] * LR * ridge for ridge in ridges]
    # Null directions fall as exp(-2 lr ridge t); at lr ridge = 1e-3 the discrete decay
    # (1 - 1e-3)^t is ahead by 5e-4, and the teacher's share moves the constant by O(ridge / mu).
    assert max(product) / min(product) < 1.02
    # Measured for other draws: 1.484-1.500 (docs/science.md, G0); ln of the ratio of the
    # initial to the remaining null energy, so a draw of 150 normals moves it by ~ 1/sqrt(150).
    assert np.mean(product) == pytest.approx(1.49, rel=1 / 150**0.5)


def test_the_delay_law_has_slope_minus_one_and_memorising_saturates() -> None:
    ridges = np.geomspace(1e-5, 1e-3, 5)
    memorised, grokked = np.array([onsets(ridge) for ridge in ridges]).T
    slope = np.polyfit(np.log(ridges), np.log(grokked), 1)[0]
    assert slope == pytest.approx(-1, abs=0.01)
    # Up to ridge 1e-4 the decay changes any residual of step 150 by lr ridge 150 = 1.5 % at most.
    assert memorised[0] / memorised[2] < 1.02 and (grokked > 3 * memorised).all()
