"""SPEAR: good answers of the last collections are imitated again, more and more.

Qin et al. 2025, arXiv:2509.22601. What is replayed learns from r - b, b the median of the mean
rewards of all prompts asked so far, so that an answer that was good once counts less when
most prompts are answered well. Here all that needs no tools: the replay, its coefficient, the
re-estimated advantage and Clip-Cov on it. Released code otherwise: the buffer is
gone through when it is full, a power of 2 of answers at a time; here every update draws as
many answers as its minibatch has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from phasecube.engine.policy import surrogates, token_covariance

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Rollouts, Update

PROMPT, TOKEN, VALID = "replay_prompt_N", "replay_token_NL", "replay_valid_NL"
LOG_PROB, ENTROPY, REWARD = "replay_log_prob_NL", "replay_entropy_NL", "replay_reward_N"
AGE, GOOD = "replay_age_N", "replay_good"  # collections since (inf: empty), how many have A > 0
MEANS, BASELINE = "replay_mean_M", "replay_baseline"  # of groups (NaN: none yet), their median
HELD = (PROMPT, TOKEN, VALID, LOG_PROB, ENTROPY, REWARD, AGE)


def penalty(update: Update) -> Tensor:
    """Return the coefficient times the clipped loss of replayed answers with r > b.

    The coefficient rises as (1 - cos(pi t / T)) / 2 over the first T collections. Of the
    tokens whose cross product lies between the bounds a fraction drawn at random is dropped.
    """
    params = update.params
    replayed = _replayed(update)
    loss_BGL = surrogates.clip_higher(replayed) * _kept(replayed)
    collection = update.step // (params.minibatches * params.epochs)
    share = (collection / params.replay_ascent).clamp(max=1)
    coefficient = params.replay_coefficient * (1 - (math.pi * share).cos()) / 2
    loss: Tensor = coefficient * replayed.mean(loss_BGL)
    return loss.where(update.memory[GOOD] > 0, 0.0)


def _replayed(update: Update) -> Update:
    """Return answers drawn from the good ones of the buffer, shaped as the minibatch."""
    from phasecube.engine.policy.token_laws import chosen

    memory, shape_BG = update.memory, update.rollouts.reward_BG.shape
    length = update.rollouts.token_BGL.shape[-1]
    uniform_BG = update.rng.uniform("replay", shape_BG)
    # Good ones stand first; the largest uniform may round up to their number.
    place_BG = (uniform_BG * memory[GOOD]).minimum(memory[GOOD] - 1).clamp(min=0).long()

    def drawn(name: str) -> Tensor:
        return memory[name][place_BG]

    # A mean over no valid token has no gradient: of an empty buffer all count, with a loss of 0.
    valid_BGL = drawn(VALID) | (memory[GOOD] == 0)
    rollouts = type(update.rollouts)(
        drawn(PROMPT), drawn(TOKEN), valid_BGL, drawn(LOG_PROB), drawn(ENTROPY), drawn(REWARD)
    )
    # Each answer has a prompt of its own, so each is a prompt's only answer.
    one_N1L = rollouts.token_BGL.reshape(-1, 1, length)
    log_probs_N1LV = update.log_probs_of(rollouts.prompt_B.reshape(-1), one_N1L)
    log_probs_BGLV = log_probs_N1LV.reshape(*shape_BG, length, -1)
    advantage_BG1 = (rollouts.reward_BG - memory[BASELINE]).unsqueeze(-1)
    return replace(
        update,
        rollouts=rollouts,
        advantage_BGL=advantage_BG1.expand(rollouts.token_BGL.shape),
        log_probs_BGLV=log_probs_BGLV,
        log_prob_BGL=chosen(log_probs_BGLV, rollouts.token_BGL),
    )


def _kept(replayed: Update) -> Tensor:
    """Return 0 for the tokens that Clip-Cov drops, else 1, and 0 behind an answer's end.

    With rewards of 0 and 1 all that is replayed has one advantage, 1 - b: every cross product
    is 0, and bounds above 0 (released: 2 and 60) drop nothing.
    """
    params, valid_BGL = replayed.params, replayed.rollouts.valid_BGL
    product_BGL = token_covariance.cross_products(replayed)
    cut_BGL = replayed.ratio_BGL.detach() > 1 + params.clip_higher
    eligible_BGL = (
        valid_BGL
        & (product_BGL > params.replay_clip_low)
        & (product_BGL < params.replay_clip_high)
        & ~cut_BGL
    )
    uniform_BGL = replayed.rng.uniform("replay_clip", product_BGL.shape)
    count = token_covariance.tokens_of(params.replay_clip_fraction, valid_BGL)
    first_BGL = token_covariance.smallest(uniform_BGL.where(eligible_BGL, 2.0), count)
    kept_BGL: Tensor = valid_BGL & ~(first_BGL & eligible_BGL)
    return kept_BGL.to(product_BGL.dtype)


def remember(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the buffer with this collection's answers above their group's mean, and without
    those that are older than `replay_age` collections; good ones first, the newest first."""
    import torch

    reward_BG = rollouts.reward_BG
    n_answers, length = reward_BG.shape[-1], rollouts.token_BGL.shape[-1]
    mean_B1 = reward_BG.mean(-1, keepdim=True)
    means_M = torch.cat([mean_B1.squeeze(-1), memory[MEANS]])[: len(memory[MEANS])]
    baseline = _median(means_M)
    new = {
        PROMPT: rollouts.prompt_B.repeat_interleave(n_answers),
        TOKEN: rollouts.token_BGL.reshape(-1, length),
        VALID: rollouts.valid_BGL.reshape(-1, length),
        LOG_PROB: rollouts.log_prob_BGL.reshape(-1, length),
        ENTROPY: rollouts.entropy_BGL.reshape(-1, length),
        REWARD: reward_BG.flatten(),
        AGE: torch.zeros_like(reward_BG).where(reward_BG > mean_B1, math.inf).flatten(),
    }
    older_N = memory[AGE] + 1
    old = {**memory, AGE: older_N.where(older_N <= params.replay_age, math.inf)}
    whole = {name: torch.cat([new[name], old[name]]) for name in HELD}
    good = whole[AGE].isfinite() & (whole[REWARD] > baseline)
    # An age is at most `replay_age`: what is not good, and what is empty, stands behind.
    order = (whole[AGE] + (~good) * (params.replay_age + 1)).argsort(stable=True)
    first_N = order[: len(older_N)]
    kept = {name: tensor[first_N] for name, tensor in whole.items()}
    n_good = good[first_N].sum().to(baseline.dtype)
    return {**kept, MEANS: means_M, BASELINE: baseline, GOOD: n_good}


