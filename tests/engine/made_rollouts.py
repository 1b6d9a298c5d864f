"""Judged answers out of thin air, of given rewards, lengths and entropies."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from phasecube.engine.policy.rollouts import Rollouts


def made_rollouts(
    reward_BG: Any,
    length_BG: Any = None,
    entropy_BGL: Any = None,
    n_tokens: int = 3,
    seed: int = 0,
) -> Rollouts:
    """Return answers of these rewards; by default all of them are `n_tokens` long."""
    rng = np.random.default_rng(seed)
    reward_BG = np.asarray(reward_BG, float)
    shape_BGL = (*reward_BG.shape, n_tokens)
    length_BG = np.full(reward_BG.shape, n_tokens) if length_BG is None else np.asarray(length_BG)
    entropy_BGL = rng.uniform(0, 2, shape_BGL) if entropy_BGL is None else np.asarray(entropy_BGL)
    return Rollouts(
        torch.arange(len(reward_BG)),
        torch.tensor(rng.integers(0, 7, shape_BGL)),
        torch.tensor(np.arange(n_tokens) < length_BG[..., None]),
        torch.tensor(-rng.exponential(size=shape_BGL)),
        torch.tensor(entropy_BGL),
        torch.tensor(reward_BG),
    )


def coins(seed: int, n_prompts: int, n_answers: int) -> np.ndarray:
    """Return rewards of 0 and 1, each prompt with a success rate of its own, [B, G]."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(size=(n_prompts, n_answers)) < rng.uniform(size=(n_prompts, 1))) * 1.0
