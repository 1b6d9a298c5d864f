"""EMPG (arXiv:2509.09265) against its pseudocode's steps in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_rollouts import coins, made_rollouts
from made_update import Values

from phasecube.engine.policy import advantages, empg


@pytest.mark.parametrize("seed", range(3))
def test_an_advantage_is_spread_by_the_certainty_of_this_token_and_the_next(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rollouts = made_rollouts(coins(seed, 4, 6), rng.integers(1, 4, (4, 6)), seed=seed)
    k, k_f, zeta = 0.7, 1.3, 0.4
    params = Values(empg_scale=k, empg_clarity_scale=k_f, empg_clarity=zeta)
    found_BGL = empg.modulated(rollouts, params, {}).numpy()

    a_BG = advantages.group_std(rollouts, None, {}).numpy()
    h, length = rollouts.entropy_BGL.numpy(), rollouts.length_BG.numpy()
    steps = [(b, g, t) for b, g in np.ndindex(4, 6) for t in range(length[b, g])]
    all_h = np.array([h[s] for s in steps])
    scaled = dict(zip(steps, (all_h - all_h.min()) / (np.ptp(all_h) + 1e-8), strict=True))
    factor = {s: np.exp(-k * x) for s, x in scaled.items()}
    mean_factor = np.mean(list(factor.values())) + 1e-8
    whole = {
        (b, g, t): a_BG[b, g] * factor[b, g, t] / mean_factor
        + (zeta * np.exp(-k_f * scaled[b, g, t + 1]) if t + 1 < length[b, g] else 0)
        for b, g, t in steps
    }
    centre = np.mean(list(whole.values()))
    for step, value in whole.items():
        np.testing.assert_allclose(found_BGL[step], value - centre, rtol=1e-12, atol=1e-14)


def test_without_scale_and_clarity_it_is_grpo_centred_over_tokens() -> None:
    rollouts = made_rollouts(coins(0, 4, 6))
    params = Values(empg_scale=0.0, empg_clarity=0.0)
    expected = advantages.group_std(rollouts, None, {}).unsqueeze(-1).expand(4, 6, 3)
    torch.testing.assert_close(
        empg.modulated(rollouts, params, {}), expected - expected.mean(), rtol=0, atol=1e-7
    )  # the floor of the mean factor, 1e-8, times the largest advantage


def test_tokens_that_are_all_alike_certain_are_not_modulated() -> None:
    """Entropies without a range: every factor is 1, up to the floors of 1e-8."""
    rollouts = made_rollouts(coins(1, 4, 6), entropy_BGL=np.full((4, 6, 3), 0.8))
    found = empg.modulated(rollouts, Values(empg_clarity=0.0), {})
    expected = advantages.group_std(rollouts, None, {}).unsqueeze(-1).expand(4, 6, 3)
    torch.testing.assert_close(found, expected - expected.mean(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_uncertain_tokens_move_more_by_the_identity_the_method_rests_on(seed: int) -> None:
    """E ||grad_z log pi||^2 = 1 - sum pi^2 = 1 - exp(-H_2), to the rounding of float64."""
    z = torch.tensor(2 * np.random.default_rng(seed).normal(size=12))
    log_pi = z.log_softmax(-1)
    score_AZ = torch.func.jacrev(lambda z: z.log_softmax(-1))(z)
    mean_square = float((log_pi.exp() * score_AZ.square().sum(-1)).sum())
    renyi = -np.log(np.square(log_pi.exp().numpy()).sum())
    assert abs(mean_square - (1 - np.exp(-renyi))) <= 12 * np.finfo(float).eps