def _median(means_M: Tensor) -> Tensor:
    """Return the median of what is no NaN, between the two middle ones as numpy.percentile."""
    import torch

    ordered_M = means_M.nan_to_num(nan=math.inf).sort().values
    n = means_M.isfinite().sum()
    middle = ordered_M[torch.stack([(n - 1) // 2, n // 2])]
    return middle.mean()


def _empty(name: str) -> Any:
    def start(params: Any, shape_BGL: tuple[int, int, int]) -> Tensor:
        import torch

        n, length = params.replay, shape_BGL[-1]
        if name == MEANS:
            return torch.full((params.replay_baseline,), math.nan)
        if name == AGE:
            return torch.full((n,), math.inf)
        dtype = {PROMPT: torch.int64, TOKEN: torch.int64, VALID: torch.bool}.get(name)
        return torch.zeros((n,) if name.endswith("_N") else (n, length), dtype=dtype)

    return start


MEMORY: Mapping[str, Any] = {
    **{name: _empty(name) for name in (*HELD, MEANS)},
    BASELINE: 0.0,
    GOOD: 0.0,
}


def faults(params: Any) -> list[tuple[str, str]]:
    """Return a history that is shorter than one collection, and bounds out of order."""
    found = []
    if params.replay_baseline < params.prompts:
        found.append(
            (
                "replay_baseline",
                f"{params.replay_baseline} mean rewards are fewer than the {params.prompts} of "
                "one collection; use that many or more",
            )
        )
    if params.replay_clip_low >= params.replay_clip_high:
        found.append(
            (
                "replay_clip_low",
                f"{params.replay_clip_low:g} is not below replay_clip_high = "
                f"{params.replay_clip_high:g}: no token is eligible",
            )
        )
    return found
