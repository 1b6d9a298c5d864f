"""PPO's critic, as a table: what a prompt is worth, learned from its answers.

Schulman et al. 2017, arXiv:1707.06347, with the advantage of a whole answer (GAE at lambda =
discount = 1). Unlike a group's mean the value is older than the answers that are judged by it,
so one answer to a prompt is enough. A critic of single tokens, or a network, is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Rollouts

VALUE = "prompt_value"
STD_FLOOR = 1e-6


def unknown(params: Any, shape_BGL: tuple[int, int, int]) -> Tensor:  # noqa: ARG001
    """Return the values before anything was judged: 0 for each prompt there is."""
    import torch

    return torch.zeros(params.prompt_count)


def advantage(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG001
    """Return reward less the prompt's value, standardised over the collection, [B, G]."""
    value_B1 = memory[VALUE][rollouts.prompt_B].unsqueeze(-1)
    raw_BG = rollouts.reward_BG - value_B1
    return (raw_BG - raw_BG.mean()) / (raw_BG.std() + STD_FLOOR)


def remember(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values, those of the prompts moved towards the mean reward of their answers."""
    value = memory[VALUE]
    before_B = value[rollouts.prompt_B]
    after_B = before_B + params.critic_rate * (rollouts.reward_BG.mean(-1) - before_B)
    return {VALUE: value.scatter(0, rollouts.prompt_B, after_B)}
