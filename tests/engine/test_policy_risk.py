"""RiskPO (arXiv:2510.00911) against the loops of its released code in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from made_rollouts import coins, made_rollouts
from made_update import Values

from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.engine.policy import risk
from phasecube.engine.policy.rollouts import Rollouts

START = {name: torch.tensor(0.0, dtype=torch.float64) for name in (risk.LOW, risk.HIGH, risk.SEEN)}
TRACKED = {
    risk.LOW: torch.tensor(1.3, dtype=torch.float64),
    risk.HIGH: torch.tensor(3.6, dtype=torch.float64),
    risk.SEEN: torch.tensor(7.0, dtype=torch.float64),
}
EPS = 1e-6


def scores(rollouts: Rollouts, bundle: int) -> np.ndarray:
    r = rollouts.reward_BG.numpy()
    return np.array([r[i : i + bundle].sum(0) for i in range(0, len(r), bundle)])


def expected(rollouts: Rollouts, low: float, high: float, *, seeking: bool) -> np.ndarray:
    """Paper by paper, at the default levels .2 and .9 and weight 1.5."""
    r = rollouts.reward_BG.numpy()
    s_KG, found = scores(rollouts, 5), np.zeros_like(r)
    for k, g in np.ndindex(*s_KG.shape):
        s = s_KG[k, g]
        a = (max(s - low, 0) - max(s - high, 0) + low - high) / (0.7 + EPS)
        tail = max(s - high, 0) / (0.1 + EPS) if seeking else -max(low - s, 0) / (0.2 + EPS)
        a = (1.5 * tail + a) / 2.5 / (s_KG[k].std(ddof=1) + EPS)
        for b in range(5 * k, 5 * k + 5):
            spread = r[b].std(ddof=1)
            found[b, g] = a / ((spread if spread > 1e-3 else 1.0) + EPS)
    return np.clip(found, -10, 10)


@pytest.mark.parametrize("seeking", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_advantages_are_those_of_the_released_code(seed: int, seeking: bool) -> None:
    rollouts = made_rollouts(coins(seed, 15, 8))
    found = (risk.seeking if seeking else risk.averse)(rollouts, Values(), TRACKED)
    np.testing.assert_allclose(
        found, expected(rollouts, 1.3, 3.6, seeking=seeking), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_first_collection_takes_the_quantiles_of_its_own_scores(seed: int) -> None:
    rollouts = made_rollouts(coins(seed, 15, 8))
    low, high = np.quantile(scores(rollouts, 5), [0.2, 0.9])
    np.testing.assert_allclose(
        risk.averse(rollouts, Values(), START),
        expected(rollouts, low, high, seeking=False),
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.parametrize("memory", [START, TRACKED])
@pytest.mark.parametrize("seed", range(5))
def test_no_risk_averse_advantage_is_positive(seed: int, memory: dict[str, Any]) -> None:
    rollouts = made_rollouts(coins(seed, 15, 8))
    assert (risk.averse(rollouts, Values(), memory) <= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_risk_seeking_rewards_papers_above_the_upper_quantile_alone(seed: int) -> None:
    rollouts = made_rollouts(coins(seed, 15, 8))
    found = risk.seeking(rollouts, Values(), TRACKED).numpy()
    np.testing.assert_array_equal(found > 0, np.repeat(scores(rollouts, 5) > 3.6, 5, axis=0))


def test_tracked_quantiles_that_have_crossed_give_no_positive_advantage() -> None:
    rollouts = made_rollouts(coins(0, 15, 8))
    crossed = {**TRACKED, risk.LOW: TRACKED[risk.HIGH], risk.HIGH: TRACKED[risk.LOW]}
    assert (risk.averse(rollouts, Values(), crossed) <= 0).all()


def test_tracked_quantiles_settle_at_the_levels_of_the_scores() -> None:
    """A fixed law of scores 0 .. 5: the low one between 0 and 1, the high one between 4 and 5,
    where P(s <= q) is next to the level; a step of .1 stays within .1 of there."""
    memory, params = START, Values()
    rng = np.random.default_rng(0)
    law = [0.1, 0.2, 0.2, 0.2, 0.2, 0.1]
    seen = []
    for step in range(2000):
        score_KG = rng.choice(6, p=law, size=(3, 8))
        reward_BG = (np.arange(5)[None, :, None] < score_KG[:, None]).reshape(15, 8)
        memory = risk.remember(made_rollouts(reward_BG), params, memory)
        seen += [(float(memory[risk.LOW]), float(memory[risk.HIGH]))] if step > 500 else []
    assert memory[risk.SEEN] == 2000
    # P(s <= q) jumps over .2 at q = 1 and reaches .9 at q = 4.
    assert np.median(seen, 0) == pytest.approx([1.0, 4.0], abs=0.1)


def test_prompts_that_make_no_whole_bundles_are_refused() -> None:
    told = dict(SumChainParams(algorithm="riskpo", prompts=32).faults())
    assert "use 30" in told["prompts"]
    assert SumChainParams(algorithm="riskpo", prompts=30).faults() == []
    assert SumChainParams(algorithm="grpo", prompts=32).faults() == []


def test_levels_out_of_order_are_refused() -> None:
    told = SumChainParams(
        algorithm="riskpo_seeking", prompts=30, risk_low=0.9, risk_high=0.9
    ).faults()
    assert [name for name, _ in told] == ["risk_low"]
