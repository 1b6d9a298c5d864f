"""A trial of the small solved models has the same bits alone and in a pack."""

from __future__ import annotations

from typing import Any

import pytest
from packs import assert_same_bits_alone, grid

from phasecube.engine.experiments.anchored_sft import AnchoredSft
from phasecube.engine.experiments.bigram_table import BigramTable
from phasecube.engine.experiments.boxed_quadratic import BoxedQuadratic
from phasecube.engine.experiments.opposing_signals import OpposingSignals
from phasecube.engine.experiments.policy_cliff import PolicyCliff
from phasecube.engine.experiments.river_valley import RiverValley
from phasecube.engine.experiments.softmax_bandit import SoftmaxBandit

TEMPERED = {"lr": [0.5, 4.0], "entropy_temperature": [0.0, 0.1]}
WSD_S = {"schedule": "wsd_s", "budgets": "20, 40", "decay_fraction": 0.25}
# experiment, what differs between trials, what all share
CASES: dict[str, tuple[Any, dict[str, list[float]], dict[str, Any]]] = {
    "boxed_quadratic": (BoxedQuadratic(), {"weight_decay": [1.0, 4.0], "lr": [0.01, 0.1]}, {}),
    "river_valley": (RiverValley(), {"noise": [0.5, 2.0], "lr": [0.1, 0.5]}, WSD_S),
    "bigram_table": (BigramTable(), {"lr": [1.0, 8.0]}, WSD_S),
    "opposing_signals": (OpposingSignals(), {"signal": [0.5, 2.0], "lr": [0.1, 0.5]}, {}),
    "exact bandit": (SoftmaxBandit(), TEMPERED, {}),
    "natural bandit": (SoftmaxBandit(), TEMPERED, {"gradient": "natural", "states": 5}),
    "sampled bandit": (SoftmaxBandit(), TEMPERED, {"gradient": "sampled", "actions": 3}),
    "gaussian bandit": (SoftmaxBandit(), {"reward_spread": [0.5, 2.0]}, {"rewards": "gaussian"}),
    "exact cliff": (PolicyCliff(), {"gap": [0.01, 0.5], "lr": [1.0, 10.0]}, {"sigma": 1.0}),
    "natural cliff": (PolicyCliff(), {"gap": [0.01, 0.5]}, {"gradient": "natural", "actions": 3}),
    "asft": (AnchoredSft(), {"anchor": [0.05, 0.5], "reference": [0.01, 0.6]}, {}),
    "sft_kl": (AnchoredSft(), {"minority": [0.2, 0.4]}, {"objective": "sft_kl", "demonstrated": 2}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_a_trial_has_the_same_bits_alone_and_in_a_pack(case: str, dtype: str) -> None:
    experiment, axes, fixed = CASES[case]
    trials = grid(seed=[0, 1, 2], **axes)
    assert_same_bits_alone(experiment, trials, (0, len(trials) - 1), 40, **fixed, dtype=dtype)
