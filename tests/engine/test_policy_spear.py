"""SPEAR's replay (arXiv:2509.22601): its memory as a Python list, its loss as PPO's by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made_rollouts import coins, made_rollouts
from made_update import V, Values, made_update
from torch import Tensor

from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.engine.policy import spear
from phasecube.engine.policy.rollouts import Rollouts, Update

N_PROMPTS, N_ANSWERS, LENGTH = 6, 4, 3


def empty(params: Any, n_tokens: int = LENGTH) -> dict[str, Tensor]:
    shape_BGL = (N_PROMPTS, N_ANSWERS, n_tokens)
    found = {}
    for name, start in spear.MEMORY.items():
        first = start(params, shape_BGL) if callable(start) else torch.tensor(start)
        found[name] = first.double() if first.is_floating_point() else first
    return found


def collections(params: Any, n: int) -> tuple[list[Rollouts], dict[str, Tensor]]:
    memory, seen = empty(params), []
    for seed in range(n):
        seen.append(made_rollouts(coins(seed, N_PROMPTS, N_ANSWERS), seed=seed))
        memory = {**memory, **spear.remember(seen[-1], params, memory)}
    return seen, memory


def stored(memory: Mapping[str, Tensor]) -> list[tuple[Any, ...]]:
    """What the buffer holds, answer by answer."""
    rows = zip(
        memory[spear.AGE].tolist(),
        memory[spear.PROMPT].tolist(),
        memory[spear.REWARD].tolist(),
        memory[spear.TOKEN].tolist(),
        memory[spear.LOG_PROB].tolist(),
        strict=True,
    )
    return [row for row in rows if math.isfinite(row[0])]


@pytest.mark.parametrize(("slots", "age"), [(200, 2.0), (200, 5.0), (15, 5.0)])
def test_the_buffer_holds_the_newest_answers_above_their_groups_mean(
    slots: int, age: float
) -> None:
    params = Values(replay=slots, replay_age=age, replay_baseline=1000)
    seen, memory = collections(params, 7)
    expected: list[tuple[Any, ...]] = []
    for old, rollouts in enumerate(reversed(seen)):
        r = rollouts.reward_BG.numpy()
        expected += [
            (
                old,
                b,
                r[b, g],
                rollouts.token_BGL[b, g].tolist(),
                rollouts.log_prob_BGL[b, g].tolist(),
            )
            for b, g in np.ndindex(*r.shape)
            if r[b, g] > r[b].mean() and old <= age
        ]
    assert stored(memory) == expected[:slots]
    assert memory[spear.GOOD] == len(expected[:slots])


@pytest.mark.parametrize("history", [10, 1000])
def test_the_baseline_is_the_median_of_the_groups_mean_rewards(history: int) -> None:
    params = Values(replay=50, replay_baseline=history)
    seen, memory = collections(params, 5)
    means = np.concatenate([rollouts.reward_BG.mean(-1) for rollouts in reversed(seen)])
    assert memory[spear.BASELINE] == pytest.approx(np.percentile(means[:history], 50), rel=1e-12)


def test_answers_that_are_no_better_than_the_baseline_stand_behind_the_good_ones() -> None:
    """Rewards of 0, .4 and 1; the median of the groups' means rises above .4 later."""
    params = Values(replay=60, replay_baseline=6)
    low = made_rollouts(np.tile([0.4, 0, 0, 0], (N_PROMPTS, 1)))
    high = made_rollouts(np.tile([1, 1, 1, 0.0], (N_PROMPTS, 1)))
    memory = {**empty(params), **spear.remember(low, params, empty(params))}
    assert memory[spear.GOOD] == N_PROMPTS  # .4 above a median of .1
    memory = spear.remember(high, params, memory)
    assert memory[spear.BASELINE] == 0.75 and memory[spear.GOOD] == 3 * N_PROMPTS
    rewards = [row[2] for row in stored(memory)]
    assert rewards == [1] * 3 * N_PROMPTS + [0.4] * N_PROMPTS


