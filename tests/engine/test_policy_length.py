"""Rewards by length (arXiv:2502.04463) and GRPO-lambda (arXiv:2505.18086), prompt by prompt."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_rollouts import coins, made_rollouts
from made_update import Values

from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.engine.policy import length
from phasecube.engine.policy.rollouts import Rollouts


def judged(seed: int = 0) -> Rollouts:
    rng = np.random.default_rng(seed)
    return made_rollouts(coins(seed, 10, 6), rng.integers(1, 16, (10, 6)), n_tokens=15)


def paid(rollouts: Rollouts, b: int, penalty: float) -> np.ndarray:
    """One prompt's rewards under the penalty."""
    r, n = rollouts.reward_BG[b].numpy(), rollouts.length_BG[b].numpy()
    right = n[r > 0]
    if len(right) == 0:
        return r
    z = (n - right.mean()) / max(right.std(), 1e-6)
    return r * (1 - penalty / (1 + np.exp(-np.clip(z, -700, 700))))


@pytest.mark.parametrize("seed", range(3))
def test_right_answers_are_paid_by_their_length_among_the_right_ones(seed: int) -> None:
    rollouts = judged(seed)
    found = length.penalized(rollouts, Values(length_penalty=0.4)).numpy()
    expected = [paid(rollouts, b, 0.4) for b in range(10)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (found[rollouts.reward_BG.numpy() == 0] == 0).all()


def test_right_answers_of_one_length_are_all_paid_the_middle() -> None:
    rollouts = made_rollouts([[1, 0, 1], [0, 1, 0]], [[4, 9, 4], [2, 7, 1]], n_tokens=9)
    found = length.penalized(rollouts, Values(length_penalty=0.4))
    np.testing.assert_allclose(found, [[0.8, 0, 0.8], [0, 0.8, 0]], rtol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.55, 1.0])
def test_the_best_answered_share_of_prompts_gets_the_penalty(share: float) -> None:
    rollouts = judged(1)
    params = Values(length_penalty=0.4, lambda_share=share)
    found = length.penalized_where_mastered(rollouts, params).numpy()
    mean_B = rollouts.reward_BG.mean(-1).numpy()
    best = sorted(range(10), key=lambda b: (-mean_B[b], b))[: math.ceil(10 * share)]
    for b in range(10):
        plain = rollouts.reward_BG[b].numpy()
        expected = paid(rollouts, b, 0.4) if b in best else plain
        np.testing.assert_allclose(found[b], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"length_penalty": 0.0}, "length_penalty"),
        ({"lambda_share": 0.0}, "lambda_share"),
        ({"lambda_share": 1.0}, "lambda_share"),
    ],
)
def test_values_that_make_a_plainer_method_are_told(values: dict[str, float], name: str) -> None:
    told = SumChainParams(algorithm="grpo_lambda", **values).warnings()
    assert [at for at, _ in told] == [name]
    assert SumChainParams(algorithm="grpo_lambda").warnings() == []
