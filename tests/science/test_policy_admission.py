"""Every algorithm trains packed: pack and plain loop agree, a trial's bits are its own."""

from __future__ import annotations

import numpy as np
import pytest
from packs import assert_same_bits_alone

from phasecube.engine.admission import choose_engine
from phasecube.engine.experiments.sum_chain import SumChain
from phasecube.engine.params import parameters
from phasecube.engine.policy.parts import ALGORITHMS
from phasecube.engine.record import Engine
from phasecube.engine.trials import Trials

# Small, and odd where an algorithm allows it; RiskPO takes bundles of 5 prompts.
SMALL = {"prompts": 10, "answers": 4, "minibatches": 2, "replay": 50, "replay_baseline": 40}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_is_admitted_to_packs(algorithm: str) -> None:
    known = parameters(SumChain())
    values = {n: p.default for n, p in known.items()} | SMALL | {"algorithm": algorithm, "steps": 6}
    static = {n: values[n] for n, p in known.items() if p.static}
    varying = {n: [values[n]] * 3 for n, p in known.items() if not p.static}
    varying |= {"seed": [0, 1, 2], "lr": [0.1, 0.3, 1.0]}
    trials = Trials(np.arange(3), static, varying)
    # Lanes as asked for: what is faster on this machine now is not the question.
    choice = choose_engine(SumChain(), trials, "cpu", "vmap", lanes=3)
    assert choice.engine is Engine.VMAP_FORWARD, choice.reason


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_gives_a_trial_the_same_bits_alone_and_in_a_pack(algorithm: str) -> None:
    trials = [{"seed": seed, "lr": lr} for seed, lr in ((0, 0.3), (1, 1.0), (2, 0.1))]
    assert_same_bits_alone(SumChain(), trials, (1,), 6, algorithm=algorithm, **SMALL)
