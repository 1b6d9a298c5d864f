"""Clip-Cov and KL-Cov (arXiv:2505.22617) against NumPy, and at the ends of their parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made_update import made_update, plain

from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.engine.policy import covariance_clip, covariance_kl
from phasecube.engine.policy.rollouts import Update
from phasecube.engine.policy.token_covariance import smallest, tokens_of

ALL = {"covariance_clip_low": -1e9, "covariance_clip_high": 1e9}


def products(update: Update) -> np.ndarray:
    """The cross product of each valid token, token by token."""
    seen = plain(update)
    a, x = seen["advantage"], seen["log_prob"]
    return np.array([(a_i - a.mean()) * (x_i - x.mean()) for a_i, x_i in zip(a, x, strict=True)])


def cut(update: Update) -> np.ndarray:
    """Which valid tokens PPO's clip has cut: their clipped loss is the larger one."""
    seen, p = plain(update), update.params
    ratio = np.exp(seen["log_prob"] - seen["log_then"])
    inside = np.clip(ratio, 1 - float(p.clip_low), 1 + float(p.clip_high))
    return -seen["advantage"] * inside > -seen["advantage"] * ratio


def dropped(update: Update) -> np.ndarray:
    """Which valid tokens Clip-Cov drops."""
    weight_BGL = covariance_clip.weight(update)
    assert set(weight_BGL.unique().tolist()) <= {0.0, 1.0}
    assert (weight_BGL[~update.rollouts.valid_BGL] == 1).all()
    return weight_BGL[update.rollouts.valid_BGL].numpy() == 0


@pytest.mark.parametrize("seed", range(5))
def test_clip_cov_drops_the_stated_number_of_tokens_and_only_eligible_ones(seed: int) -> None:
    low, high, fraction = 0.05, 1.5, 0.1
    update, _ = made_update(
        seed,
        covariance_clip_low=low,
        covariance_clip_high=high,
        covariance_clip_fraction=fraction,
    )
    found, c = dropped(update), products(update)
    eligible = (c > low) & (c < high) & ~cut(update)
    assert cut(update).any() and (eligible != ((c > low) & (c < high))).any()
    assert found.sum() == min(max(int(fraction * len(c)), 1), eligible.sum())
    assert not (found & ~eligible).any()


def test_clip_cov_drops_all_eligible_tokens_where_they_are_fewer_than_asked() -> None:
    update, _ = made_update(covariance_clip_low=0.3, covariance_clip_fraction=1.0)
    c = products(update)
    expected = (c > 0.3) & (c < 5) & ~cut(update)
    assert 0 < expected.sum() < len(c) / 2
    np.testing.assert_array_equal(dropped(update), expected)


def test_clip_cov_at_a_fraction_of_1_and_without_bounds_leaves_only_what_the_clip_has_cut() -> None:
    update, _ = made_update(covariance_clip_fraction=1.0, **ALL)
    np.testing.assert_array_equal(dropped(update), ~cut(update))


def test_clip_cov_at_a_fraction_of_0_drops_nothing() -> None:
    update, _ = made_update(covariance_clip_fraction=0.0, **ALL)
    assert not dropped(update).any()


def test_clip_cov_chooses_among_eligible_tokens_alike() -> None:
    """Each is chosen with probability m / n; within 5 standard deviations of the binomial law."""
    draws, counts = 400, []
    for step in range(draws):
        update, _ = made_update(covariance_clip_fraction=0.2, step=step, moved=0.0, **ALL)
        counts.append(dropped(update))
    chosen_N = np.sum(counts, 0)
    chance = counts[0].sum() / len(chosen_N)
    spread = math.sqrt(draws * chance * (1 - chance))
    assert np.abs(chosen_N - draws * chance).max() < 5 * spread