def replaying(memory: Mapping[str, Tensor], step: int = 80, **values: Any) -> tuple[Update, Tensor]:
    """An update whose policy gives every token of every answer the same logits, [V]."""
    logits_V = torch.linspace(-1, 1, V, dtype=torch.float64).requires_grad_()

    def log_probs_of(prompt_B: Tensor, token_BGL: Tensor) -> Tensor:
        assert prompt_B.shape == token_BGL.shape[:1]
        return logits_V.log_softmax(-1).expand(*token_BGL.shape, V)

    update, _ = made_update(step=step, **values)
    return replace(update, memory=memory, log_probs_of=log_probs_of), logits_V


def one_good(reward: float, baseline: float) -> tuple[dict[str, Tensor], np.ndarray, np.ndarray]:
    """A memory of a single good answer, two of whose three tokens belong to it."""
    params = Values(replay=5, replay_baseline=8)
    memory = empty(params, 5)
    token, then = np.array([0, 6, 3, 0, 0]), np.array([-4.5, -1.0, -0.3, 0, 0])
    memory[spear.TOKEN][0] = torch.tensor(token)
    memory[spear.LOG_PROB][0] = torch.tensor(then)
    memory[spear.VALID][0, :3] = True
    memory[spear.AGE][0] = 0
    memory |= {
        spear.REWARD: torch.full((5,), reward, dtype=torch.float64),
        spear.BASELINE: torch.tensor(baseline, dtype=torch.float64),
        spear.GOOD: torch.tensor(1.0, dtype=torch.float64),
    }
    return memory, token[:3], then[:3]


@pytest.mark.parametrize("collection", [0, 10, 25, 60, 100, 150])
def test_the_replayed_loss_is_ppos_with_a_coefficient_that_rises_as_a_cosine(
    collection: int,
) -> None:
    memory, token, then = one_good(1.0, 0.4)
    update, logits_V = replaying(memory, step=8 * collection + 3)
    now = logits_V.detach().log_softmax(-1).numpy()[token]
    ratio = np.exp(now - then)
    assert (ratio > 1.28).any() and (ratio < 0.8).any()
    loss = np.maximum(-0.6 * ratio, -0.6 * np.clip(ratio, 0.8, 1.28)).mean()
    rise = (1 - math.cos(math.pi * min(collection / 100, 1))) / 2
    assert spear.penalty(update).item() == pytest.approx(rise * loss, rel=1e-12)


def test_an_empty_buffer_adds_nothing_and_no_gradient() -> None:
    update, logits_V = replaying(empty(Values(replay=5, replay_baseline=8), 5))
    loss = spear.penalty(update)
    (slope,) = torch.autograd.grad(loss, logits_V)
    assert loss == 0 and (slope == 0).all()


def test_clip_cov_on_the_replay_drops_eligible_tokens_and_is_inert_at_the_released_bounds() -> None:
    """One answer: all advantages are equal, every cross product is 0, bounds of 2 and 60 reach
    none; bounds around 0 reach the tokens that the clip has not cut."""
    memory, token, then = one_good(1.0, 0.4)
    released, logits_V = replaying(memory, step=800)
    wide = {"replay_clip_low": -1.0, "replay_clip_high": 1.0}
    bounds, _ = replaying(memory, step=800, replay_clip_fraction=1.0, **wide)
    ratio = np.exp(logits_V.detach().log_softmax(-1).numpy()[token] - then)
    kept_alone = np.where(ratio > 1.28, -0.6 * 1.28, 0).mean()
    assert spear.penalty(bounds).item() == pytest.approx(kept_alone, rel=1e-12)
    none, _ = replaying(memory, step=800, replay_clip_fraction=0.0)
    assert spear.penalty(released).item() == spear.penalty(none).item() != kept_alone


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"replay_baseline": 31}, "replay_baseline"),
        ({"replay_clip_low": 60.0}, "replay_clip_low"),
    ],
)
def test_a_replay_that_cannot_work_is_refused(values: dict[str, Any], name: str) -> None:
    assert [at for at, _ in SumChainParams(algorithm="spear", **values).faults()] == [name]
    assert SumChainParams(algorithm="spear").faults() == []
