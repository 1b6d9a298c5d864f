"""Advantages and surrogate losses against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_update import B, G, made_update, plain

from phasecube.engine.policy import advantages, surrogates
from phasecube.engine.policy.parts import ALGORITHMS, PARTS, algorithm_of


def test_leave_one_out_compares_an_answer_with_the_others() -> None:
    rollouts = made_update()[0].rollouts
    r = rollouts.reward_BG.numpy()
    others = [[np.delete(r[b], g).mean() for g in range(G)] for b in range(B)]
    np.testing.assert_allclose(advantages.leave_one_out(rollouts, None, {}), r - np.array(others))


def test_batch_std_standardises_over_the_tokens_of_all_answers() -> None:
    rollouts = made_update()[0].rollouts
    r, n = rollouts.reward_BG.numpy().ravel(), rollouts.length_BG.numpy().ravel()
    tokens = np.repeat(r, n)
    expected = (r - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8)
    found = advantages.batch_std(rollouts, None, {}).numpy().ravel()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert len(set(n)) > 1  # answers of unequal length, or the weights would not be seen


@pytest.mark.parametrize(
    "name", [n for n, p in PARTS.items() if p.function.__module__.endswith("advantages")]
)
def test_equal_rewards_teach_nothing_but_without_a_baseline(name: str) -> None:
    rollouts = made_update()[0].rollouts.with_reward(torch.ones(B, G, dtype=torch.float64))
    found = PARTS[name].function(rollouts, None, {})
    assert (found == (1 if name == "raw" else 0)).all()


def test_clip_higher_bounds_the_ratio_of_rewarded_and_punished_tokens_apart() -> None:
    update, _ = made_update(clip_low=0.1, clip_high=0.15, clip_higher=0.4)
    seen = plain(update)
    ratio = np.exp(seen["log_prob"] - seen["log_then"])
    assert ((ratio > 1.15) & (ratio < 1.4)).any()
    a = seen["advantage"]
    expected = np.maximum(-a * ratio, -a * np.clip(ratio, 0.9, 1.4))
    found = surrogates.clip_higher(update)[update.rollouts.valid_BGL].detach()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_dual_clip_bounds_the_loss_of_a_punished_token_and_of_no_other() -> None:
    update, _ = made_update(moved=2.0, dual_clip=3.0)
    seen = plain(update)
    ratio, a = np.exp(seen["log_prob"] - seen["log_then"]), seen["advantage"]
    assert ((ratio > 3) & (a < 0)).any() and ((ratio > 3) & (a > 0)).any()
    single = np.maximum(-a * ratio, -a * np.clip(ratio, 0.8, 1.28))
    expected = np.where(a < 0, np.minimum(single, -3 * a), single)
    found = surrogates.dual_clip(update)[update.rollouts.valid_BGL].detach()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_beyond_the_dual_clip_a_punished_token_has_no_gradient() -> None:
    update, logits = made_update(moved=2.0, dual_clip=3.0)
    update = replace(update, advantage_BGL=-torch.ones_like(update.advantage_BGL))
    (slope,) = torch.autograd.grad(surrogates.dual_clip(update).sum(), logits)
    flat = slope.abs().amax(-1) == 0
    beyond = (update.ratio_BGL > 3) | (update.ratio_BGL < 0.8)
    assert beyond.any() and (flat == beyond).all()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithms_name_stands_for_parts_that_make_one(name: str) -> None:
    algorithm = algorithm_of(name)
    assert set(algorithm.names) <= PARTS.keys()
    assert name not in PARTS  # or it would stand for itself