@pytest.mark.parametrize("reduction", ["token_mean", "prompt_sum"])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 1.0])
def test_kl_cov_is_the_coefficient_times_the_distance_of_the_tokens_with_the_largest_products(
    fraction: float, reduction: str
) -> None:
    update, _ = made_update(
        covariance_kl_fraction=fraction, covariance_kl_coefficient=0.7, reduction=reduction
    )
    seen, c = plain(update), products(update)
    count = max(1, int(fraction * len(c))) if fraction else 0
    held = np.argsort(-c, kind="stable")[:count]
    distance = np.abs(seen["log_prob"] - seen["log_then"])[held].sum()
    n = len(c) if reduction == "token_mean" else update.rollouts.reward_BG.shape[1]
    found = covariance_kl.penalty(update).item()
    assert found == pytest.approx(0.7 * distance / n, rel=1e-12, abs=1e-15)


def test_kl_cov_has_no_gradient_on_the_policy_that_answered() -> None:
    update, logits = made_update(moved=0.0, covariance_kl_fraction=1.0)
    (slope,) = torch.autograd.grad(covariance_kl.penalty(update), logits)
    assert (slope == 0).all()


def test_kl_covs_pull_on_a_token_is_as_strong_however_near_it_is() -> None:
    """The kink: the gradient off 0 depends on the sign of the log ratio alone."""
    slopes = []
    for moved in (1e-3, 1e-6):
        update, logits = made_update(moved=moved, covariance_kl_fraction=1.0)
        (slope,) = torch.autograd.grad(covariance_kl.penalty(update), logits)
        slopes.append(float(slope.norm()))
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-2)  # logits differ by 1e-3


def test_ranks_count_a_number_of_its_own_for_each_trial_of_a_pack() -> None:
    key = torch.tensor([[0.3, 0.1, 0.1], [2.0, 0.5, 0.2]])
    count = torch.tensor([0.0, 1.0, 2.0, 6.0])
    found = torch.vmap(lambda n: smallest(key, n))(count)
    assert found.sum((1, 2)).tolist() == [0, 1, 2, 6]
    assert found[1].tolist() == [[False, True, False], [False, False, False]]  # of equals the first


@pytest.mark.parametrize("fraction", [0.0, 1e-4, 0.02, 0.2, 0.999, 1.0])
def test_a_fraction_is_a_whole_number_of_tokens_and_at_least_one(fraction: float) -> None:
    valid = torch.ones(2, 6, 8, dtype=torch.bool)
    expected = 0 if fraction == 0 else max(1, int(fraction * valid.numel()))
    assert tokens_of(torch.tensor(fraction, dtype=torch.float64), valid) == expected


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [("clip_cov", "covariance_clip_fraction"), ("kl_cov", "covariance_kl_fraction")],
)
def test_a_fraction_below_one_token_is_told_with_the_fraction_that_it_becomes(
    algorithm: str, name: str
) -> None:
    """32 x 8 answers of 3 tokens in 8 minibatches: 96 tokens; 2e-4 is the released fraction."""
    assert SumChainParams(algorithm=algorithm).warnings() == []
    ((where, told),) = SumChainParams(algorithm=algorithm, **{name: 2e-4}).warnings()
    assert where == name and "0.0192" in told and "at least 1 is taken" in told and "0.0104" in told
    assert SumChainParams(algorithm=algorithm, **{name: 0.0}).warnings() == []
    assert SumChainParams(algorithm="grpo", **{name: 2e-4}).warnings() == []


def test_bounds_between_which_nothing_lies_are_refused() -> None:
    params = SumChainParams(algorithm="clip_cov", covariance_clip_low=5.0)
    assert [where for where, _ in params.faults()] == ["covariance_clip_low"]


def test_kl_cov_on_one_update_a_collection_is_told_to_do_nothing() -> None:
    ((where, told),) = SumChainParams(
        algorithm="kl_cov", minibatches=1, covariance_kl_fraction=0.25
    ).warnings()
    assert where == "minibatches" and "the penalty on |log ratio|" in told
