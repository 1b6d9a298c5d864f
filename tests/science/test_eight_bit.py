"""Eight-bit moments: what rounding them costs, by their code and its blocks (card B4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from packs import grid, train

from phasecube.engine.experiments.mlp_regression import MlpRegression
from phasecube.engine.optimizers.block_codes import BlockCodes

STEPS = 400

# A tanh network of 128 by 128 learns sum_i tanh(x_i) / 4 of 16 inputs, a new batch a step.
PROTOCOL: dict[str, Any] = {
    "task": "tanh_sum",
    "inputs": 16,
    "rows": 0,
    "batch": 64,
    "test_rows": 1000,
    "width": 128,
    "lr": 2.0**-6,
    "beta2": 0.95,
    "schedule": "wsd",
    "decay_fraction": 1.0,  # linear to zero from the first step on
}
# Every tensor is rounded: the rule that spares small ones hides most of what a bad code costs.
EIGHT_BIT = {"optimizer": "adamw_8bit", "state_min_size": 0}
ARMS: dict[str, dict[str, Any]] = {
    "float": {"optimizer": "adamw"},
    "dynamic 256": EIGHT_BIT,
    "dynamic 2048": {**EIGHT_BIT, "state_block_size": 2048},
    "linear": {**EIGHT_BIT, "state_code": "linear", "state_block_size": 0},
}


@pytest.fixture(scope="module")
def final() -> dict[str, np.ndarray]:
    """The final loss of three seeds of each arm, at a rate that falls to zero."""
    found = {}
    for arm, settings in ARMS.items():
        settings = PROTOCOL | settings
        _, curves = train(MlpRegression(), grid(seed=[0, 1, 2]), STEPS, STEPS, **settings)
        found[arm] = curves["test_loss"][:, -1]
    return found


@pytest.mark.parametrize("arm", ["dynamic 256", "dynamic 2048"])
def test_dynamic_codes_in_blocks_train_as_floats_do_within_the_spread_of_seeds(
    final: dict[str, np.ndarray], arm: str
) -> None:
    spread = final["float"].std(ddof=1)
    assert abs(final[arm].mean() - final["float"].mean()) < spread


def test_linear_codes_of_whole_tensors_train_five_times_worse_at_least(
    final: dict[str, np.ndarray],
) -> None:
    assert (final["linear"] >= 5 * final["float"]).all()


# (code, numbers a block, outliers): mean relative error of a million numbers of N(0, 1), alone
# or with 20 outliers of 50. Reference: card B4, of another draw; the largest of a million, which
# scales a whole tensor, has a spread of 4 %, and the error of linear codes goes with it.
ROUND_TRIPS = {
    ("linear", 0, False): 0.047,
    ("dynamic", 0, False): 0.0188,
    ("dynamic", 2048, False): 0.0167,
    ("dynamic", 256, False): 0.0154,
    ("linear", 0, True): 0.294,
    ("dynamic", 0, True): 0.0368,
    ("dynamic", 256, True): 0.0155,
}


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_a_rounding_costs_what_is_known_of_its_code_and_blocks(
    case: tuple[str, int, bool],
) -> None:
    code, block, outliers = case
    torch.manual_seed(0)
    rows_Kp = torch.randn(1, 1_000_000)
    if outliers:
        rows_Kp[0, torch.randperm(1_000_000)[:20]] = 50.0
    before_Kp = rows_Kp.clone()
    BlockCodes(code, block, torch.float32, torch.device("cpu"), signed=True).round_(rows_Kp)
    error = ((rows_Kp - before_Kp).abs() / before_Kp.abs()).mean()
    assert float(error) == pytest.approx(ROUND_TRIPS[case], rel=0.04)
