"""BNPO (arXiv:2506.02864): its density by SciPy, and the two algorithms that it contains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_rollouts import coins, made_rollouts
from scipy.stats import beta

from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.engine.policy import advantages, bnpo


def of_rates(success_B: list[float], n_answers: int) -> np.ndarray:
    """Rewards of 0 and 1 whose group means are these rates."""
    rewards = [np.arange(n_answers) < round(p * n_answers) for p in success_B]
    return np.array(rewards, float)


@pytest.mark.parametrize("seed", range(5))
def test_advantages_are_divided_by_the_fitted_density(seed: int) -> None:
    reward_BG = coins(seed, 12, 8)
    p = reward_BG.mean(1)
    m, v = p.mean(), p.var(ddof=1)
    nu = m * (1 - m) / v - 1
    density = beta.pdf(p, max(1, 1 + nu * m / 3), max(1, 1 + nu * (1 - m) / 3))
    with np.errstate(divide="ignore"):
        weight = np.minimum(1 / density, 1e6)
    found = bnpo.beta_normalized(made_rollouts(reward_BG), None, {})
    np.testing.assert_allclose(found, weight[:, None] * (reward_BG - p[:, None]), rtol=1e-9)


def test_a_flat_density_is_reinforce_with_the_groups_mean() -> None:
    """Rates 0 and 1 alone: v > m (1 - m), nu < 0, alpha = beta = 1."""
    reward_BG = of_rates([0, 1, 0, 1, 0, 1], 8)
    reward_BG[0, 0] = 1  # one prompt with something to learn; v is above m (1 - m) still
    rollouts = made_rollouts(reward_BG)
    p = reward_BG.mean(1)
    assert p.var(ddof=1) > p.mean() * (1 - p.mean())
    torch.testing.assert_close(
        bnpo.beta_normalized(rollouts, None, {}), advantages.mean(rollouts, None, {})
    )


def test_at_alpha_and_beta_of_3_halves_it_is_grpo_times_pi_over_8() -> None:
    """m = 1/2 and v = 1/16 make nu = 3; 1 / Beta(p) = B(3/2, 3/2) / sqrt(p (1 - p))."""
    # +-.25 around 1/2 four times: the squares sum to 8/16, over B - 1 = 8 with one at 1/2.
    reward_BG = of_rates([0.25, 0.75] * 4 + [0.5], 8)
    assert reward_BG.mean(1).var(ddof=1) == pytest.approx(1 / 16)
    p = reward_BG.mean(1, keepdims=True)
    grpo = (reward_BG - p) / np.sqrt(p * (1 - p))  # the deviation with G
    found = bnpo.beta_normalized(made_rollouts(reward_BG), None, {})
    np.testing.assert_allclose(found, np.pi / 8 * grpo, rtol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_equal_success_rates_give_finite_advantages(rate: float) -> None:
    found = bnpo.beta_normalized(made_rollouts(of_rates([rate] * 6, 8)), None, {})
    assert found.isfinite().all()
    assert (found == 0).all() == (rate != 0.5)


def test_prompts_answered_all_right_or_all_wrong_teach_nothing() -> None:
    """There the weight is the released bound of 1e6 and the numerator is 0."""
    found = bnpo.beta_normalized(made_rollouts(of_rates([0, 0.5, 0.375, 1], 8)), None, {})
    assert (found[[0, 3]] == 0).all() and (found[[1, 2]] != 0).all()


def test_a_single_prompt_is_refused() -> None:
    assert [name for name, _ in SumChainParams(algorithm="bnpo", prompts=1).faults()] == ["prompts"]
