"""The data that grokking needs, n = c M log M: one c serves every modulus (Tian 2025)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from packs import grid, train

from phasecube.engine.experiments.modular_arithmetic import ModularArithmetic

LI2 = {
    "width": 256,
    "init": "uniform_fan_in",
    "loss": "centred_mse",
    "optimizer": "adam",
    "lr": 0.01,
    "beta2": 0.999,
    "l2": 5e-4,
    "weight_decay": 0.0,
}


@pytest.mark.slow
@pytest.mark.parametrize("modulus", [13, 29])
def test_one_constant_divides_failing_from_generalising(modulus: int) -> None:
    """c = 2.4 and 2.8 on either side; n ~ M would move the 2.5 of M = 13 to 1.9 at 29, n ~ M^2
    to 4.2."""
    final = {}
    for c in (2.4, 2.8):
        share = c * math.log(modulus) / modulus
        _, found = train(
            ModularArithmetic(),
            grid(seed=[0, 1]),
            3000,
            1500,
            modulus=modulus,
            train_fraction=share,
            scalars=["val_accuracy"],
            **LI2,
        )
        final[c] = found["val_accuracy"][:, -1]
    assert np.all(final[2.4] < 0.5) and np.all(final[2.8] > 0.5)
