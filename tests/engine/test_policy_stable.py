"""StableReinforce (arXiv:2505.02835): the cut of log-ratios, and both filters of advantages."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_rollouts import made_rollouts
from made_update import Values, made_update

from phasecube.engine.policy import stable, surrogates

WIDE = {"clip_low": 1.0, "clip_high": 1e9}  # a clip that never acts


@pytest.mark.parametrize(
    ("log_ratio", "ratio"), [(-50.0, 1e-3), (0.0, 1.0), (50.0, 1e3), (1.0, math.e)]
)
def test_a_log_ratio_is_cut_before_exp(log_ratio: float, ratio: float) -> None:
    update, _ = made_update(advantage=-1.0, **WIDE)
    moved = replace(update, log_prob_BGL=update.rollouts.log_prob_BGL + log_ratio)
    np.testing.assert_allclose(stable.pre_clip(moved), ratio, rtol=1e-12)


def test_inside_the_cut_it_is_ppos_clip() -> None:
    update, _ = made_update()
    assert torch.equal(stable.pre_clip(update), surrogates.clip(update))


def test_a_punished_token_beyond_the_cut_has_no_gradient_where_ppos_has_one() -> None:
    update, _ = made_update(advantage=-1.0)
    log_prob = (update.rollouts.log_prob_BGL + 8).requires_grad_()
    moved = replace(update, log_prob_BGL=log_prob)
    slopes = [
        torch.autograd.grad(loss(moved).sum(), log_prob)[0]
        for loss in (stable.pre_clip, surrogates.clip)
    ]
    assert (slopes[0] == 0).all() and (slopes[1] > 1e3).all()


def test_one_outlier_shrinks_the_others_and_is_dropped() -> None:
    """50 among 1000 standard normal rewards: the others' deviation is 1 / sqrt(1 + 2.5) = .53,
    the outlier's z 26.7; both to the sampling error of 1000 numbers, 1 / sqrt(2000)."""
    reward = np.random.default_rng(0).normal(size=(1, 1000))
    reward[0, 0] = 50
    for function in (stable.advantage_filter, stable.advantage_filter_released):
        z = function(made_rollouts(reward), Values(), {}).numpy()[0]
        assert z[0] == 0
        assert z[1:].std() == pytest.approx(1 / math.sqrt(3.5), rel=3 / math.sqrt(2000))
    open_wide = stable.advantage_filter(made_rollouts(reward), Values(filter_width=100.0), {})
    assert open_wide[0, 0] == pytest.approx(50 / math.sqrt(3.5), rel=3 / math.sqrt(2000))


def test_the_released_window_is_centred_on_the_raw_mean() -> None:
    """Rewards around 2: the paper keeps z in [-3, 3], the released code z in [-1, 5]."""
    reward = 2 + np.random.default_rng(1).normal(size=(4, 500))
    rollouts, params = made_rollouts(reward), Values()
    z, m = (reward - reward.mean()) / reward.std(), reward.mean()
    expected = np.where((z >= m - 3) & (z <= m + 3), z, 0)
    np.testing.assert_allclose(
        stable.advantage_filter_released(rollouts, params, {}), expected, rtol=1e-10, atol=1e-12
    )
    paper = stable.advantage_filter(rollouts, params, {}).numpy()
    np.testing.assert_allclose(paper, np.where(np.abs(z) <= 3, z, 0), rtol=1e-10, atol=1e-12)
    assert ((paper != 0) & (expected == 0)).mean() > 0.1  # P(z < -1) = .16


def test_the_released_code_drops_z_above_10_even_inside_its_window() -> None:
    reward = np.full((1, 400), 9.0)
    reward[0, 0] = 30  # z = sqrt(399) = 20, the window's upper end about 12 at a width of 3
    params = Values(filter_width=100.0)
    assert stable.advantage_filter_released(made_rollouts(reward), params, {})[0, 0] == 0
    assert stable.advantage_filter(made_rollouts(reward), params, {})[0, 0] > 10


def test_each_answer_counts_by_its_tokens() -> None:
    reward, length = np.array([[1.0, 0.0, 0.5]]), np.array([[1, 3, 2]])
    tokens = np.repeat(reward, length[0])
    expected = (reward - tokens.mean()) / tokens.std()
    found = stable.advantage_filter(made_rollouts(reward, length), Values(), {})
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("successes", "dropped"), [(9, "successes"), (11, ""), (89, ""), (91, "failures")]
)
def test_the_filter_drops_every_success_below_a_rate_of_1_in_10_and_every_failure_above_9_in_10(
    successes: int, dropped: str
) -> None:
    """z of a success is sqrt((1 - p) / p), of a failure -sqrt(p / (1 - p))."""
    reward = (np.arange(100) < successes)[None] * 1.0
    z = stable.advantage_filter(made_rollouts(reward), Values(), {})[0]
    assert bool((z[:successes] == 0).all()) == (dropped == "successes")
    assert bool((z[successes:] == 0).all()) == (dropped == "failures")
