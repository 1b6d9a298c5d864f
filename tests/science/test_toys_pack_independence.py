"""A trial of the small solved models has the same bits alone and in a pack."""

from __future__ import annotations

from typing import Any

import pytest
from packs import grid, train

from phasecube.engine.experiments.bigram_table import BigramTable
from phasecube.engine.experiments.boxed_quadratic import BoxedQuadratic
from phasecube.engine.experiments.opposing_signals import OpposingSignals
from phasecube.engine.experiments.river_valley import RiverValley

WSD_S = {"schedule": "wsd_s", "budgets": "20, 40", "decay_fraction": 0.25}
# experiment, what differs between trials, what all share
CASES: dict[str, tuple[Any, dict[str, list[float]], dict[str, Any]]] = {
    "boxed_quadratic": (BoxedQuadratic(), {"weight_decay": [1.0, 4.0], "lr": [0.01, 0.1]}, {}),
    "river_valley": (RiverValley(), {"noise": [0.5, 2.0], "lr": [0.1, 0.5]}, WSD_S),
    "bigram_table": (BigramTable(), {"lr": [1.0, 8.0]}, WSD_S),
    "opposing_signals": (OpposingSignals(), {"signal": [0.5, 2.0], "lr": [0.1, 0.5]}, {}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_a_trial_has_the_same_bits_alone_and_in_a_pack(case: str, dtype: str) -> None:
    experiment, axes, fixed = CASES[case]
    trials = grid(seed=[0, 1, 2], **axes)
    _, together = train(experiment, trials, 40, **fixed, dtype=dtype)
    for row in (0, len(trials) - 1):
        _, alone = train(experiment, [trials[row]], 40, **fixed, dtype=dtype)
        for name, curve in alone.items():
            assert curve[0].tobytes() == together[name][row].tobytes(), name
