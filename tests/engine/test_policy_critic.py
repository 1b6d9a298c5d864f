"""PPO's table of values: NumPy's arithmetic, one answer a prompt, prompts that come and go."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from made_rollouts import coins, made_rollouts

from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.engine.policy import critic

PARAMS = SimpleNamespace(critic_rate=torch.tensor(0.25, dtype=torch.float64))


def test_the_advantage_is_reward_less_value_over_the_collections_deviation() -> None:
    reward_BG = coins(0, 5, 4)
    value = np.linspace(0, 1, 5)
    raw = reward_BG - value[:, None]
    expected = (raw - raw.mean()) / (raw.std(ddof=1) + 1e-6)
    found = critic.advantage(made_rollouts(reward_BG), PARAMS, {critic.VALUE: torch.tensor(value)})
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_values_move_towards_the_mean_reward_and_others_stay() -> None:
    rollouts = replace(made_rollouts(coins(1, 2, 4)), prompt_B=torch.tensor([3, 1]))
    before = torch.arange(5, dtype=torch.float64)
    found = critic.remember(rollouts, PARAMS, {critic.VALUE: before})[critic.VALUE]
    mean = rollouts.reward_BG.mean(-1)
    expected = [0, 1 + 0.25 * (mean[1] - 1), 2, 3 + 0.25 * (mean[0] - 3), 4]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_one_answer_to_a_prompt_is_enough() -> None:
    params = SumChainParams(algorithm="ppo", answers=1, minibatches=1, epochs=2)
    assert params.faults() == []
    grouped = SumChainParams(algorithm="grpo", answers=1, minibatches=1, epochs=2)
    assert [name for name, _ in grouped.faults()] == ["answers"]
