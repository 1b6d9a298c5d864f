"""Moments of eight bits: held against codes that are really stored as bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phasecube.engine.optimizers.block_codes import (
    N_CODES,
    BlockCodes,
    dynamic_codes,
    linear_codes,
)
from phasecube.engine.optimizers.choose import hyperparameters, update_rule
from phasecube.engine.params import RunParams
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout

CPU = torch.device("cpu")
SIZES = (50, 7)  # the second is too small to be rounded
BLOCK = 16
N_STEPS = 20
BETA1, BETA2, EPS, LR, DECAY = 0.9, 0.95, 1e-8, 0.01, 0.1


@pytest.mark.parametrize("signed", [True, False])
def test_dynamic_codes_are_256_and_reach_from_one_to_a_millionth(signed: bool) -> None:
    codes = dynamic_codes(signed=signed)
    assert len(codes.unique()) == N_CODES
    assert codes.max() == 1.0
    positive = codes[codes > 0]
    # The lowest decade from 1e-7 to 1e-6 is one part with a sign and two without.
    lowest = 0.55e-6 if signed else 0.325e-6
    assert float(positive.min()) == pytest.approx(lowest, rel=1e-12)
    # Of the published map: halves of equal parts of the uppermost decade, and nothing above.
    assert float(positive[-2]) == pytest.approx(1 - 0.9 / (64 if signed else 128) / 2, rel=1e-12)
    assert (codes < 0).sum() == (127 if signed else 0)


@pytest.mark.parametrize("signed", [True, False])
def test_linear_codes_are_equally_spaced_and_hold_zero(signed: bool) -> None:
    codes = linear_codes(signed=signed)
    assert (codes == 0).sum() == 1
    assert codes.diff().max() - codes.diff().min() < 1e-15
    assert len(codes) == (255 if signed else 256)


@given(st.integers(1, 70), st.integers(0, 20), st.integers(-20, 20), st.integers(0, 2**31))
def test_each_number_becomes_the_nearest_of_its_block_whatever_the_scale(
    size: int, block: int, decade: int, seed: int
) -> None:
    torch.manual_seed(seed)
    rows_Kp = torch.randn(2, size, dtype=torch.float64) * 10.0**decade
    found_Kp = rows_Kp.clone()
    BlockCodes("dynamic", block, torch.float64, CPU, signed=True).round_(found_Kp)
    codes = dynamic_codes(signed=True)
    for before, after in zip(rows_Kp, found_Kp, strict=True):
        for part, rounded in zip(before.split(block or size), after.split(block or size)):
            largest = part.abs().max()
            nearest = (part[:, None] - codes * largest).abs().min(1).values
            # Of two codes that are as near, rounding may take either.
            assert ((part - rounded).abs() - nearest).abs().max() <= 1e-15 * largest


def test_a_block_of_zeros_stays_zero() -> None:
    rows_Kp = torch.zeros(2, 5)
    BlockCodes("dynamic", 2, torch.float32, CPU, signed=False).round_(rows_Kp)
    assert torch.equal(rows_Kp, torch.zeros(2, 5))


class Bytes:
    """One tensor's moment as bytes and a scale a block, one number at a time."""

    def __init__(self, size: int, signed: bool) -> None:
        self._codes = dynamic_codes(signed=signed).numpy()
        self._places = np.full(size, np.abs(self._codes).argmin(), np.uint8)
        self._scales = np.zeros(-(-size // BLOCK))

    def read(self) -> np.ndarray:
        return self._codes[self._places] * np.repeat(self._scales, BLOCK)[: len(self._places)]

    def write(self, values: np.ndarray) -> None:
        for place, value in enumerate(values):
            block = values[place // BLOCK * BLOCK :][:BLOCK]
            self._scales[place // BLOCK] = scale = np.abs(block).max()
            self._places[place] = np.abs(self._codes - value / scale).argmin()


class Floats:
    """The same of a tensor that is too small to be rounded."""

    def __init__(self, size: int) -> None:
        self._values = np.zeros(size)

    def read(self) -> np.ndarray:
        return self._values

    def write(self, values: np.ndarray) -> None:
        self._values = values


def test_a_trial_is_that_of_moments_stored_as_bytes() -> None:
    layout = WeightLayout(
        ("large", "small"),
        tuple(torch.Size([n]) for n in SIZES),
        (slice(0, SIZES[0]), slice(SIZES[0], sum(SIZES))),
    )
    settings = RunParams(
        steps=N_STEPS, optimizer="adamw_8bit", lr=LR, beta1=BETA1, beta2=BETA2, eps=EPS,
        weight_decay=DECAY, state_block_size=BLOCK, state_min_size=20, dtype="float64",
    ).model_dump()  # fmt: skip
    rule = update_rule(
        hyperparameters(Trials(np.arange(2), settings, {}), layout, torch.float64, CPU)
    )
    torch.manual_seed(0)
    weights_KP = torch.randn(2, layout.size, dtype=torch.float64)
    gradients_SKP = torch.randn(N_STEPS, 2, layout.size, dtype=torch.float64)
    expected = weights_KP.numpy().copy()
    moments = {name: torch.zeros_like(weights_KP) for name in rule.moments}
    for step, gradient_KP in enumerate(gradients_SKP):
        rule.update(weights_KP, gradient_KP.clone(), moments, step)
    for lane in range(2):
        for place in layout.slices:
            size = place.stop - place.start
            rounded = size >= 20
            first = Bytes(size, signed=True) if rounded else Floats(size)
            second = Bytes(size, signed=False) if rounded else Floats(size)
            w = expected[lane, place]
            for step, g in enumerate(gradients_SKP[:, lane, place].numpy()):
                m = BETA1 * first.read() + (1 - BETA1) * g
                v = BETA2 * second.read() + (1 - BETA2) * g**2
                root = np.sqrt(v) / np.sqrt(1 - BETA2 ** (step + 1)) + EPS
                w *= 1 - LR * DECAY
                w -= LR / (1 - BETA1 ** (step + 1)) * m / root
                first.write(m)
                second.write(v)
    # Some ten roundings a step of numbers below 8; a step moves by no more than a few lr.
    np.testing.assert_allclose(weights_KP.numpy(), expected, rtol=0, atol=N_STEPS * 80 * 2.3e-16)
