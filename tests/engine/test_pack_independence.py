"""A trial's numbers are its own: alone, in 3, in 64, in any place and company, across resume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_cases import Mlp, NoisyMlp, make_trials, run

from phasecube.engine.checkpoint import CheckpointFolder
from phasecube.engine.record import Engine, PackRecord
from phasecube.engine.trials import Trials

RULES = {
    "sgd": {},
    "sgd momentum": {"nesterov": True, "momentum": 0.9, "l2": 1e-3},
    "adam": {"optimizer": "adam", "lr": 1e-2, "l2": 1e-3},
    "adamw": {"optimizer": "adamw", "lr": 1e-2, "weight_decay": 0.1},
    "independent decay": {
        "optimizer": "adamw",
        "lr": 1e-2,
        "weight_decay": 1e-3,
        "independent_weight_decay": True,
    },
    "triple momentum": {
        "optimizer": "triple_momentum",
        "lr": 1e-2,
        "momentum": 0.9,
        "lookahead": 0.5,
    },
    "adamw 8 bit": {"optimizer": "adamw_8bit", "lr": 1e-2, "state_min_size": 100},
    "lion": {"optimizer": "lion", "lr": 1e-3, "beta2": 0.99, "weight_decay": 0.1},
    "muon": {"optimizer": "muon", "momentum": 0.95, "nesterov": True, "weight_decay": 0.1},
    "cosine": {"optimizer": "adamw", "schedule": "cosine", "warmup_steps": 4},
    "wsd": {"schedule": "wsd", "decay_type": "1-sqrt", "decay_fraction": 0.8},
    "wsd_s": {"schedule": "wsd_s", "budgets": "8, 20", "decay_fraction": 0.3},
    "clipped": {"clip_norm": 0.3, "momentum": 0.9},
    "sam": {"sam_rho": 0.1, "momentum": 0.9},
    "perpGrad": {"optimizer": "adamw", "lr": 1e-2, "gradient_projection": "orthogonal"},
}
VARYING = (
    *("momentum", "l2", "lr", "weight_decay", "lookahead", "clip_norm", "sam_rho"),
    *("warmup_steps", "decay_fraction"),
)


def company(experiment: Any, n: int, dtype: str, settings: dict[str, Any]) -> Trials:
    """Trials that differ in seed, learning rate, noise and in what else of VARYING they use."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "seed": rng.integers(0, 5, n).tolist(),
        "lr": rng.uniform(1e-3, 5e-2, n).tolist(),
        "noise": rng.choice([0.0, 0.1], n).tolist(),
    }
    for name in VARYING:
        if name in settings and name != "lr":
            columns[name] = (settings[name] * rng.choice([0.0, 0.5, 1.0], n)).tolist()
    static = {k: v for k, v in settings.items() if k not in VARYING}
    return make_trials(experiment, n, columns, dtype=dtype, **static)


def same_rows(one: PackRecord, rows_one: list[int], two: PackRecord, rows_two: list[int]) -> bool:
    pairs = [(one.scalars_RMS, two.scalars_RMS)]
    pairs += [(one.vectors[name], two.vectors[name]) for name in one.vectors]
    return all(a[rows_one].tobytes() == b[rows_two].tobytes() for a, b in pairs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("experiment", [Mlp(), NoisyMlp()], ids=lambda e: e.name)
def test_a_trial_has_the_same_bits_alone_in_3_and_in_64(
    experiment: Any, rule: str, dtype: str
) -> None:
    trials = company(experiment, 64, dtype, RULES[rule])
    together = run(experiment, trials)
    for row in (0, 31, 63):
        alone = run(experiment, trials.take([row]))
        assert same_rows(alone, [row], together, [row])
    three = run(experiment, trials.take([63, 5, 30]))
    assert same_rows(three, [63, 5, 30], together, [63, 5, 30])


@pytest.mark.parametrize("activation", ["gelu", "silu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_spare_lanes_take_what_scalar_tails_round(activation: str, dtype: str) -> None:
    experiment = Mlp()
    trials = company(experiment, 64, dtype, {"activation": activation})
    together = run(experiment, trials, spare=1)
    for row in (0, 31, 63):
        alone = run(experiment, trials.take([row]), spare=1)
        assert same_rows(alone, [row], together, [row])


def test_a_pack_run_in_groups_of_lanes_has_the_same_bits() -> None:
    experiment = NoisyMlp()
    trials = company(experiment, 20, "float32", RULES["adamw"])
    whole, cut = run(experiment, trials), run(experiment, trials, lanes=7)
    assert same_rows(whole, list(range(20)), cut, list(range(20)))


@pytest.mark.parametrize("stopped_after", [1, 3, 9, 17, 25])
@pytest.mark.parametrize(
    "rule",
    [
        "sgd momentum",
        "perpGrad",
        "triple momentum",
        "lion",
        "muon",
        "adamw 8 bit",
        "cosine",
        "clipped",
    ],
)
def test_a_resumed_trial_has_the_same_bits(rule: str, stopped_after: int, tmp_path) -> None:
    experiment = NoisyMlp()
    trials = company(experiment, 6, "float32", RULES[rule])
    undisturbed = run(experiment, trials, lanes=4)
    left = iter([False] * stopped_after)
    folder = CheckpointFolder(tmp_path)
    run(experiment, trials, lanes=4, checkpoints=folder, signal=lambda: next(left, True))
    resumed = run(experiment, trials, lanes=3, checkpoints=folder)
    assert same_rows(undisturbed, list(range(6)), resumed, list(range(6)))
    assert np.array_equal(undisturbed.status_RF, resumed.status_RF)


def test_lanes_that_diverge_do_not_touch_their_neighbours() -> None:
    experiment = Mlp()
    trials = make_trials(experiment, 4, {"lr": [0.05, 1e8, 0.02, 1e30]}, steps=20)
    together = run(experiment, trials)
    for row in (0, 2):
        assert same_rows(run(experiment, trials.take([row])), [row], together, [row])


@pytest.mark.parametrize("engine", [Engine.VMAP_GRADIENT, Engine.SEQUENTIAL])
def test_the_other_engines_agree_to_rounding(engine: Engine) -> None:
    experiment = NoisyMlp()
    trials = company(experiment, 5, "float64", RULES["adamw"])
    lanes = 1 if engine is Engine.SEQUENTIAL else 5
    packed, other = run(experiment, trials), run(experiment, trials, engine=engine, lanes=lanes)
    # 20 steps of AdamW, each of some 10^3 rounded operations of 1e-16, amplified by
    # 1 / eps-free ratios of moments of order 1: far below 1e-9, far above bit equality.
    np.testing.assert_allclose(packed.scalars_RMS, other.scalars_RMS, rtol=1e-9)
